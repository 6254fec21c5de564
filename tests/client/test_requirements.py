"""What the protocol demands of a client (C01 to C14), over real servers, in all six ways to make a call."""

from collections.abc import Callable
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import Protocol

import httpx
import pytest

from flovia.client import (
    Budget,
    BudgetExceeded,
    MockWallet,
    OutcomeUnknown,
    PaymentDeclined,
    PaymentRefused,
    Policy,
    PolicyViolation,
    RedirectAfterPayment,
    Wallet,
)
from flovia.core.challenge import Challenge, format_challenge
from flovia.core.encoding import b64url_encode
from flovia.core.errors import CallerError
from tests.client.agent import PATIENT_S, WAYS, Agent
from tests.client.server import Say, Seen, challenge, nobody_listens, paid, receipt, sells, serving, unpaid


def _same(say: Say) -> Say:
    return say


class MakeAgent(Protocol):
    """Makes the agent of a test."""

    def __call__(
        self, *, wallet: Wallet | None = None, budget: Budget | None = None, policy: Policy | None = None
    ) -> Agent: ...


def _maker(way: str, folder: Path) -> MakeAgent:
    def make(*, wallet: Wallet | None = None, budget: Budget | None = None, policy: Policy | None = None) -> Agent:
        return Agent(way, folder, wallet=wallet, budget=budget, policy=policy)

    return make


@pytest.fixture(params=WAYS)
def agent(request: pytest.FixtureRequest, tmp_path: Path) -> MakeAgent:
    """An agent for each way to make a call, with its pending credentials in a folder of the test."""
    return _maker(str(request.param), tmp_path / "pending")


@pytest.fixture(params=["httpx", "httpx2-trio"])
def buyer(request: pytest.FixtureRequest, tmp_path: Path) -> MakeAgent:
    """A blocking and an async one, for long tables of what the flow, which all ways share, decides."""
    return _maker(str(request.param), tmp_path / "pending")


def test_pays_once_and_gets_the_answer(agent: MakeAgent) -> None:
    """A 402 is paid and the second request brings the goods, with what was paid beside them."""
    a = agent()
    with serving(sells()) as server:
        reply = a.get(f"{server.url}/paid?q=1")
    assert (200, b"goods") == (reply.status, reply.body)
    assert reply.payment is not None
    assert reply.payment.receipt is not None
    assert "test-payment-1" == reply.payment.receipt.reference
    assert "1.00 SGD" == str(reply.payment.price)
    assert [None, reply.payment.challenge_id] == [
        None if seen.credential is None else seen.credential.challenge.id for seen in server.seen
    ]
    assert ["/paid?q=1"] * 2 == [seen.target for seen in server.seen]
    assert 1 == a.payments
    assert 100 == a.budget.spent()
    assert [] == a.pending.references()


def test_what_costs_nothing_passes_untouched(agent: MakeAgent) -> None:
    """An answer other than a Payment 402 is the program's own: no payment, no trace."""
    a = agent()
    with serving(lambda seen: Say(status=404, body=b"nothing here")) as server:
        reply = a.get(server.url)
    assert (404, b"nothing here", None) == (reply.status, reply.body, reply.payment)
    assert (1, 0) == (len(server.seen), a.payments)


def test_402_of_another_scheme_is_handed_on(agent: MakeAgent) -> None:
    """A 402 without a Payment challenge reaches the program with its body."""
    a = agent()
    other = Say(status=402, headers=(("WWW-Authenticate", 'Bearer realm="Payment"'),), body=b"elsewhere")
    with serving(lambda seen: other) as server:
        reply = a.get(server.url)
    assert (402, b"elsewhere", None) == (reply.status, reply.body, reply.payment)
    assert 0 == a.payments


