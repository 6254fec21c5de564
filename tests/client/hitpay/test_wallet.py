"""A person pays at the checkout while an agent waits: against the sandbox, over real HTTP."""

from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from flovia.client import OutcomeUnknown, PaymentDeclined, PaymentRefused, Policy, ReceiptRejected
from flovia.client.hitpay import Checkout, HitPayWallet, Pins
from flovia.client.hitpay.pins import charge_terms
from flovia.core.challenge import Challenge
from flovia.core.encoding import JsonValue, encode_param
from flovia.core.errors import PeerError, WiringError
from flovia.core.money import Price
from tests.client.agent import WAYS, Agent
from tests.client.hitpay.conftest import Street

SGD = Price(amount=100, currency="sgd")


def wallet(street: Street, **more: object) -> HitPayWallet:
    """A wallet that asks often and shows nothing."""
    options: dict[str, object] = {"show": None, "poll_s": 0.05, "timeout_s": 60.0, **more}
    return HitPayWallet(pins=Pins(broker=street.sandbox.broker_url), **options)  # type: ignore[arg-type]  # a table


def payer(street: Street, act: Callable[[str], object]) -> Callable[[Checkout], None]:
    """A person who does one thing with the charge when they see the checkout."""
    return lambda shown: cast(None, act(shown.charge_id))


@pytest.mark.parametrize("way", WAYS)
def test_a_person_pays_and_the_agent_gets_the_goods_and_a_verified_receipt(
    way: str, tmp_path: Path, street: Street
) -> None:
    """Shown once, paid once, presented once; the receipt is the broker's, for this charge and amount."""
    shown: list[Checkout] = []

    def pay(checkout: Checkout) -> None:
        shown.append(checkout)
        street.sandbox.pay(checkout.charge_id)

    agent = Agent(way, tmp_path, wallet=wallet(street, show=pay))
    reply = agent.get(street.server.url + "/forecast?zip=94103")
    assert (200, b"goods") == (reply.status, reply.body)
    assert reply.payment is not None
    assert (True, None) == (reply.payment.receipt_verified, reply.payment.receipt_problem)
    (checkout,) = shown
    assert ("1.00 SGD", street.server.url, street.shop.charges) == (
        str(checkout.price),
        checkout.origin,
        [checkout.charge_id],
    )
    assert checkout.url.startswith(street.sandbox.api_url)
    assert checkout.url not in repr(checkout)
    assert "A forecast" == checkout.description
    assert {"sgd": {"in": "1.00", "refunded": "0.00", "payments": 1}} == street.sandbox.money()
    assert [] == agent.pending.references()


def test_the_sandbox_pays_by_itself(tmp_path: Path, street: Street) -> None:
    """auto_pay needs no person, and one charge is paid once."""
    agent = Agent("httpx", tmp_path, wallet=wallet(street, auto_pay=True))
    for _ in range(3):
        assert b"goods" == agent.get(street.server.url).body
    assert "3.00" == cast("dict[str, str]", street.sandbox.money()["sgd"])["in"]
    assert 3 == len(set(street.shop.charges))


def test_it_waits_until_the_person_has_paid(tmp_path: Path, street: Street) -> None:
    """Pending is asked about again and again; what is left of the patience is told."""
    left: list[float] = []

    def tick(seconds: float) -> None:
        left.append(seconds)
        if len(left) == 3:
            street.sandbox.pay(street.shop.charges[-1])

    reply = Agent("httpx", tmp_path, wallet=wallet(street, tick=tick)).get(street.server.url)
    assert b"goods" == reply.body
    assert sorted(left, reverse=True) == left
    assert 3 <= len(left)
    assert 60 >= left[0]


def test_a_declined_attempt_may_be_followed_by_a_paid_one(tmp_path: Path, street: Street) -> None:
    """A payer whose first try fails tries again on the same page."""

    def twice(charge_id: str) -> None:
        street.sandbox.decline(charge_id)
        street.sandbox.pay(charge_id)

    reply = Agent("httpx", tmp_path, wallet=wallet(street, show=payer(street, twice))).get(street.server.url)
    assert b"goods" == reply.body


