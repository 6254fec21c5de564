"""The integrity queue is worked on the dashboard: by forms, on record, and nothing goes back twice."""

import re
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from html import unescape
from pathlib import Path
from urllib.parse import quote

import attrs
import httpx
import pytest

import flovia
from flovia.core import events as ev
from flovia.core.events import Event
from flovia.dashboard import Dashboard
from flovia.ledger.opening import open_ledger
from flovia.ledger.sql import SqlLedger
from flovia.providers.base import Flow, NotRefunded, Refunded, RefundOrder, RefundUnknown, RefundVerdict
from flovia.providers.mock import MockProvider
from flovia.testing.servers import serve_asgi, serve_wsgi
from tests.core.world import SECRET, challenges, deliver, pay, problem, request
from tests.postgres.server import Server

SAME = {"sec-fetch-site": "same-origin"}


@attrs.frozen(kw_only=True, eq=False)
class Till(MockProvider):
    """A provider whose next refunds come out as it is told; it counts what it is asked for."""

    says: list[RefundVerdict] = attrs.field(factory=list)
    asked: list[RefundOrder] = attrs.field(factory=list)
    back: dict[str, int] = attrs.field(factory=dict)

    def refund(self, order: RefundOrder) -> Flow[RefundVerdict]:
        """As told; what has the nonce of one that went back is that one."""
        self.asked.append(order)
        verdict = self.says.pop(0) if self.says else Refunded(refund_id="back-1", amount=order.amount, currency="usd")
        if isinstance(verdict, Refunded):
            self.back.setdefault(order.nonce, order.amount)
        return verdict
        yield


@attrs.frozen
class Shop:
    """A shop with calls of which some were paid and not delivered, and its dashboard in a browser's stead."""

    flo: flovia.Flovia
    ledger: SqlLedger
    till: Till
    gate: flovia.PaidApi
    dashboard: Dashboard

    def sell(self, number: int, status: int = 500) -> tuple[str, str]:
        """A paid call that ended with this status: the payment and its credential."""
        (challenge,) = challenges(self.gate.enter(request()).response)
        credential = pay(challenge, f"ok{number}")
        passage = self.gate.enter(request(credential))
        assert passage.grant is not None
        deliver(self.gate, passage, status)
        self.ledger.flush()
        return passage.grant.payment_id, credential

    def acts(self) -> list[tuple[str, str | None, str | None]]:
        """The audit trail."""
        return [(one.type, one.operator, one.note) for one in self.events() if one.operator is not None]

    def events(self) -> list[Event]:
        """All events."""
        return [event for _, event in self.ledger.read_events()]


@contextmanager
def opened(url: str, **options: object) -> Iterator[Shop]:
    """A shop on this ledger."""
    ledger, till = open_ledger(url), Till()
    assert isinstance(ledger, SqlLedger)
    flo = flovia.Flovia(provider=till, ledger=ledger, secret=SECRET)
    given = options or {"authorize": lambda visitor: visitor.header("x-user") or "alice"}
    dashboard = Dashboard(flo, **given)  # type: ignore[arg-type]  # the options of a test
    with closing(ledger), closing(dashboard):
        yield Shop(flo, ledger, till, flo.paid_api(price="1.00 USD", max_deliveries=1), dashboard)


@pytest.fixture(params=["sqlite", "postgresql"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Shop]:
    """A shop, on either database."""
    url = f"sqlite:///{tmp_path}/shop.db"
    if request.param == "postgresql":
        server: Server = request.getfixturevalue("postgres")
        url = server.url(server.database(request.getfixturevalue("ledger_template")))
    with opened(url) as found:
        yield found


@pytest.fixture
def local(tmp_path: Path) -> Generator[Shop]:
    """A shop whose dashboard nobody was told who may look at: for this machine."""
    with opened(f"sqlite:///{tmp_path}/shop.db", open=False) as found:
        yield found


def visiting(shop: Shop, **headers: str) -> httpx.AsyncClient:
    """A browser on this machine."""
    transport = httpx.ASGITransport(app=shop.dashboard)
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers, timeout=60)