def test_says_which_methods_it_pays_with(agent: MakeAgent) -> None:
    """Every request carries Accept-Payment, unless the program set its own or the policy excludes the server."""
    with serving(lambda seen: Say()) as server:
        agent(wallet=MockWallet(method_ids=("mock", "alt"))).get(server.url)
        agent().get(server.url, {"Accept-Payment": "other/charge"})
        agent(policy=Policy(origins=["https://api.example.com"])).get(server.url)
    assert ["mock/charge, alt/charge", "other/charge", None] == [seen.header("accept-payment") for seen in server.seen]


@pytest.mark.parametrize(
    "value",
    [
        'Payment id="", realm="r", method="mock", intent="charge", request="e30"',
        'Payment id="a", id="b", realm="r", method="mock", intent="charge", request="e30"',
        'Payment id="a", realm="r", method="mock", intent="charge", request="e30="',
        'Payment id="a", realm="r", method="mock", intent="charge"',
    ],
    ids=["empty id", "id twice", "padded request", "no request"],
)
def test_c01_malformed_challenges_are_not_paid(buyer: MakeAgent, value: str) -> None:
    """C01: an empty id, and whatever else is no challenge, is refused before paying."""
    a = buyer()
    with serving(lambda seen: unpaid(value)) as server, pytest.raises(PolicyViolation) as caught:
        a.get(server.url)
    assert ("challenge", False, None) == (caught.value.rule, caught.value.may_have_paid, caught.value.reference)
    assert (1, 0, 0) == (len(server.seen), a.payments, a.budget.spent())


def test_c02_unknown_parameters_are_ignored(agent: MakeAgent) -> None:
    """C02: a parameter nobody knows changes nothing."""
    a = agent()
    offered = format_challenge(challenge()) + ', colour="blue", Weight=3'
    with serving(sells(offer=lambda: unpaid(offered))) as server:
        assert 200 == a.get(server.url).status


def test_c03_request_and_opaque_are_echoed_byte_for_byte(agent: MakeAgent) -> None:
    """C03: id, request and opaque go back as they came, also where the server's JSON is not canonical."""
    request = b64url_encode(b'{ "currency":"sgd",  "amount": "100" }')
    opaque = b64url_encode('{"z":"é","a":"\U0001f600"}'.encode())
    value = f'Payment id="a\\"b", realm="r", method="mock", intent="charge", request={request}, opaque="{opaque}"'
    a = agent()
    with serving(sells(offer=lambda: unpaid(value))) as server:
        assert 200 == a.get(server.url).status
    (credential,) = server.credentials
    assert ('a"b', request, opaque) == (
        credential.challenge.id,
        credential.challenge.request,
        credential.challenge.opaque,
    )


@pytest.mark.parametrize(
    ("expires", "rule"),
    [
        ("2020-01-01T00:00:00Z", "expires"),
        ("2020-01-01t00:00:00z", "expires"),
        ("2030-02-30T00:00:00Z", "challenge"),
        ("2030-01-01T00:00:60Z", "challenge"),
        ("2030-01-01", "challenge"),
        ("soon", "challenge"),
    ],
)
def test_c04_expired_or_unreadable_is_not_paid(buyer: MakeAgent, expires: str, rule: str) -> None:
    """C04: a challenge that is over, or whose expiry cannot be read, is never paid."""
    a = buyer()
    offer = unpaid(f'{format_challenge(challenge(expires=None))}, expires="{expires}"')
    with serving(lambda seen: offer) as server, pytest.raises(PolicyViolation) as caught:
        a.get(server.url)
    assert (rule, 0) == (caught.value.rule, a.payments)


@pytest.mark.parametrize("expires", ["2100-01-01t00:00:00z", "2100-01-01T00:00:00.5+05:30", None])
def test_c04_every_readable_expiry_is_understood(buyer: MakeAgent, expires: str | None) -> None:
    """C04: lower-case letters and offsets are RFC 3339 too; no expiry at all is allowed."""
    with serving(sells(offer=lambda: unpaid(challenge(expires=expires)))) as server:
        assert 200 == buyer().get(server.url).status