def test_an_expired_charge_is_certainly_not_paid(tmp_path: Path, street: Street) -> None:
    """Declined: the budget gets its money back and no file stays."""
    agent = Agent("httpx", tmp_path, wallet=wallet(street, show=payer(street, street.sandbox.expire)))
    with pytest.raises(PaymentDeclined, match="expired"):
        agent.get(street.server.url)
    assert (0, []) == (agent.budget.spent(), agent.pending.references())
    assert [] == street.server.credentials


def test_an_expired_charge_is_not_shown(tmp_path: Path, street: Street) -> None:
    """What is over before it began is declined without sending anybody to a dead page."""
    shown: list[Checkout] = []
    agent = Agent("httpx", tmp_path, wallet=wallet(street, show=shown.append))
    street.sandbox.fault("payer", "never")
    offer = street.shop.offer

    def over() -> object:
        said = offer()
        street.sandbox.expire(street.shop.charges[-1])
        return said

    street.shop.offer = over  # type: ignore[method-assign,assignment]  # scripted
    with pytest.raises(PaymentDeclined, match="is expired; if it was paid"):
        agent.get(street.server.url)
    assert [] == shown


@pytest.mark.parametrize("way", WAYS)
def test_out_of_patience_is_unknown_and_resume_fetches_what_was_paid_later(
    way: str, tmp_path: Path, street: Street
) -> None:
    """The charge can still be paid, so the credential stays and the money stays reserved: nobody pays twice."""
    agent = Agent(way, tmp_path, wallet=wallet(street, timeout_s=0.2), policy=Policy(max_wait_s=2, max_tries=2))
    with pytest.raises(OutcomeUnknown, match="may still be paid") as caught:
        agent.get(street.server.url)
    reference = caught.value.reference or ""
    assert ([reference], 100) == (agent.pending.references(), agent.budget.spent())
    assert "the server says that it is not paid either" in str(caught.value)
    assert 1 == len(street.server.credentials)
    with pytest.raises(OutcomeUnknown):
        agent.resume(reference)
    street.sandbox.pay(street.shop.charges[0])
    reply = agent.resume(reference)
    assert b"goods" == reply.body
    assert reply.payment is not None
    assert reply.payment.receipt_verified
    assert (1, []) == (len(street.shop.charges), agent.pending.references())
    assert "1.00" == cast("dict[str, str]", street.sandbox.money()["sgd"])["in"]


@pytest.mark.parametrize("way", WAYS)
def test_a_broker_that_is_stuck_is_found_out_at_the_deadline(way: str, tmp_path: Path, street: Street) -> None:
    """The broker never says paid: before giving up, however soon, the credential is presented once, and it is."""
    street.sandbox.fault("broker_status_stuck")
    agent = Agent(way, tmp_path, wallet=wallet(street, timeout_s=0.2, auto_pay=True))
    assert b"goods" == agent.get(street.server.url).body
    assert (1, 1) == (len(street.shop.charges), len(street.server.credentials))
    assert {"sgd": {"in": "1.00", "refunded": "0.00", "payments": 1}} == street.sandbox.money()
    assert (100, []) == (agent.budget.spent(), agent.pending.references())


@pytest.mark.parametrize("value", [500, 503, 429])
def test_a_broker_that_fails_for_a_while_is_asked_again(value: int, tmp_path: Path, street: Street) -> None:
    """Errors while polling decide nothing."""
    street.sandbox.fault("http", value, route="B2", next=2)
    agent = Agent("httpx", tmp_path, wallet=wallet(street, auto_pay=True))
    assert b"goods" == agent.get(street.server.url).body


def test_a_charge_that_was_paid_before_is_presented_and_shown_to_nobody(tmp_path: Path, street: Street) -> None:
    """A challenge that comes back after it was paid costs nothing again."""
    shown: list[Checkout] = []
    street.sandbox.fault("payer", "auto_pay", delay=0)
    agent = Agent("httpx", tmp_path, wallet=wallet(street, show=shown.append))
    assert b"goods" == agent.get(street.server.url).body
    assert [] == shown


def test_a_challenge_that_asks_for_another_amount_than_the_broker_is_not_shown(tmp_path: Path, street: Street) -> None:
    """A server that says 1.00 and has 10.00 charged is caught before anybody is sent to the page."""
    street.shop.amount, street.shop.details = "10.00", {"amount_decimal": "1.00"}
    shown: list[Checkout] = []
    agent = Agent("httpx", tmp_path, wallet=wallet(street, show=shown.append))
    with pytest.raises(PaymentDeclined, match="another amount"):
        agent.get(street.server.url)
    assert ([], 0) == (shown, agent.budget.spent())


