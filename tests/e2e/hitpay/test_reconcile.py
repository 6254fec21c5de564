"""Money that nobody told of: lost webhooks and agents that died, found by asking HitPay, over real HTTP."""

import base64
import json
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

import flovia
from flovia.cli.app import run as command
from flovia.core import events as ev
from flovia.core.challenge import Challenge
from flovia.core.exchange import PARKED, SETTLED
from flovia.core.reconciling import Reconciliation
from flovia.ledger.opening import open_ledger
from flovia.providers.hitpay import HitPayProvider
from flovia.providers.hitpay.core_api import request_id_of
from tests.e2e.hitpay.conftest import Site, code, ident, token

DAY_S = 86400.0
EMAIL = "buyer@example.test"


def until(done: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    for _ in range(200):
        if done():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen within 10 s")


@pytest.fixture(autouse=True)
def environment(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The back office has the app's own settings, and no webhook ever arrives."""
    for name, value in site.sandbox.environment.items():
        monkeypatch.setenv(name, value)
    site.sandbox.fault("webhook", "lost")


@contextmanager
def office(site: Site, later: float = 0.0) -> Generator[flovia.Flovia]:
    """A process of the merchant's, whose clock is so many seconds ahead."""

    def clock() -> float:
        return time.time() + later

    ledger = open_ledger(site.ledger, clock=clock)
    try:
        yield flovia.Flovia(provider=HitPayProvider(), ledger=ledger, clock=clock)
    finally:
        ledger.close()


def reconcile(site: Site, later: float = 0.0, *, dry_run: bool = False) -> Reconciliation:
    """One run."""
    with office(site, later) as flo:
        return flo.reconcile(dry_run=dry_run)


def found(run: Reconciliation, charge: str) -> list[str]:
    """What a run found about a charge."""
    return [finding.status for finding in run.findings if finding.charge == charge]


def due(site: Site) -> list[str]:
    """Payments whose refund is due."""
    with office(site) as flo:
        return [one.payment_id for one in flo.refunds_due()]


def test_paid_and_never_presented(site: Site) -> None:
    """An agent paid and died: first it waits for its agent, then it is late, once, and its refund goes through."""
    challenge = site.challenge()
    charge = ident(challenge)
    site.sandbox.pay(charge)
    assert [] == found(reconcile(site), charge)
    assert ["waiting"] == found(reconcile(site, 1000.0, dry_run=True), charge)
    assert ["waiting"] == found(reconcile(site, 1000.0), charge)
    assert ["waiting"] == found(reconcile(site, 1010.0), charge)
    assert charge not in due(site)
    assert ["late"] == found(reconcile(site, 2 * DAY_S, dry_run=True), charge)
    assert charge not in due(site)
    assert ["late"] == found(reconcile(site, 2 * DAY_S), charge)
    assert [] == found(reconcile(site, 2 * DAY_S), charge)
    assert charge in due(site)
    with office(site) as flo:
        assert "refunded" == flo.refund(charge).status
    assert "1.00" == site.sandbox.money()["sgd"]["refunded"]  # type: ignore[index]  # JSON of the sandbox


def test_its_agent_comes_back(site: Site) -> None:
    """What waits is delivered to its agent, and is in order from then on."""
    challenge = site.challenge()
    charge = ident(challenge)
    site.sandbox.pay(charge)
    assert ["waiting"] == found(reconcile(site, 1000.0), charge)
    assert 200 == site.get(token=token(challenge)).status_code
    for later in (1010.0, 2 * DAY_S, 8 * DAY_S, 29 * DAY_S):
        assert [] == found(reconcile(site, later), charge)
    assert charge not in due(site)


def test_late_and_unmatched_money(site: Site) -> None:
    """Money after the charge's end and money of another amount is on record at once, without a webhook."""
    late, less = site.challenge(), site.challenge()
    site.sandbox.late_pay(ident(late))
    site.sandbox.pay(ident(less), amount="0.50")
    run = reconcile(site, 1000.0)
    assert (["late"], ["unmatched"]) == (found(run, ident(late)), found(run, ident(less)))
    assert {ident(late), ident(less)} <= set(due(site))
    assert (402, "payment-insufficient") == code(site.get(token=token(less)))


def test_paid_twice(site: Site) -> None:
    """The second payment goes back, the first one buys."""
    challenge = site.challenge()
    charge = ident(challenge)
    site.sandbox.pay(charge, times=2)
    assert ["second", "waiting"] == found(reconcile(site, 1000.0), charge)
    assert ["waiting"] == found(reconcile(site, 1010.0), charge)
    assert 200 == site.get(token=token(challenge)).status_code
    with office(site) as flo:
        (second,) = [one for one in flo.refunds_due() if one.challenge_id == challenge.id]
        assert "refunded" == flo.refund(second.payment_id).status
    assert "1.00" == site.sandbox.money()["sgd"]["refunded"]  # type: ignore[index]  # JSON of the sandbox


def _grant(site: Site) -> str:
    """Bind a wallet, as agent and customer do; the grant."""
    asks = {"x_mpp_payment_method": "grabpay_direct", "x_user_email": EMAIL}
    site.sandbox.clear()  # of an approval HitPay's own broker learns by webhook as well
    challenge = site.challenge(**asks)
    site.sandbox.saved_method(ident(challenge), "approve")
    reply = site.agent.get(f"{site.sandbox.broker_url}/v1/saved-payment-methods/{ident(challenge)}")
    site.sandbox.fault("webhook", "lost")
    return str(reply.json()["saved_method_jws"])


def _bought_by_wallet(site: Site, grant: str) -> tuple[Challenge, str]:
    """A challenge that a saved wallet has paid, and its own charge, which a person pays all the same."""
    challenge = site.challenge()
    assert 200 == site.get(token=token(challenge, {"saved_method_jws": grant})).status_code
    site.sandbox.pay(ident(challenge))
    return challenge, ident(challenge)


def test_paid_by_a_wallet_and_by_a_person(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """The person's money is a second payment, whichever way it becomes known: refunded by its own id, by no other."""
    grant = _grant(site)
    presented, looked_at = _bought_by_wallet(site, grant), _bought_by_wallet(site, grant)
    for _ in range(2):
        response = site.get(token=token(presented[0]))
        assert ((500, "refund-due"), None) == (code(response), response.headers.get("www-authenticate"))
    assert ["second"] == found(reconcile(site, 1000.0, dry_run=True), looked_at[1])
    run = reconcile(site, 1000.0)
    assert (["second"], []) == (found(run, looked_at[1]), found(run, presented[1]))
    asked_back = _bought_by_wallet(site, grant)
    charges = [one[1] for one in (presented, looked_at, asked_back)]
    assert set(charges[:2]) <= set(due(site))
    capsys.readouterr()
    for challenge, charge in (presented, looked_at, asked_back):
        assert 0 == command(["refund", charge, "--ledger", site.ledger])
        assert f"refunded  1.00 SGD  {charge}" in capsys.readouterr().out
        assert (403, "payment-refunded") == code(site.get(token=token(challenge)))
        assert 0 == command(["ledger", "show", charge, "--ledger", site.ledger, "--json"])
        shown = json.loads(capsys.readouterr().out)
        assert {"delivered", "refunded"} == {row["state"] for row in shown["payments"]}
        assert charge in {row["payment_id"] for row in shown["payments"] if row["state"] == "refunded"}
        late = [event for event in shown["events"] if event["type"] == ev.PAYMENT_LATE]
        assert [("duplicate", charge)] == [(event["reason"], event["payment_id"]) for event in late]
    assert not set(charges) & set(due(site))
    for charge in charges:
        assert [] == found(reconcile(site, 2 * DAY_S), charge)
    assert 0 == command(["ledger", "verify", "--ledger", site.ledger])
    sums = site.sandbox.money()["sgd"]
    assert ("6.00", "3.00") == (sums["in"], sums["refunded"])  # type: ignore[index]  # JSON of the sandbox


def test_a_webhook_tells_of_the_persons_money(site: Site) -> None:
    """The webhook is enough: it is due at once, and only the money that bought nothing."""
    before, grant = due(site), _grant(site)
    site.sandbox.clear()
    site.sandbox.register_webhook(f"{site.url}/hooks/hitpay")
    _, charge = _bought_by_wallet(site, grant)
    until(lambda: charge in due(site))
    assert {*before, charge} == set(due(site))
    assert [] == found(reconcile(site, 1000.0), charge)


def test_a_person_has_paid_before_the_wallet(site: Site) -> None:
    """An agent that presents a grant has its wallet charged: the person's money goes back, whoever was first."""
    grant = _grant(site)
    found_by_run, presented = site.challenge(), site.challenge()
    for challenge in (found_by_run, presented):
        site.sandbox.pay(ident(challenge))
        both = {"saved_method_jws": grant, "challenge_id": ident(challenge)}
        assert 200 == site.get(token=token(challenge, both)).status_code
    assert 2 == site.calls("B7")
    assert (500, "refund-due") == code(site.get(token=token(presented)))
    run = reconcile(site, 1000.0)
    assert (["second"], []) == (found(run, ident(found_by_run)), found(run, ident(presented)))
    assert {ident(found_by_run), ident(presented)} <= set(due(site))


def test_refunded_in_the_dashboard(site: Site) -> None:
    """Money that the merchant gave back elsewhere is on record, whether it had bought something or not."""
    bought, unused = site.challenge(), site.challenge()
    for challenge in (bought, unused):
        site.sandbox.pay(ident(challenge))
    assert 200 == site.get(token=token(bought)).status_code
    for challenge in (bought, unused):
        site.sandbox.call_api("POST", "/v1/refund", {"payment_id": _payment(site, challenge), "amount": "1.00"})
    run = reconcile(site, 1000.0)
    assert (["refunded"], ["refunded"]) == (found(run, ident(bought)), found(run, ident(unused)))
    assert [] == found(reconcile(site, 2 * DAY_S), ident(bought))
    with office(site) as flo:
        events = [event for _, event in flo.ledger.read_events(limit=100_000)]
    assert 2 == len(
        [event for event in events if event.type == ev.PAYMENT_REFUNDED and event.request_id.startswith("reconcile_")]
    )


def test_a_part_refunded_in_the_dashboard(site: Site) -> None:
    """A part that went back before the credential came: once a run has found it, 403, and nothing is delivered."""
    challenge = site.challenge()
    site.sandbox.pay(ident(challenge))
    site.sandbox.call_api("POST", "/v1/refund", {"payment_id": _payment(site, challenge), "amount": "0.40"})
    assert ["refunded_in_part"] == found(reconcile(site, 1000.0), ident(challenge))
    assert (403, "payment-refunded") == code(site.get(token=token(challenge)))


def test_unknown_and_paid(site: Site) -> None:
    """A payment whose outcome was unknown is settled, and its own credential redeems it without a question."""
    challenge = site.challenge()
    charge = ident(challenge)
    site.sandbox.pay(charge)
    site.sandbox.fault("http", 503, route="B3")
    assert 503 == site.get(token=token(challenge)).status_code
    key = f"{challenge.realm}|{challenge.id}"
    with office(site) as flo:
        assert PARKED == flo.ledger.find(key).state  # type: ignore[union-attr]  # it is there
        assert ["resolved"] == [one.status for one in flo.reconcile().findings if one.charge == charge]
        view = flo.ledger.find(key)
        assert view is not None
        assert (SETTLED, 0, charge) == (view.state, view.deliveries, view.payment_id)
        assert [] == [one.status for one in flo.reconcile().findings if one.charge == charge]
    calls = site.calls("B3")
    answer = site.get(token=token(challenge))
    assert (200, calls) == (answer.status_code, site.calls("B3"))
    assert "payment-receipt" in answer.headers


def test_unknown_and_not_paid(site: Site) -> None:
    """An unknown outcome stays unknown as long as it could be paid, and is known not paid then."""
    challenge = site.challenge()
    charge = ident(challenge)
    site.sandbox.fault("http", 503, route="B3")
    assert 503 == site.get(token=token(challenge)).status_code
    assert ["unknown"] == found(reconcile(site), charge)
    site.sandbox.expire(charge)
    assert ["not_paid"] == found(reconcile(site, 3000.0), charge)
    assert [] == found(reconcile(site, 3010.0), charge)


def test_hitpay_is_down(site: Site) -> None:
    """A run that gets no answers ends early, says so, and changes nothing."""
    challenges = [site.challenge() for _ in range(5)]
    site.sandbox.pay(ident(challenges[0]))
    site.sandbox.fault("http", 503, route="payment_requests.read")
    run = reconcile(site, 1000.0)
    assert not run.complete
    assert 3 == run.asked
    assert {"unknown"} == {finding.status for finding in run.findings}
    site.sandbox.clear()
    site.sandbox.fault("webhook", "lost")
    assert ["waiting"] == found(reconcile(site, 3000.0), ident(challenges[0]))


def test_from_two_hosts_beside_the_agent(site: Site) -> None:
    """Two runs and the agent at the same moment: the money has bought one thing, or goes back, never both."""
    for later in (1000.0, 2 * DAY_S):
        challenge = site.challenge()
        charge = ident(challenge)
        site.sandbox.pay(charge)
        with ThreadPoolExecutor(4) as pool:
            runs = [pool.submit(reconcile, site, later) for _ in range(3)]
            answer = pool.submit(site.get, token=token(challenge)).result()
            statuses = [status for run in runs for status in found(run.result(), charge)]
        if answer.status_code in {409, 503}:  # a run was at it just then: the agent is told to come again, and does
            answer = site.get(token=token(challenge))
        assert statuses.count("late") <= 1
        assert (answer.status_code == 200) != (charge in due(site))


def test_called_back_before_its_agent_comes(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """Paid, never presented, refunded from a shell: the money is back, its credential buys and asks for nothing."""
    challenge = site.challenge()
    charge = ident(challenge)
    assert 1 == command(["refund", charge, "--ledger", site.ledger])
    assert f"nobody has paid {charge}, says hitpay" in capsys.readouterr().err
    site.sandbox.pay(charge)
    assert 0 == command(["refund", charge, "--ledger", site.ledger])
    assert f"refunded  1.00 SGD  {charge}" in capsys.readouterr().out
    assert "1.00" == site.sandbox.money()["sgd"]["refunded"]  # type: ignore[index]  # JSON of the sandbox
    assert (403, "payment-refunded") == code(site.get(token=token(challenge)))
    assert [] == found(reconcile(site, 1000.0), charge)
    assert 1 == command(["refund", charge, "--ledger", site.ledger])
    assert "was given back already" in capsys.readouterr().err
    assert 0 == command(["ledger", "verify", "--ledger", site.ledger])


def test_a_waiting_payment_is_called_back(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """Reconciling has found it, and says that its agent can still come; the merchant decides otherwise."""
    challenge = site.challenge()
    charge = ident(challenge)
    site.sandbox.pay(charge)
    assert ["waiting"] == found(reconcile(site, 1000.0), charge)
    assert 0 == command(["ledger", "reconcile", "--all", "--dry-run", "--ledger", site.ledger])
    assert f"to give it back: flovia refund {charge}\n" in capsys.readouterr().out
    site.sandbox.fault("http", 503, route="payment_requests.read")
    assert 1 == command(["refund", charge, "--ledger", site.ledger])
    assert "hitpay does not say whether it was paid" in capsys.readouterr().err
    site.sandbox.clear()
    assert 0 == command(["refund", charge, "--amount", "0.40 SGD", "--ledger", site.ledger])
    assert (403, "payment-refunded") == code(site.get(token=token(challenge)))


def test_called_back_while_its_agent_comes(site: Site) -> None:
    """Both at the same moment, several times over: it was delivered or it went back, never both and never neither."""

    def give_back(charge: str) -> str:
        with office(site) as flo:
            try:
                return flo.refund(charge).status
            except flovia.RefundError as error:
                return error.code

    for _ in range(6):
        challenge = site.challenge()
        charge = ident(challenge)
        site.sandbox.pay(charge)
        with ThreadPoolExecutor(3) as pool:
            refund = pool.submit(give_back, charge)
            answers = [pool.submit(site.get, token=token(challenge)) for _ in range(2)]
            delivered = [one.result().status_code for one in answers].count(200)
            status = refund.result()
        again = site.get(token=token(challenge)).status_code
        delivered += again == 200
        if status == "refunded":
            # A delivery that ended before the refund was opened is one that was given back after it.
            with office(site) as flo:
                events = [event for _, event in flo.ledger.read_events(limit=100_000)]
            mine = [event for event in events if event.payment_id == charge]
            assert any(event.type == ev.PAYMENT_DELIVERED for event in mine) == (delivered == 1)
            assert any(event.type == ev.PAYMENT_LATE for event in mine) == (delivered == 0)
            assert 403 == again
        else:
            assert 1 == delivered, (status, again)


def test_any_id_of_a_payment_finds_it(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """Ours, HitPay's as its dashboard shows them, the request's, the proof: all lead to the same payment."""
    challenge = site.challenge()
    charge = ident(challenge)
    site.sandbox.pay(charge)
    answer = site.get(token=token(challenge))
    details = challenge.request_json["methodDetails"]
    assert isinstance(details, dict)
    uuid = _payment(site, challenge)
    with office(site) as flo:
        requests = {
            event.request_id for _, event in flo.ledger.read_events(limit=100_000) if event.challenge_id == challenge.id
        }
    receipt = json.loads(base64.urlsafe_b64decode(answer.headers["payment-receipt"] + "=="))["reference"]
    request = request_id_of(str(details["checkout_url"]))
    assert request is not None
    for one in (charge, challenge.id, uuid, request, receipt, f"hitpay|{charge}", *requests):
        assert 0 == command(["ledger", "show", one, "--ledger", site.ledger, "--json"]), one
        shown = json.loads(capsys.readouterr().out)
        assert [charge] == [row["payment_id"] for row in shown["payments"]], one
        assert [f"hitpay|{charge}"] == [row["proof"] for row in shown["proofs"]], one
    assert 1 == command(["refund", uuid, "--ledger", site.ledger])
    assert f"it leads to: {charge}. Refund that" in capsys.readouterr().err


def _payment(site: Site, challenge: Challenge) -> str:
    """HitPay's own name of what paid a charge."""
    details = challenge.request_json["methodDetails"]
    assert isinstance(details, dict)
    found = site.sandbox.call_api("GET", f"/v1/payment-requests/{request_id_of(str(details['checkout_url']))}")
    return str(found["payments"][0]["id"])  # type: ignore[index]  # JSON of the sandbox