def test_c05_the_body_is_sent_again_byte_for_byte(agent: MakeAgent) -> None:
    """C05: with a digest in the challenge the same body goes with the credential."""
    body = b'{"order": 1}\x00\xff'

    def script(seen: Seen) -> Say:
        return unpaid(challenge(body=seen.body)) if seen.credential is None else paid()

    a = agent()
    with serving(script) as server:
        reply = a.send("POST", f"{server.url}/order", content=body, headers={"Content-Type": "text/x"})
    assert 200 == reply.status
    assert [("POST", body, "text/x")] * 2 == [
        (seen.http_method, seen.body, seen.header("content-type")) for seen in server.seen
    ]


def test_c05_digest_of_another_body_is_not_paid(agent: MakeAgent) -> None:
    """C05: a challenge bound to another body than the one that was sent is refused."""
    a = agent()
    offer = unpaid(challenge(body=b"another"))
    with serving(lambda seen: offer) as server, pytest.raises(PolicyViolation) as caught:
        a.send("POST", server.url, content=b"mine")
    assert ("digest", 0) == (caught.value.rule, a.payments)


def test_c05_streams_are_refused_before_paying(agent: MakeAgent) -> None:
    """C05: a body that cannot be sent twice is never paid for; where nothing costs, it streams as ever."""
    a = agent()
    with serving(lambda seen: unpaid()) as server, pytest.raises(PolicyViolation) as caught:
        a.send("POST", server.url, chunks=[b"one", b"two"])
    assert ("body", 0, 1) == (caught.value.rule, a.payments, len(server.seen))
    with serving(lambda seen: Say(body=seen.body)) as server:
        assert b"onetwo" == a.send("POST", server.url, chunks=[b"one", b"two"]).body


def test_c06_long_merged_and_split_challenges(agent: MakeAgent) -> None:
    """C06: 4 KB of challenge, several in one field beside other schemes, and several fields are all read."""
    long = challenge(request={"amount": "100", "currency": "sgd", "methodDetails": {"x": "y" * 4000}})
    merged = f'Bearer realm="x, Payment", {format_challenge(challenge(method="alt"))}, {format_challenge(long)}'
    for offer in (unpaid(merged), unpaid("Negotiate", challenge(method="alt"), long)):
        with serving(sells(offer=partial(_same, offer))) as server:
            assert 200 == agent().get(server.url).status
        assert [long.id] == [credential.challenge.id for credential in server.credentials]


@pytest.mark.parametrize(
    ("offered", "rule"),
    [
        (challenge(amount="-1"), "amount"),
        (challenge(amount="0"), "amount"),
        (challenge(amount="007"), "amount"),
        (challenge(amount="1.00"), "amount"),
        (challenge(amount="1e2"), "amount"),
        (challenge(amount=" 100"), "amount"),
        (challenge(amount="１００"), "amount"),
        (challenge(amount=100), "amount"),
        (challenge(amount=None), "amount"),
        (challenge(amount="9" * 79), "amount"),
        (challenge(amount="9" * 40), "currency"),
        (challenge(currency=None), "amount"),
        (challenge(currency="usd"), "currency"),
        (challenge(currency="SGD"), "currency"),
        (challenge(currency="0x20c0000000000000000000000000000000000000"), "currency"),
        (challenge(currency="xxx"), "currency"),
        (challenge(recipient=["someone"]), "recipient"),
        (challenge(recipient="mallory"), "recipient"),
        (challenge(), "recipient"),
        (challenge(intent="subscription", recipient="acme"), "intent"),
        (challenge(method="other", recipient="acme"), "wallet"),
    ],
    ids=str,
)
def test_c07_the_policy_is_asked_before_paying(buyer: MakeAgent, offered: Challenge, rule: str) -> None:
    """C07: amount, currency and recipient outside the policy are refused, and nothing is paid or reserved."""
    if rule not in ("recipient", "intent", "wallet"):
        offered = challenge(recipient="acme", request={**offered.request_json, "recipient": "acme"})
    a = buyer(policy=Policy(recipients=["acme"]))
    with serving(lambda seen: unpaid(offered)) as server, pytest.raises(PolicyViolation) as caught:
        a.get(server.url)
    assert (rule, 1, 0, 0) == (caught.value.rule, len(server.seen), a.payments, a.budget.spent())