@pytest.mark.parametrize(
    ("details", "why"),
    [
        ({"amount_decimal": "10.00"}, "contradicts itself: it asks 1.00 SGD, and its amount_decimal is 10.00 SGD"),
        ({"amount_decimal": "100"}, "contradicts itself"),
        ({"amount_decimal": "0.01"}, "contradicts itself"),
        ({"amount_decimal": "1.001"}, "is no amount of SGD"),
        ({"amount_decimal": "1,00"}, "is no amount of SGD"),
        ({"amount_decimal": ""}, "is no amount of SGD"),
        ({"amount_decimal": 1}, "is no amount of SGD"),
        ({"amount_decimal": "\u0661.00"}, "is no amount of SGD"),
        ({"exponent": "0"}, "exponent is not that of SGD"),
        ({"exponent": True}, "exponent is not that of SGD"),
    ],
)
def test_a_challenge_that_names_two_amounts_is_not_shown(
    details: dict[str, JsonValue], why: str, tmp_path: Path, street: Street
) -> None:
    """Refused as the server's fault before the broker is asked: nothing shown, nothing paid, nothing kept."""
    street.shop.details = details
    shown: list[Checkout] = []
    agent = Agent("httpx", tmp_path, wallet=wallet(street, show=shown.append))
    with pytest.raises(PaymentDeclined, match=why) as caught:
        agent.get(street.server.url)
    assert isinstance(caught.value, PeerError)
    assert ([], 0, []) == (shown, agent.budget.spent(), agent.pending.references())


@pytest.mark.parametrize(
    "details", [{"amount_decimal": None, "exponent": None}, {"amount_decimal": "1", "exponent": 2}]
)
def test_one_amount_is_enough(details: dict[str, JsonValue], tmp_path: Path, street: Street) -> None:
    """HitPay's own challenges have no second spelling; fewer digits are the same amount."""
    street.shop.details = details
    assert b"goods" == Agent("httpx", tmp_path, wallet=wallet(street, auto_pay=True)).get(street.server.url).body


@pytest.mark.parametrize(
    ("details", "why"),
    [
        ({"checkout_url": "https://evil.test/pay"}, "checkout"),
        ({"checkout_url": "https://securecheckout.hit-pay.com.evil.test/"}, "checkout"),
        ({"checkout_url": "https://securecheckout.hit-pay.com:8443/"}, "checkout"),
        ({"checkout_url": "https://user@securecheckout.hit-pay.com/"}, "checkout"),
        ({"checkout_url": "http://securecheckout.hit-pay.com/"}, "checkout"),
        ({"checkout_url": "javascript:alert(1)"}, "checkout"),
        ({"checkout_url": "https://securecheckout.hit-pay.com/\x1b[2J"}, "checkout"),
        ({"checkout_url": "https://securecheckout.hit-pay.com/ x"}, "checkout"),
        ({"checkout_url": 1}, "checkout"),
        ({"checkout_url": "https://securecheckout.hit-pay.com/" + "x" * 2048}, "checkout"),
        ({"polling_url": "https://evil.test/v1/charges/mpp_ch_1"}, "polling"),
        ({"polling_url": "http://169.254.169.254/v1/charges/mpp_ch_1"}, "polling"),
        ({"challenge_id": "../../x"}, "challenge_id"),
        ({"challenge_id": 7}, "challenge_id"),
    ],
)
def test_addresses_that_are_not_hitpays_are_neither_called_nor_shown(
    details: dict[str, object], why: str, tmp_path: Path, street: Street
) -> None:
    """The server names them; a list decides. Nothing was paid."""
    shown: list[Checkout] = []
    street.shop.details = details  # type: ignore[assignment]  # JSON all the same
    agent = Agent("httpx", tmp_path, wallet=wallet(street, show=shown.append))
    with pytest.raises(PaymentDeclined, match=why):
        agent.get(street.server.url)
    assert ([], 0, []) == (shown, agent.budget.spent(), agent.pending.references())