def page_of(ident: str) -> str:
    """The address of a finding."""
    return f"/integrity/{quote(ident, safe='')}"


def words(answer: httpx.Response) -> str:
    """What a page says, without its elements."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", answer.text)).split())


async def waiting(client: httpx.AsyncClient) -> tuple[list[str], dict[str, int]]:
    """The payments in the queue, and the states."""
    found = (await client.get("/api/integrity?test=1")).json()
    return [one["paymentId"] for one in found["rows"]], found["states"]


@pytest.mark.anyio
async def test_explained(shop: Shop) -> None:
    """A note takes it out of the queue; the page tells who, when and why, and a reload does nothing more."""
    payment, _ = shop.sell(1)
    async with visiting(shop) as client:
        seen = await client.get(page_of(payment))
        assert (200, True) == (seen.status_code, "waits for somebody" in words(seen))
        answer = await client.post(
            page_of(payment), data={"action": "explain", "note": "sent <b>by</b> mail"}, headers=SAME
        )
        assert 303 == answer.status_code
        told = await client.get(answer.headers["location"])
        assert "Explained It is out of the queue." in words(told)
        assert "sent &lt;b&gt;by&lt;/b&gt; mail" in told.text
        assert "<b>by" not in told.text
        assert 200 == (await client.get(answer.headers["location"])).status_code
        queue, states = await waiting(client)
    assert ([], 1, 0) == (queue, states["explained"], states["paid_not_delivered"])
    assert [(ev.PAYMENT_EXPLAINED, "alice", "sent <b>by</b> mail")] == shop.acts()


@pytest.mark.anyio
async def test_redelivered(shop: Shop) -> None:
    """Its own credential redeems it again; the second of two operators is told what is true, and is on record too."""
    payment, credential = shop.sell(1)
    assert "delivery-exhausted" == problem(shop.gate.enter(request(credential)).response)
    async with visiting(shop) as client:
        answer = await client.post(page_of(payment), data={"action": "redeliver", "note": "fixed"}, headers=SAME)
        assert 303 == answer.status_code
        assert "Redeemable again" in words(await client.get(answer.headers["location"]))
        passage = shop.gate.enter(request(credential))
        assert passage.grant is not None
        late = await client.post(page_of(payment), data={"action": "redeliver"}, headers={**SAME, "x-user": "bob"})
        assert (409, True) == (late.status_code, "It is being delivered until" in words(late))
        deliver(shop.gate, passage)
        shop.ledger.flush()
        over = await client.post(page_of(payment), data={"action": "redeliver"}, headers=SAME)
        assert (409, True) == (over.status_code, "It is delivered now" in words(over))
    assert [(ev.PAYMENT_REOPENED, "alice", "fixed")] == shop.acts()


@pytest.mark.parametrize("action", ["explain", "redeliver"])
def test_many_operators_at_once(shop: Shop, action: str) -> None:
    """One of them did it, and is on record; the others are told that somebody did."""
    payment, _ = shop.sell(1)
    with serve_asgi(shop.dashboard) as base, httpx.Client(base_url=base, timeout=60) as client:

        def act(number: int) -> int:
            form = {"action": action, "note": f"number {number}"}
            who = {**SAME, "x-user": f"operator-{number}"}
            return client.post(page_of(payment), data=form, headers=who).status_code

        with ThreadPoolExecutor(8) as pool:
            found = sorted(pool.map(act, range(8)))
    assert [303, *[409] * 7] == found
    assert 1 == len(shop.acts())


@pytest.mark.anyio
async def test_given_back(shop: Shop) -> None:
    """A step before it shows the money; then it goes back once, and whoever comes second is told so."""
    payment, _ = shop.sell(1)
    async with visiting(shop) as client:
        asked = {"action": "ask", "amount": "0.40", "note": "half of it"}
        ask = await client.post(page_of(payment), data=asked, headers=SAME)
        assert "Give back 0.40 USD?" in words(ask)
        assert "0.40 USD of 1.00 USD paid" in words(ask)
        assert [] == shop.till.asked
        form = {"action": "refund", "amount": "0.40 USD", "note": "half of it"}
        answer = await client.post(page_of(payment), data=form, headers=SAME)
        assert 303 == answer.status_code
        told = words(await client.get(answer.headers["location"]))
        assert "Given back 0.40 USD of 1.00 USD went back." in told
        again = await client.post(page_of(payment), data=form, headers={**SAME, "x-user": "bob"})
        assert (400, True) == (again.status_code, "it went back already" in words(again))
    assert [40] == list(shop.till.back.values())
    acts = [(ev.PAYMENT_REFUND_ASKED, "alice", "half of it"), (ev.PAYMENT_REFUNDED, "alice", "half of it")]
    assert acts == shop.acts()


@pytest.mark.anyio
async def test_delivered_while_somebody_was_about_to_give_it_back(shop: Shop) -> None:
    """A last step that was shown before its agent came gives nothing back; who means it is asked once more."""
    payment, credential = shop.sell(1)
    async with visiting(shop) as client:
        await client.post(page_of(payment), data={"action": "redeliver"}, headers=SAME)
        ask = await client.post(page_of(payment), data={"action": "ask"}, headers=SAME)
        (seen,) = re.findall('name="seen" value="(.*?)"', ask.text)
        passage = shop.gate.enter(request(credential))
        assert passage.grant is not None
        form = {"action": "refund", "amount": "1.00 USD", "seen": seen}
        during = await client.post(page_of(payment), data=form, headers=SAME)
        assert (409, True) == (during.status_code, "being delivered" in words(during))
        deliver(shop.gate, passage)
        shop.ledger.flush()
        stale = await client.post(page_of(payment), data=form, headers=SAME)
        assert (409, True) == (stale.status_code, "It was delivered meanwhile; nothing was given back" in words(stale))
        assert {} == shop.till.back
        ask = await client.post(page_of(payment), data={"action": "ask"}, headers=SAME)
        assert [] == re.findall('name="seen"', ask.text)
        meant = await client.post(page_of(payment), data={"action": "refund", "amount": "1.00 USD"}, headers=SAME)
        assert 303 == meant.status_code
    assert [100] == list(shop.till.back.values())


@pytest.mark.anyio
async def test_redeemable_again_until_its_agent_comes(shop: Shop) -> None:
    """Its page says that it waits for its agent, who did it and until when, and does not offer the same meanwhile."""
    payment, credential = shop.sell(1)
    async with visiting(shop) as client:
        form = {"action": "redeliver", "note": "fixed"}
        assert "Make redeemable again" in words(await client.get(page_of(payment)))
        await client.post(page_of(payment), data=form, headers=SAME)
        page = words(await client.get(page_of(payment)))
        assert "waits for its agent" in page
        assert "waits for somebody" not in page
        assert re.search(r"its own credential redeems it until \S+ \S+.* Made redeemable again by alice ,", page)
        assert "Make redeemable again" not in page
        second = await client.post(page_of(payment), data=form, headers={**SAME, "x-user": "bob"})
        assert 409 == second.status_code
        assert "It is redeemable again already alice did that" in words(second)
        assert 1 == len(shop.acts())
        passage = shop.gate.enter(request(credential))
        assert passage.grant is not None
        deliver(shop.gate, passage, 500)
        shop.ledger.flush()
        assert "Make redeemable again" in words(await client.get(page_of(payment)))
    assert 1 == len(shop.acts())


@pytest.mark.anyio
@pytest.mark.parametrize(("provider", "command"), [("demo", False), ("hitpay", True)])
async def test_taken_by_a_provider_of_no_app(tmp_path: Path, provider: str, command: bool) -> None:
    """It is said from the start that nothing goes back here, no command is shown that cannot work, and it can be
    explained.
    """
    with (
        opened(f"sqlite:///{tmp_path}/shop.db", open=True) as shop,
        closing(open_ledger(f"sqlite:///{tmp_path}/other.db")) as ledger,
    ):
        flo = flovia.Flovia(
            provider=attrs.evolve(shop.till, name=provider), ledger=ledger, secret=SECRET, realm="other"
        )
        gate = flo.paid_api(price="1.00 USD", max_deliveries=1)
        seller = attrs.evolve(shop, flo=flo, ledger=ledger, gate=gate)
        payment, _ = seller.sell(1)
        dashboard = Dashboard(flovia.Flovia(provider="mock", ledger=ledger, secret=SECRET), open=True)
        with closing(dashboard):
            async with visiting(attrs.evolve(seller, dashboard=dashboard)) as client:
                page = words(await client.get(page_of(payment)))
                assert f"Taken by {provider} , which is no provider of this app: it cannot be given back here" in page
                assert "Give back …" not in page
                assert command == ("flovia refund" in page)
                queue = words(await client.get("/integrity?test=1"))
                assert command == ("flovia refund" in queue)
                asked = {"action": "ask", "amount": "", "by": "kim"}
                refused = await client.post(page_of(payment), data=asked, headers=SAME)
                assert (400, True) == (refused.status_code, "cannot be given back here" in words(refused))
                form = {"action": "explain", "note": "made up", "by": "kim"}
                assert 303 == (await client.post(page_of(payment), data=form, headers=SAME)).status_code


@pytest.mark.anyio
async def test_what_somebody_types_is_in_no_address(local: Shop) -> None:
    """Addresses are kept in logs and histories: the question goes by POST, from this site's own page alone, and what
    an address says is neither shown nor asked.
    """
    payment, _ = local.sell(1)
    async with visiting(local) as client:
        page = await client.get(page_of(payment))
        assert 'method="get"' not in page.text
        asked = {"action": "ask", "amount": "0.40", "note": "a secret of Bob's", "by": "carol"}
        assert 403 == (await client.post(page_of(payment), data=asked)).status_code
        answer = await client.post(page_of(payment), data=asked, headers=SAME)
        assert (200, True) == (answer.status_code, "a secret of Bob&#39;s" in answer.text)
        assert 'value="carol"' in answer.text
        by_address = await client.get(page_of(payment), params={**asked, "ask": "refund"})
        assert "Give back 0.40 USD?" not in words(by_address)
        assert "secret" not in by_address.text
    assert [] == local.till.asked
    assert [] == local.acts()


@pytest.mark.anyio
async def test_many_at_once(shop: Shop) -> None:
    """Two tabs, two operators, a double click: one refund, and everybody is told what is true."""
    payment, _ = shop.sell(1)
    form = {"action": "refund", "amount": "1.00 USD"}

    def click(number: int) -> int:
        import anyio

        async def one() -> int:
            async with visiting(shop) as client:
                answer = await client.post(page_of(payment), data=form, headers={**SAME, "x-user": f"op-{number}"})
                return answer.status_code

        return anyio.run(one)

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(click, range(8)))
    assert statuses[0] == 303
    assert {303, 400, 409} >= set(statuses)
    assert 1 == statuses.count(303)
    assert 1 == len(shop.till.back)
    assert [ev.PAYMENT_REFUND_ASKED, ev.PAYMENT_REFUNDED] == [what for what, _, _ in shop.acts()]


@pytest.mark.anyio
async def test_nobody_knows(shop: Shop) -> None:
    """An unknown outcome is told as that, with how to repeat it; the repeat is the same refund, not another one."""
    payment, _ = shop.sell(1)
    shop.till.says.append(RefundUnknown())
    async with visiting(shop) as client:
        answer = await client.post(page_of(payment), data={"action": "refund", "amount": "0.30 USD"}, headers=SAME)
        told = words(await client.get(answer.headers["location"]))
        assert "Nobody knows whether it went back" in told
        assert "Ask for the same again" in told
        assert "not given back 0.30 USD: nobody knows the outcome" in told
        other = await client.post(page_of(payment), data={"action": "refund", "amount": "1.00 USD"}, headers=SAME)
        assert (409, True) == (other.status_code, "A refund of another amount was begun" in words(other))
        ask = await client.post(page_of(payment), data={"action": "ask", "amount": "0.30 USD"}, headers=SAME)
        assert "Give back 0.30 USD?" in words(ask)
        done = await client.post(page_of(payment), data={"action": "refund", "amount": "0.30 USD"}, headers=SAME)
        assert "Given back 0.30 USD of 1.00 USD" in words(await client.get(done.headers["location"]))
    assert 1 == len({order.nonce for order in shop.till.asked})
    assert [30] == list(shop.till.back.values())
    acts = [ev.PAYMENT_REFUND_ASKED, ev.PAYMENT_REFUND_FAILED, ev.PAYMENT_REFUND_ASKED, ev.PAYMENT_REFUNDED]
    assert acts == [what for what, _, _ in shop.acts()]


@pytest.mark.anyio
async def test_refused_by_the_provider(shop: Shop) -> None:
    """Nothing has moved: that is told with the provider's reason, it stays due, and it can be tried again."""
    payment, _ = shop.sell(1)
    shop.till.says.append(NotRefunded(reason="the account is empty"))
    async with visiting(shop) as client:
        answer = await client.post(page_of(payment), data={"action": "refund", "amount": "1.00 USD"}, headers=SAME)
        told = words(await client.get(answer.headers["location"]))
        assert "The provider refused; nothing has moved the account is empty" in told
        assert [payment] == (await waiting(client))[0]
        assert "the account is empty" in words(await client.get(page_of(payment), params={"ask": "x"}))
    assert [(ev.PAYMENT_REFUND_ASKED, "alice", None), (ev.PAYMENT_REFUND_FAILED, "alice", None)] == shop.acts()