@pytest.mark.parametrize(
    ("budget", "limit"),
    [
        (lambda: Budget("0.99 SGD"), "limit"),
        (lambda: Budget("5.00 SGD", per_payment="0.99 SGD"), "per_payment"),
        (lambda: Budget("5.00 SGD", per_host="0.99 SGD"), "per_host"),
        (lambda: Budget("5.00 SGD", window_s=60, lifetime="0.99 SGD"), "lifetime"),
    ],
)
def test_c07_the_budget_is_asked_before_paying(buyer: MakeAgent, budget: Callable[[], Budget], limit: str) -> None:
    """C07: more than the budget allows is refused, and the error says which limit and how much is left."""
    a = buyer(budget=budget())
    with serving(lambda seen: unpaid()) as server, pytest.raises(BudgetExceeded) as caught:
        a.get(server.url)
    assert (limit, 100, 99, "sgd") == (
        caught.value.limit,
        caught.value.needed,
        caught.value.left,
        caught.value.currency,
    )
    assert (1, 0, 0) == (len(server.seen), a.payments, a.budget.spent())


def test_c07_origin_outside_the_policy_is_not_paid(agent: MakeAgent) -> None:
    """C07: with a list of origins, no other server is paid."""
    a = agent(policy=Policy(origins=["https://api.example.com"]))
    with serving(lambda seen: unpaid()) as server, pytest.raises(PolicyViolation) as caught:
        a.get(server.url)
    assert ("origin", 0) == (caught.value.rule, a.payments)


def test_c08_one_credential_for_one_of_several_challenges(agent: MakeAgent) -> None:
    """C08: of several offers the first that wallet, policy and budget allow is paid, and only that one."""
    offers: list[Challenge | str] = [
        'Payment id="", realm="r", method="mock", intent="charge", request="e30"',
        challenge(method="other"),
        challenge(currency="usd"),
        challenge(amount="99999"),
        challenge(id="this-one"),
        challenge(),
    ]
    a = agent()
    with serving(sells(offer=lambda: unpaid(*offers))) as server:
        assert 200 == a.get(server.url).status
    assert ["this-one"] == [credential.challenge.id for credential in server.credentials]
    assert (1, 100) == (a.payments, a.budget.spent())


def test_c08_the_error_names_every_offer(agent: MakeAgent) -> None:
    """C08: where none of several offers can be paid, the one that came furthest is raised, the others are noted."""
    a = agent()
    offers = [challenge(method="other"), challenge(amount="99999"), challenge(currency="usd")]
    with serving(lambda seen: unpaid(*offers)) as server, pytest.raises(BudgetExceeded) as caught:
        a.get(server.url)
    assert 2 == len(caught.value.__notes__)


def test_c09_plain_http_to_another_machine_is_not_paid(tmp_path: Path) -> None:
    """C09: only loopback is paid over plain http; a name that merely looks like it is not loopback."""

    class Resolver(httpx.HTTPTransport):
        """Sends every name to the test's server, as a hostile network would."""

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            request.url = request.url.copy_with(host="127.0.0.1")
            return super().handle_request(request)

    a = Agent("httpx", tmp_path)
    with serving(sells()) as server, httpx.Client(transport=a.transport(Resolver()), timeout=PATIENT_S) as client:
        for host in ("api.example.com", "127.0.0.1.example.com", "localhost.example.com"):
            with pytest.raises(PolicyViolation) as caught:
                client.get(f"http://{host}:{server.port}/paid")
            assert "insecure" == caught.value.rule
        assert 200 == client.get(f"http://localhost:{server.port}/paid").status_code
    assert 1 == a.payments