def test_loopback_addresses_are_for_servers_on_this_machine() -> None:
    """A server elsewhere cannot have this machine's own services called, unless the broker is here too."""
    local = {
        "challenge_id": "mpp_ch_1",
        "checkout_url": "http://127.0.0.1:4011/checkout",
        "polling_url": "http://127.0.0.1:4010/v1/charges/mpp_ch_1",
    }
    challenge = Challenge(
        id="test",
        realm="shop.test",
        method="hitpay",
        intent="charge",
        request=encode_param({"amount": "100", "currency": "sgd", "methodDetails": local}),
    )
    assert "http://127.0.0.1:4010" == charge_terms(challenge, "http://localhost:8000", Pins(), SGD).issuer
    assert (
        "http://127.0.0.1:4010" == charge_terms(challenge, "https://a.test", Pins(broker="http://[::1]:1"), SGD).issuer
    )
    with pytest.raises(Exception, match="polling"):
        charge_terms(challenge, "https://shop.test", Pins(), SGD)


def test_auto_pay_stays_on_this_machine(tmp_path: Path, street: Street) -> None:
    """Against HitPay itself nothing is auto-paid: the wallet says so instead of calling anything."""
    street.shop.details = {
        "checkout_url": "https://securecheckout.hit-pay.com/x",
        "polling_url": "https://sandbox.mpp.hitpay.dev/v1/charges/mpp_ch_1",
        "challenge_id": "mpp_ch_1",
    }
    wallet = HitPayWallet(auto_pay=True, show=None, timeout_s=0.1, poll_s=0.05)
    terms = charge_terms(street.shop.challenge("mpp_ch_1", street.shop.details), street.server.url, Pins(), SGD)
    flow = wallet._pay_here(terms)
    with pytest.raises(StopIteration) as stop:
        next(flow)
    assert "this machine only" in stop.value.value.reason


def test_a_sandbox_that_does_not_know_the_charge_declines(tmp_path: Path, street: Street) -> None:
    """Certainly not paid."""
    street.sandbox.fault("http", 500, route="B2")
    agent = Agent("httpx", tmp_path, wallet=wallet(street, auto_pay=True))
    street.shop.details = {
        "challenge_id": "mpp_ch_unknown",
        "polling_url": f"{street.sandbox.broker_url}/v1/charges/mpp_ch_unknown",
    }
    with pytest.raises(PaymentDeclined, match="would not pay"):
        agent.get(street.server.url)


# --- receipts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spoilt",
    [
        "bad_signature",
        "alg_none",
        "alg_hs256",
        "typ_swapped",
        "wrong_iss",
        "wrong_amount",
        "wrong_currency",
        "wrong_charge",
        "wrong_kid",
        "clock_skew",
    ],
)
def test_a_spoilt_receipt_is_refused_with_the_goods_in_hand(spoilt: str, tmp_path: Path, street: Street) -> None:
    """Every way the sandbox can spoil one: the payment is made once, the body is in the error, nothing is repeated."""
    street.sandbox.fault("jws", spoilt, route="B3")
    agent = Agent("httpx", tmp_path, wallet=wallet(street, auto_pay=True))
    with pytest.raises(ReceiptRejected) as caught:
        agent.get(street.server.url)
    assert (b"goods", False) == (caught.value.answer.body, caught.value.answer.payment.receipt_verified)
    assert (1, 1) == (len(street.shop.charges), len(street.server.credentials))
    assert "1.00" == cast("dict[str, str]", street.sandbox.money()["sgd"])["in"]
    agent.policy = Policy(receipts="note")
    assert b"goods" == agent.resume(caught.value.reference or "").body


def test_a_key_that_was_rotated_meanwhile_is_found(tmp_path: Path, street: Street) -> None:
    """The key set is kept; one refetch finds the new key, and the old receipts stay good."""
    agent = Agent("httpx", tmp_path, wallet=wallet(street, auto_pay=True))
    import httpx

    from flovia.client.httpx import payment_info

    with httpx.Client(transport=agent.transport()) as client:
        for turn in range(4):
            if turn == 2:
                street.sandbox.keys("rotate")
            info = payment_info(client.get(street.server.url))
            assert info is not None
            assert info.receipt_verified
    assert 2 == len(street.sandbox.journal("B9"))