@pytest.mark.anyio
@pytest.mark.parametrize(("headers", "status"), [
    ({}, 403),
    ({"sec-fetch-site": "cross-site"}, 403),
    ({"sec-fetch-site": "same-site"}, 403),
    ({"sec-fetch-site": "none"}, 403),
    ({"origin": "http://evil.example"}, 403),
    ({"origin": "null"}, 403),
    ({"origin": "https://127.0.0.1"}, 403),
    ({"sec-fetch-site": "cross-site", "origin": "http://127.0.0.1"}, 403),
    ({"origin": "http://127.0.0.1"}, 303),
    ({"sec-fetch-site": "same-origin"}, 303),
    ({"sec-fetch-site": "same-origin", "origin": "http://127.0.0.1"}, 303),
])  # fmt: skip
async def test_only_from_its_own_pages(local: Shop, headers: dict[str, str], status: int) -> None:
    """A form that another site made a browser send does nothing, and a page says so."""
    payment, _ = local.sell(1)
    form = {"action": "explain", "note": "why", "by": "mallory"}
    async with visiting(local) as client:
        answer = await client.post(page_of(payment), data=form, headers=headers)
    assert status == answer.status_code
    assert (status == 303) == bool(local.acts())
    if status == 403:
        assert "This form came from elsewhere" in words(answer)