@pytest.mark.parametrize("header", ["Cookie", "Proxy-Authorization", "X-Payment", "Authorization"])
def test_c10_no_other_field_carries_a_credential(buyer: MakeAgent, header: str) -> None:
    """C10: a challenge that wants the credential in a field of its own choice is unusable."""
    a = buyer()
    offer = unpaid(f'{format_challenge(challenge())}, header="{header}"')
    with serving(lambda seen: offer) as server, pytest.raises(PolicyViolation) as caught:
        a.get(server.url)
    assert ("challenge", 0) == (caught.value.rule, a.payments)


def test_c10_payment_authorization_leaves_authorization_free(agent: MakeAgent) -> None:
    """C10: with header="Payment-Authorization" the program's own Authorization stays as it is."""
    a = agent()
    with serving(sells(offer=lambda: unpaid(challenge(header="Payment-Authorization")))) as server:
        assert 200 == a.get(server.url, {"Authorization": "Bearer test-token"}).status
    assert ["Bearer test-token"] * 2 == [seen.header("authorization") for seen in server.seen]
    assert 1 == len(server.credentials)


def test_the_programs_authorization_is_never_overwritten(agent: MakeAgent) -> None:
    """A challenge that needs Authorization is refused if the program uses that field, before paying."""
    a = agent()
    with serving(lambda seen: unpaid()) as server, pytest.raises(PolicyViolation) as caught:
        a.get(server.url, {"Authorization": "Bearer test-token"})
    assert ("authorization", 0) == (caught.value.rule, a.payments)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Authorization", "Payment e30"),
        ("Authorization", "Bearer x, payment e30"),
        ("Authorization", "Payment"),
        ("Payment-Authorization", "x"),
    ],
)
def test_a_credential_of_the_programs_own_is_refused(buyer: MakeAgent, name: str, value: str) -> None:
    """A credential in the program's own request would follow redirects: nothing is sent."""
    with serving(lambda seen: Say()) as server, pytest.raises(CallerError):
        buyer().get(server.url, {name: value})
    assert [] == server.seen


def test_c12_a_server_that_always_asks_is_paid_once(agent: MakeAgent) -> None:
    """C12: a second 402 ends the call; the error has the server's problem type and the credential's reference."""
    problem = b'{"type":"https://paymentauth.org/problems/verification-failed"}'
    a = agent()
    with serving(lambda seen: unpaid(body=problem)) as server, pytest.raises(PaymentRefused) as caught:
        a.get(server.url)
    assert ("verification-failed", 402, True) == (
        caught.value.problem,
        caught.value.status,
        caught.value.may_have_paid,
    )
    assert [caught.value.reference] == a.pending.references()
    assert (2, 1, 100) == (len(server.seen), a.payments, a.budget.spent())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 300])
def test_c13_a_redirect_after_paying_raises(buyer: MakeAgent, status: int) -> None:
    """C09, C13: a redirect in answer to a credential is never followed, not even within the origin."""
    a = buyer()
    with serving(lambda seen: Say(body=b"trap")) as other:
        redirect = Say(status=status, headers=(("Location", f"{other.url}/trap"),))
        with serving(sells(redirect)) as server, pytest.raises(RedirectAfterPayment) as caught:
            a.get(server.url, follow=True)
        assert [] == other.seen
    assert (status, True) == (caught.value.status, caught.value.may_have_paid)
    assert [caught.value.reference] == a.pending.references()


def test_c13_an_unpaid_redirect_carries_nothing(agent: MakeAgent) -> None:
    """C13: a redirect before paying is followed as ever; the other origin is not paid unless the policy names it."""
    with serving(sells()) as other:
        elsewhere = Say(status=302, headers=(("Location", f"{other.url}/paid"),))
        with serving(lambda seen: elsewhere) as server:
            a = agent()
            with pytest.raises(PolicyViolation) as caught:
                a.get(server.url, follow=True)
            assert ("redirected", 0, []) == (caught.value.rule, a.payments, other.credentials)
            named = agent(policy=Policy(origins=[server.url, other.url]))
            assert 200 == named.get(server.url, follow=True).status
            assert (1, []) == (len(other.credentials), server.credentials)