def test_a_broker_without_keys_is_no_reason_to_refuse_or_to_believe(tmp_path: Path, street: Street) -> None:
    """Nobody can say: the goods come, and the note says that nobody could; with require they come in the error."""
    street.sandbox.fault("jwks", "down")
    agent = Agent("httpx", tmp_path, wallet=wallet(street, auto_pay=True))
    reply = agent.get(street.server.url)
    assert reply.payment is not None
    assert (b"goods", None) == (reply.body, reply.payment.receipt_verified)
    assert "cannot be had" in (reply.payment.receipt_problem or "")
    agent.policy = Policy(receipts="require")
    with pytest.raises(ReceiptRejected) as caught:
        agent.get(street.server.url)
    assert b"goods" == caught.value.answer.body


@pytest.mark.parametrize(("core", "mpp"), [(True, True), (True, False), (False, True)])
def test_the_receipt_may_be_in_either_place(core: bool, mpp: bool, tmp_path: Path, street: Street) -> None:
    """In HitPay's own header, or inside the protocol's receipt."""
    street.shop.core_receipt, street.shop.mpp_receipt = core, mpp
    reply = Agent("httpx", tmp_path, wallet=wallet(street, auto_pay=True)).get(street.server.url)
    assert reply.payment is not None
    assert reply.payment.receipt_verified


def test_no_receipt_at_all_is_noted(tmp_path: Path, street: Street) -> None:
    """A receipt is not a condition unless the policy makes it one."""
    street.shop.core_receipt = street.shop.mpp_receipt = False
    reply = Agent("httpx", tmp_path, wallet=wallet(street, auto_pay=True)).get(street.server.url)
    assert reply.payment is not None
    assert (None, "the server sent no signed receipt") == (
        reply.payment.receipt_verified,
        reply.payment.receipt_problem,
    )


def test_the_receipt_of_an_earlier_payment_is_refused(tmp_path: Path, street: Street) -> None:
    """A server that keeps handing out one good receipt is found out: it is for another charge."""
    agent = Agent("httpx", tmp_path, wallet=wallet(street, auto_pay=True))
    first = agent.get(street.server.url)
    street.shop.receipts.append(first.headers["mpp-receipt"])
    with pytest.raises(ReceiptRejected, match="challenge"):
        agent.get(street.server.url)


def test_receipts_can_be_left_alone(tmp_path: Path, street: Street) -> None:
    """verify_receipts=False asks for no keys and says so."""
    reply = Agent("httpx", tmp_path, wallet=wallet(street, auto_pay=True, verify_receipts=False)).get(street.server.url)
    assert reply.payment is not None
    assert None is reply.payment.receipt_verified
    assert [] == street.sandbox.journal("B9")


def test_a_refused_payment_is_not_repeated(tmp_path: Path, street: Street) -> None:
    """The broker does not believe the request: the server asks for another payment, and the agent stops."""
    street.sandbox.fault("verify", "hash_mismatch")
    agent = Agent("httpx", tmp_path, wallet=wallet(street, auto_pay=True))
    with pytest.raises(PaymentRefused):
        agent.get(street.server.url)
    assert "1.00" == cast("dict[str, str]", street.sandbox.money()["sgd"])["in"]


def test_settings_that_cannot_work() -> None:
    """At start, by name."""
    for wrong in ({"timeout_s": 0.0}, {"poll_s": -1.0}):
        with pytest.raises(WiringError):
            HitPayWallet(**wrong)  # type: ignore[arg-type]  # a table
    for broker in ("http://mpp.hitpay.dev", "mpp.hitpay.dev", "https://x/y"):
        with pytest.raises(WiringError):
            HitPayWallet.at(broker)
    for host in ("https://pay.test", "pay.test:443", "Pay.test", ""):
        with pytest.raises(WiringError):
            Pins(checkout_hosts=(host,))
    assert "https://mpp.hitpay.dev" == HitPayWallet.at("https://mpp.hitpay.dev").pins.broker


def test_rupiah_are_rupiah(tmp_path: Path, street: Street) -> None:
    """50000 IDR at the broker are 5000000 base units in the challenge, and the same sum."""
    from flovia.client import Budget

    street.shop.amount, street.shop.currency, street.shop.base_units = "50000", "idr", "5000000"
    agent = Agent("httpx", tmp_path, wallet=wallet(street, auto_pay=True), budget=Budget("60000 IDR"))
    reply = agent.get(street.server.url)
    assert reply.payment is not None
    assert ("50000 IDR", True) == (str(reply.payment.price), reply.payment.receipt_verified)