@pytest.mark.anyio
async def test_behind_a_proxy(tmp_path: Path) -> None:
    """The origin that the app is known under counts, too: there the request itself says another scheme."""
    ledger = open_ledger(f"sqlite:///{tmp_path}/shop.db")
    flo = flovia.Flovia(provider="mock", ledger=ledger, secret=SECRET, public_origin="https://shop.example")
    with closing(ledger), closing(Dashboard(flo, authorize=lambda _: "alice")) as dashboard:
        transport = httpx.ASGITransport(app=dashboard)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop.example") as client:
            for origin, status in (("https://shop.example", 404), ("https://shop.example:8443", 403)):
                answer = await client.post("/integrity/x", data={"action": "explain"}, headers={"origin": origin})
                assert status == answer.status_code


@pytest.mark.anyio
async def test_who_is_asked_where_nobody_is_known(local: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """On one's own machine the forms ask for a name, and offer the system's user."""
    monkeypatch.setattr("getpass.getuser", lambda: "operator-test")
    payment, _ = local.sell(1)
    async with visiting(local) as client:
        assert 'name="by" value="operator-test"' in (await client.get(page_of(payment))).text
        without = await client.post(page_of(payment), data={"action": "explain", "note": "why"}, headers=SAME)
        assert (400, True) == (without.status_code, "the name is empty" in words(without))
        form = {"action": "explain", "note": "why", "by": "carol"}
        assert 303 == (await client.post(page_of(payment), data=form, headers=SAME)).status_code
    assert [(ev.PAYMENT_EXPLAINED, "carol", "why")] == local.acts()


@pytest.mark.anyio
async def test_a_name_cannot_be_made_up(shop: Shop) -> None:
    """Where the app says who is there, what a form says about that is nothing."""
    payment, _ = shop.sell(1)
    async with visiting(shop) as client:
        form = {"action": "explain", "note": "why", "by": "mallory"}
        await client.post(page_of(payment), data=form, headers=SAME)
    assert ["alice"] == [who for _, who, _ in shop.acts()]


@pytest.mark.anyio
@pytest.mark.parametrize(("form", "told"), [
    ({"action": "explain", "note": "  "}, "the note is empty"),
    ({"action": "explain", "note": "x" * 2001}, "at most 2000"),
    ({"action": "explain", "note": "a\x00b"}, "invisible"),
    ({"action": "burn"}, "does not say what to do"),
    ({}, "does not say what to do"),
    ({"action": "refund"}, "does not say how much"),
    ({"action": "refund", "amount": "2.00 USD"}, "between nothing and 1.00 USD"),
    ({"action": "refund", "amount": "0.10 SGD"}, "paid in USD"),
    ({"action": "refund", "amount": "much"}, "Nothing was done"),
])  # fmt: skip
async def test_what_cannot_be_meant(local: Shop, form: dict[str, str], told: str) -> None:
    """It is said what is wrong, what was typed is kept, and nothing was done."""
    payment, _ = local.sell(1)
    async with visiting(local) as client:
        answer = await client.post(page_of(payment), data={"by": "alice", **form}, headers=SAME)
        assert (400, True) == (answer.status_code, told in words(answer)), words(answer)
        if "amount" in form:
            asked = await client.post(page_of(payment), data={**form, "action": "ask"}, headers=SAME)
            assert "That cannot be given back" in words(asked)
    assert ([], []) == (local.acts(), local.till.asked)


@pytest.mark.anyio
@pytest.mark.parametrize(("kind", "body"), [
    ("application/json", b"{}"),
    ("application/x-www-form-urlencoded", b"action=explain&action=refund"),
    ("application/x-www-form-urlencoded", b"note=%FF"),
    ("application/x-www-form-urlencoded", "note=ä".encode()),
    ("application/x-www-form-urlencoded", b"&".join(b"m%d=1" % number for number in range(30))),
])  # fmt: skip
async def test_what_is_no_form(local: Shop, kind: str, body: bytes) -> None:
    """It is refused before anything is looked up."""
    payment, _ = local.sell(1)
    async with visiting(local, **{"content-type": kind}) as client:
        answer = await client.post(page_of(payment), content=body, headers=SAME)
    assert 400 == answer.status_code
    assert [] == local.acts()


@pytest.mark.anyio
@pytest.mark.parametrize("ident", ["nobody", "%20", "a%00b", "x" * 5000])
async def test_what_is_not_there(local: Shop, ident: str) -> None:
    """A page says so."""
    async with visiting(local) as client:
        for answer in (
            await client.get(f"/integrity/{ident}"),
            await client.post(f"/integrity/{ident}", data={"action": "explain"}, headers=SAME),
        ):
            assert (404, True) == (answer.status_code, "There is no such finding" in words(answer))


@pytest.mark.anyio
async def test_read_only(tmp_path: Path) -> None:
    """With actions=False there are no such pages, and nothing leads to them."""
    with opened(f"sqlite:///{tmp_path}/shop.db", actions=False) as shop:
        payment, _ = shop.sell(1)
        async with visiting(shop) as client:
            assert 404 == (await client.get(page_of(payment))).status_code
            assert 404 == (await client.post(page_of(payment), data={"action": "explain"}, headers=SAME)).status_code
            assert "Work on it" not in (await client.get("/integrity?test=1")).text
            assert page_of("c") not in (await client.get(f"/attempts/{payment}")).text


@pytest.mark.anyio
async def test_the_queue_leads_there(shop: Shop) -> None:
    """Each entry of the queue, and the page of its attempt, has a way to the page on which it is worked."""
    payment, _ = shop.sell(1)
    async with visiting(shop) as client:
        for path in ("/integrity?test=1", f"/attempts/{quote(payment)}"):
            await waiting(client)
            (href,) = re.findall(r'href="(/integrity/[^"]+)"', (await client.get(path)).text)
            assert payment in words(await client.get(href))


@pytest.mark.anyio
async def test_those_who_may_not_look(tmp_path: Path) -> None:
    """They may not act either, wherever the form comes from."""
    with opened(f"sqlite:///{tmp_path}/shop.db", authorize=lambda _: None) as shop:
        payment, _ = shop.sell(1)
        async with visiting(shop) as client:
            form = {"action": "explain", "note": "why", "by": "x"}
            assert 403 == (await client.post(page_of(payment), data=form, headers=SAME)).status_code
        assert [] == shop.acts()


@pytest.mark.anyio
async def test_two_payments_for_one_challenge(local: Shop) -> None:
    """The call and the second payment have a page each, and explaining one leaves the other due."""
    payment, _ = local.sell(1)
    event = next(one for one in local.events() if one.type == ev.PAYMENT_SETTLED)
    second = attrs.evolve(
        event, type=ev.PAYMENT_LATE, request_id="webhook_1", endpoint="", http_method="", payment_id="second",
        reason=ev.DUPLICATE,
    )  # fmt: skip
    local.ledger.append([second.to_row()])
    local.ledger.flush()
    async with visiting(local) as client:
        queue = (await client.get("/api/integrity?test=1")).json()["rows"]
        assert {payment, "second"} == {one["paymentId"] for one in queue}
        ident = next(one["attemptId"] for one in queue if one["paymentId"] == "second")
        assert "Others of this name" in words(await client.get(page_of(second.challenge_id or "")))
        form = {"action": "explain", "note": "why", "by": "alice"}
        assert 303 == (await client.post(page_of(ident), data=form, headers=SAME)).status_code
        assert [payment] == (await waiting(client))[0]
        again = await client.post(page_of(ident), data=form, headers=SAME)
        assert (409, True) == (again.status_code, "It was explained before alice: why" in words(again))
        explained = await client.get("/api/events?state=explained&test=1")
        assert ["second"] == [one["paymentId"] for one in explained.json()["events"]]


@pytest.mark.anyio
async def test_a_provider_that_is_not_here(tmp_path: Path) -> None:
    """A dashboard whose Flovia does not know the provider says what does."""
    url = f"sqlite:///{tmp_path}/shop.db"
    with opened(url) as shop:
        payment, _ = shop.sell(1)
    ledger = open_ledger(url)
    flo = flovia.Flovia(ledger=ledger, secret=SECRET)
    with closing(ledger), closing(Dashboard(flo, authorize=lambda _: "alice")) as dashboard:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=dashboard), base_url="http://127.0.0.1", timeout=60
        ) as client:
            form = {"action": "refund", "amount": "1.00 USD"}
            answer = await client.post(page_of(payment), data=form, headers=SAME)
    assert (400, True) == (answer.status_code, f"flovia refund {payment}" in words(answer))


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_on_real_servers(local: Shop, kind: str) -> None:
    """The same by HTTP, mounted as ASGI and as WSGI."""
    payment, _ = local.sell(1)
    server = serve_asgi(local.dashboard) if kind == "asgi" else serve_wsgi(local.dashboard.wsgi)
    with server as url, httpx.Client(base_url=url, timeout=60) as client:
        form = {"action": "explain", "note": "by hand", "by": "dora"}
        large = client.post(page_of(payment), data={**form, "more": "x" * 70_000}, headers={"origin": url})
        assert (400, True) == (large.status_code, "at most 65536 bytes" in words(large))
        answer = client.post(page_of(payment), data=form, headers={"origin": url})
        assert 303 == answer.status_code, words(answer)
        assert "Explained" in words(client.get(answer.headers["location"]))
    assert [(ev.PAYMENT_EXPLAINED, "dora", "by hand")] == local.acts()