def test_a_redirect_within_the_origin_is_paid_at_its_end(agent: MakeAgent) -> None:
    """A redirect to another path of the same server is no reason not to pay."""

    def script(seen: Seen) -> Say:
        if seen.target == "/old":
            return Say(status=308, headers=(("Location", "/new"),))
        return unpaid() if seen.credential is None else paid()

    a = agent()
    with serving(script) as server:
        assert 200 == a.get(f"{server.url}/old", follow=True).status
    assert ["/old", "/new", "/new"] == [seen.target for seen in server.seen]
    assert 1 == a.payments


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_c14_a_5xx_after_paying_is_an_unknown_outcome(agent: MakeAgent, status: int) -> None:
    """C14: the error names a reference, never the credential; resuming sends that same credential."""
    a = agent()
    with serving(sells(Say(status=status, body=b"oops"), paid())) as server:
        with pytest.raises(OutcomeUnknown) as caught:
            a.get(f"{server.url}/paid?q=1", {"Accept": "text/x", "Cookie": "test=1"})
        error = caught.value
        assert (status, [error.reference]) == (error.status, a.pending.references())
        token = server.seen[-1].header("authorization")
        assert token is not None
        assert token not in f"{error} {error!r} {error.__cause__!r} {vars(error)}"
        assert error.reference is not None
        reply = a.resume(error.reference, headers={"Cookie": "test=1"})
    assert (200, b"goods") == (reply.status, reply.body)
    assert reply.payment is not None
    assert (error.reference, True) == (reply.payment.reference, reply.payment.resumed)
    assert 1 == len({seen.header("authorization") for seen in server.seen[1:]})
    assert [("GET", "/paid?q=1", "text/x", "test=1")] * 3 == [
        (seen.http_method, seen.target, seen.header("accept"), seen.header("cookie")) for seen in server.seen
    ]
    assert (1, 100, []) == (a.payments, a.budget.spent(), a.pending.references())


def test_c14_a_lost_connection_after_paying_is_an_unknown_outcome(agent: MakeAgent) -> None:
    """C14: no answer to the paid request leaves the credential in its file, for another process to resume."""
    lost = Say(status=200, headers=(("Content-Length", "100"),), write=lambda file: None)
    a = agent()
    with serving(sells(lost, paid())) as server:
        with pytest.raises(OutcomeUnknown) as caught:
            a.get(server.url)
        assert caught.value.reference is not None
        assert 200 == agent().resume(caught.value.reference).status
    assert (1, 2) == (a.payments, len(server.credentials))


def test_c14_a_refused_connection_after_paying_is_an_unknown_outcome(tmp_path: Path) -> None:
    """C14: a server that is gone when the payment is made leaves a credential to resume."""
    a = Agent("httpx", tmp_path)

    class Gone(httpx.HTTPTransport):
        """A server that goes away between the two requests."""

        calls = 0

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            self.calls += 1
            if self.calls > 1:
                request.url = request.url.copy_with(port=port)
            return super().handle_request(request)

    with (
        nobody_listens() as port,
        serving(sells()) as server,
        httpx.Client(transport=a.transport(Gone()), timeout=PATIENT_S) as client,
        pytest.raises(OutcomeUnknown) as caught,
    ):
        client.get(server.url)
    assert [caught.value.reference] == a.pending.references()


@pytest.mark.parametrize("status", [409, 429, 503])
def test_later_means_the_same_credential_again(agent: MakeAgent, status: int) -> None:
    """C14: 409, 429 and 503 with Retry-After are answered with the same credential, after the wait."""
    later = Say(status=status, headers=(("Retry-After", "0"),))
    a = agent()
    with serving(sells(later, later, paid())) as server:
        reply = a.get(server.url)
    assert 200 == reply.status
    assert reply.payment is not None
    assert 3 == reply.payment.tries
    assert 1 == len({seen.header("authorization") for seen in server.seen[1:]})
    assert (4, 1) == (len(server.seen), a.payments)


def test_a_pending_payment_is_presented_again(agent: MakeAgent) -> None:
    """A 402 with the same challenge and Retry-After means: not yet. The same credential is presented again."""
    offered = challenge()
    waiting = unpaid(offered, more=(("Retry-After", formatdate(usegmt=True)),))
    a = agent()
    with serving(sells(waiting, paid(), offer=lambda: unpaid(offered))) as server:
        assert 200 == a.get(server.url).status
    assert (3, 1) == (len(server.seen), a.payments)


@pytest.mark.parametrize("retry_after", ["3600", "99999999999999999999", "0"])
def test_patience_has_an_end(buyer: MakeAgent, retry_after: str) -> None:
    """C14: a wait beyond the policy, or too many of them, is an unknown outcome with a reference."""
    later = Say(status=503, headers=(("Retry-After", retry_after),))
    a = buyer(policy=Policy(max_tries=3, max_wait_s=3000.0))
    with serving(sells(later)) as server, pytest.raises(OutcomeUnknown) as caught:
        a.get(server.url)
    assert (3 if retry_after == "0" else 1, 1) == (len(server.credentials), a.payments)
    assert [caught.value.reference] == a.pending.references()


@pytest.mark.parametrize("status", [404, 409])
def test_the_programs_own_errors_are_handed_on(agent: MakeAgent, status: int) -> None:
    """An error of the service itself reaches the program; the undelivered payment can still be redeemed."""
    a = agent()
    with serving(sells(Say(status=status, body=b"no"), paid())) as server:
        reply = a.get(server.url)
        assert (status, b"no") == (reply.status, reply.body)
        assert reply.payment is not None
        assert [reply.payment.reference] == a.pending.references()
        assert 200 == a.resume(reply.payment.reference).status
    assert (1, []) == (a.payments, a.pending.references())


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ((), "no receipt"),
        ((("Payment-Receipt", "%%%"),), "cannot be read"),
        ((receipt(), receipt()), "more than one"),
        ((receipt("other"),), "another payment method"),
    ],
)
def test_a_bad_receipt_is_reported_not_fatal(
    buyer: MakeAgent, fields: tuple[tuple[str, str], ...], problem: str
) -> None:
    """The payment was made either way: a missing or unreadable receipt does not cost the answer."""
    with serving(sells(Say(headers=fields, body=b"goods"))) as server:
        reply = buyer().get(server.url)
    assert b"goods" == reply.body
    assert reply.payment is not None
    assert reply.payment.receipt_problem is not None
    assert problem in reply.payment.receipt_problem


def test_a_wallet_that_declines_costs_nothing(agent: MakeAgent) -> None:
    """Declined: nothing is sent, the budget gets its money back, no file stays."""
    a = agent(wallet=MockWallet(outcome="declined"))
    with serving(lambda seen: unpaid()) as server, pytest.raises(PaymentDeclined) as caught:
        a.get(server.url)
    assert not caught.value.may_have_paid
    assert (1, 0, []) == (len(server.seen), a.budget.spent(), a.pending.references())


def test_a_wallet_that_does_not_know_keeps_the_money_reserved(agent: MakeAgent) -> None:
    """Uncertain: nothing is sent, the amount counts as spent, and the reference is for asking the wallet."""
    a = agent(wallet=MockWallet(outcome="uncertain"))
    with serving(lambda seen: unpaid()) as server, pytest.raises(OutcomeUnknown) as caught:
        a.get(server.url)
    assert (1, 100, [caught.value.reference]) == (len(server.seen), a.budget.spent(), a.pending.references())


def test_head_is_not_paid_for(agent: MakeAgent) -> None:
    """A HEAD request gets the 402 a GET would: paying for it would deliver nothing."""
    a = agent()
    with serving(lambda seen: unpaid()) as server:
        assert 402 == a.send("HEAD", server.url).status
    assert 0 == a.payments
