"""The parts of the HitPay wallets by hand: broker answers as scripted as they come, and what is printed."""

import sys
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from flovia.client import (
    Declined,
    PaidAnswer,
    Payment,
    PaymentContext,
    ReceiptUnverified,
    ReceiptWrong,
    Uncertain,
    Unconfirmed,
)
from flovia.client.hitpay import (
    Checkout,
    GrantFiles,
    GrantInfo,
    HitPayWallet,
    Pins,
    SavedMethodWallet,
    WalletNames,
    qr_text,
    show_in_terminal,
)
from flovia.client.hitpay.grants import Grant
from flovia.client.hitpay.pins import asked_limits
from flovia.client.hitpay.receipts import verify
from flovia.client.hitpay.terminal import checkout_text
from flovia.client.wallet import description_of
from flovia.core.challenge import Challenge
from flovia.core.effects import HttpCall, HttpReply
from flovia.core.encoding import JsonValue, canonical, encode_param
from flovia.core.errors import HttpError, WiringError
from flovia.core.http import Headers
from flovia.core.money import Price
from flovia.core.receipt import Receipt
from flovia.signed import Jwks
from flovia.testing.flows import ByHand, drive

BROKER = "https://mpp.example.test"
SERVER = "https://api.example.test"
SGD = Price(amount=100, currency="sgd")
CONTEXT = PaymentContext(
    reference="test-reference",
    http_method="GET",
    origin=SERVER,
    realm="shop.test",
    price=SGD,
    recipient=None,
    expires_at=None,
)
DETAILS: dict[str, JsonValue] = {
    "challenge_id": "mpp_ch_1",
    "checkout_url": "https://securecheckout.hit-pay.com/payment-request/@shop/1/checkout",
    "polling_url": f"{BROKER}/v1/charges/mpp_ch_1",
}
SETUP: dict[str, JsonValue] = {
    "mode": "saved-method",
    "saved_method_id": "mpp_spm_1",
    "setup_checkout_url": "https://securecheckout.hit-pay.com/setup/1",
    "polling_url": f"{BROKER}/v1/saved-payment-methods/mpp_spm_1",
}


def challenge(details: JsonValue = None, method: str = "hitpay") -> Challenge:
    """A challenge for 1.00 SGD."""
    request = {"amount": "100", "currency": "sgd", "methodDetails": DETAILS if details is None else details}
    return Challenge(id="test", realm="shop.test", method=method, intent="charge", request=encode_param(request))


def says(*answers: dict[str, JsonValue] | int | HttpError) -> ByHand:
    """A broker that answers so in turn, the last one for ever."""
    left = list(answers)

    def backend(call: HttpCall) -> HttpReply:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, HttpError):
            raise answer
        if isinstance(answer, int):
            return HttpReply(status=answer, headers=(("retry-after", "7"),))
        return HttpReply(status=200, body=canonical(answer))

    return ByHand(backend)


def wallet(show: Callable[[Checkout], None] | None = None, **more: object) -> HitPayWallet:
    """A wallet for the broker of these tests."""
    return HitPayWallet(pins=Pins(broker=BROKER), show=show, **more)  # type: ignore[arg-type]  # a table


PENDING: dict[str, JsonValue] = {"status": "pending", "challenge_id": "mpp_ch_1", "amount": "1.00", "currency": "sgd"}
PAID: dict[str, JsonValue] = {**PENDING, "status": "paid"}


def test_what_it_can_pay() -> None:
    """One-time charges by HitPay; a saved wallet's are for the other wallet."""
    assert ("hitpay/charge",) == wallet().methods
    assert wallet().can_pay(challenge())
    assert not wallet().can_pay(challenge(SETUP))
    assert not wallet().can_pay(challenge(method="hitpay-save"))
    assert not wallet().can_pay(challenge(method="mock"))
    assert None is wallet().foresee(challenge(SETUP), CONTEXT)
    assert None is wallet().foresee(challenge("none"), CONTEXT)
    assert Payment(payload={"challenge_id": "mpp_ch_1"}) == wallet().foresee(challenge(), CONTEXT)


def test_it_asks_every_two_seconds_and_waits_longer_if_told_to() -> None:
    """Two seconds by default, Retry-After where the broker names one."""
    world = says(PENDING, 429, 500, PENDING, PAID)
    started = world.clock()
    assert Payment(payload={"challenge_id": "mpp_ch_1"}) == drive(wallet().pay(challenge(), CONTEXT), world)
    assert 7 + 7 + 2 == world.clock() - started
    assert 5 == len(world.calls)


@pytest.mark.parametrize("status", ["expired", "declined", "failed", "canceled", "cancelled", "inactive"])
def test_states_that_end_it(status: str) -> None:
    """Certainly not paid."""
    ended: dict[str, JsonValue] = {**PENDING, "status": status}
    for answers in ((ended,), (PENDING, ended)):
        verdict = drive(wallet().pay(challenge(), CONTEXT), says(*answers))
        assert isinstance(verdict, Declined)
        over = "that money is to go back" if status == "expired" else "cannot be paid any more: ask for a fresh one"
        assert over in verdict.reason
        assert verdict.reason.startswith(f"the charge is {status}")


def test_a_state_it_does_not_know_is_waited_out() -> None:
    """A new word of the broker's decides nothing: at the end nobody knows."""
    world = says({**PENDING, "status": "thinking"})
    started = world.clock()
    context = attrs.evolve(CONTEXT, asked_at=started)
    assert isinstance(drive(wallet(present_s=1000).pay(challenge(), context), world), Unconfirmed)
    assert 600 == world.clock() - started
    context = attrs.evolve(context, attempt=2)
    assert isinstance(drive(wallet(present_s=1000).pay(challenge(), context), world), Uncertain)
    assert 600 == world.clock() - started


def test_the_server_is_asked_in_between() -> None:
    """Every 20 s the credential may be tried; the time of the whole counts from the first question to the wallet."""
    world, shown = says(PENDING), list[Checkout]()
    started = world.clock()
    context = attrs.evolve(CONTEXT, asked_at=started)
    for attempt in range(1, 31):
        verdict = drive(wallet(shown.append).pay(challenge(), attrs.evolve(context, attempt=attempt)), world)
        assert isinstance(verdict, Unconfirmed)
        assert 20 * attempt == world.clock() - started
    assert isinstance(drive(wallet().pay(challenge(), attrs.evolve(context, attempt=31)), world), Uncertain)
    assert (600, 1) == (world.clock() - started, len(shown))


def test_it_does_not_wait_beyond_the_challenge() -> None:
    """Half a minute after the challenge's end the broker has said what there is to say."""
    world = says(PENDING)
    started = world.clock()
    context = attrs.evolve(CONTEXT, expires_at=started + 60)
    assert isinstance(drive(wallet(present_s=1000).pay(challenge(), context), world), Unconfirmed)
    assert 90 == world.clock() - started


@pytest.mark.parametrize(
    "first",
    [
        {**PENDING, "amount": "1.01"},
        {**PENDING, "amount": "100"},
        {**PENDING, "amount": "1,00"},
        {**PENDING, "currency": "usd"},
        {**PENDING, "challenge_id": "mpp_ch_2"},
    ],
)
def test_a_broker_that_speaks_of_something_else(first: dict[str, JsonValue]) -> None:
    """Another sum or charge than the challenge: nobody is sent to the page."""
    shown: list[Checkout] = []
    verdict = drive(wallet(shown.append).pay(challenge(), CONTEXT), says(first))
    assert isinstance(verdict, Declined)
    assert [] == shown


@pytest.mark.parametrize(
    "first", [{"status": "pending"}, {**PENDING, "amount": 1}, 404, 200, HttpError("x", sent=True)]
)
def test_what_the_broker_does_not_say_contradicts_nothing(first: dict[str, JsonValue] | int | HttpError) -> None:
    """A short answer, or none: the page is shown all the same."""
    shown: list[Checkout] = []
    verdict = drive(wallet(shown.append).pay(challenge(), CONTEXT), says(first, PAID))
    assert isinstance(verdict, Payment)
    assert 1 == len(shown)


def local() -> tuple[HitPayWallet, Challenge]:
    """A wallet that pays by itself, and a challenge of a sandbox on this machine."""
    here = "http://127.0.0.1:4010"
    details = {**DETAILS, "polling_url": f"{here}/v1/charges/mpp_ch_1"}
    return HitPayWallet(pins=Pins(broker=here), show=None, auto_pay=True), challenge(details)


def test_auto_pay_pays_once_and_then_asks() -> None:
    """One POST to the control interface of the sandbox, whatever it answers."""
    for answer in ({"ok": True}, 500, HttpError("x", sent=True)):
        paying, asked = local()
        world = says(PENDING, answer, PAID)
        assert isinstance(drive(paying.pay(asked, CONTEXT), world), Payment)
        assert ["GET", "POST", "GET"] == [call.http_method for call in world.calls]
        assert "http://127.0.0.1:4010/__emulator/charges/mpp_ch_1/pay" == world.calls[1].url


def test_auto_pay_without_a_sandbox() -> None:
    """Nothing was sent, or it was refused: certainly not paid. Elsewhere than on this machine nothing is called."""
    for answer in (404, HttpError("x", sent=False)):
        paying, asked = local()
        assert isinstance(drive(paying.pay(asked, CONTEXT), says(PENDING, answer)), Declined)
    world = says(PENDING)
    verdict = drive(wallet(auto_pay=True).pay(challenge(), CONTEXT), world)
    assert isinstance(verdict, Declined)
    assert ["GET"] == [call.http_method for call in world.calls]


# --- receipts ------------------------------------------------------------------------------------------------


def answer(
    *headers: tuple[str, str], receipt: Receipt | None = None, asked: Challenge | None = None, **payload: JsonValue
) -> PaidAnswer:
    """A paid answer."""
    return PaidAnswer(
        origin=SERVER,
        price=SGD,
        recipient=None,
        challenge=asked or challenge(),
        payload=payload,
        headers=Headers.of(headers),
        receipt=receipt,
    )


def test_two_receipts_that_differ() -> None:
    """Header and body, or one header twice: if they disagree, neither is believed."""
    inner = Receipt(
        method="hitpay", timestamp="2030-01-01T00:00:00Z", reference="r", extra={"extra": {"receipt_jws": "a.b.c"}}
    )
    issuer = Jwks(origin=BROKER)
    for found in (
        answer(("mpp-receipt", "x.y.z"), receipt=inner),
        answer(("mpp-receipt", "x.y.z"), ("mpp-receipt", "a.b.c")),
        answer(("payment-receipt", "x.y.z"), ("mpp-receipt", "a.b.c")),
    ):
        assert isinstance(drive(verify(found, issuer), []), ReceiptWrong)


def test_a_receipt_in_the_protocols_own_header() -> None:
    """HitPay's profile has the token there; a broken one is refused without asking for keys."""
    assert isinstance(drive(verify(answer(("payment-receipt", "a.b.c")), Jwks(origin=BROKER)), []), ReceiptWrong)


def test_a_receipt_of_another_kind_of_payment() -> None:
    """Nothing to say about what this wallet does not pay."""
    for asked in (challenge(SETUP), challenge({})):
        assert isinstance(drive(wallet().verify_receipt(answer(asked=asked)), []), ReceiptUnverified)


# --- saved wallets ------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path_factory: pytest.TempPathFactory) -> SavedMethodWallet:
    """A wallet with nothing saved, and nobody to approve."""
    grants = GrantFiles(tmp_path_factory.mktemp("grants"), key=bytes(32))
    return SavedMethodWallet(grants=grants, pins=Pins(broker=BROKER), show=None)


def test_what_a_saved_wallet_can_pay(saved: SavedMethodWallet) -> None:
    """HitPay's, under either method name."""
    assert ("hitpay/charge", "hitpay-save/charge") == saved.methods
    assert saved.can_pay(challenge(SETUP))
    assert saved.can_pay(challenge(method="hitpay-save"))
    assert not saved.can_pay(challenge(method="mock"))
    assert None is saved.foresee(challenge(), CONTEXT)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"setup_checkout_url": None}, "no setup"),
        ({"setup_checkout_url": "https://evil.test/"}, "checkout"),
        ({"polling_url": "https://evil.test/v1/saved-payment-methods/mpp_spm_1"}, "polling"),
        ({"polling_url": f"{BROKER}/v1/saved-payment-methods/mpp_spm_2"}, "polling"),
        ({"polling_url": None}, "polling"),
        ({"saved_method_id": "../x"}, "saved_method_id"),
    ],
)
def test_setups_that_are_not_hitpays(change: dict[str, JsonValue], why: str, saved: SavedMethodWallet) -> None:
    """Declined before anything is called or shown."""
    verdict = drive(saved.pay(challenge({**SETUP, **change}), CONTEXT), says(500))
    assert isinstance(verdict, Declined)
    assert why in verdict.reason


def test_a_setup_without_any_link(saved: SavedMethodWallet) -> None:
    """There is nothing to approve."""
    details = {name: value for name, value in SETUP.items() if name != "setup_checkout_url"}
    verdict = drive(saved.pay(challenge(details), CONTEXT), says(500))
    assert isinstance(verdict, Declined)
    assert "offers no setup" in verdict.reason


def test_active_without_a_grant(saved: SavedMethodWallet) -> None:
    """The broker calls it active and sends no grant: that is no saved wallet."""
    verdict = drive(saved.pay(challenge(SETUP), CONTEXT), says({"status": "pending"}, {"status": "active"}))
    assert isinstance(verdict, Declined)
    assert "without a grant" in verdict.reason


def test_the_receipt_of_a_grant_that_is_gone(saved: SavedMethodWallet) -> None:
    """Nobody can say whose it would have to be."""
    assert isinstance(drive(saved.verify_receipt(answer(saved_method_jws="x")), []), ReceiptUnverified)


# --- what is printed ----------------------------------------------------------------------------------------


def shown(**more: object) -> Checkout:
    """A checkout to show."""
    options: dict[str, object] = {
        "url": "https://securecheckout.hit-pay.com/x",
        "reference": "test-reference",
        "origin": SERVER,
        "price": SGD,
        "charge_id": "mpp_ch_1",
        "expires_at": 660.0,
        **more,
    }
    return Checkout(**options)  # type: ignore[arg-type]  # a table


def test_a_checkout_in_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Amount, server, description, QR code, link and time: on standard error, never on standard output."""
    text = checkout_text(shown(description="A forecast"), now=60.0)
    assert text.startswith(f"Pay 1.00 SGD to {SERVER}\n  it says: A forecast\n")
    assert "  https://securecheckout.hit-pay.com/x\n  it can be paid there for 10 min\n" in text
    assert (qr_text("https://securecheckout.hit-pay.com/x") or "none").rstrip("\n") in text
    assert f"Approve charges by {SERVER}" in checkout_text(shown(setup=True, expires_at=None), now=0.0)
    show_in_terminal(shown())
    out, err = capsys.readouterr()
    assert ("", True) == (out, "Pay 1.00 SGD" in err)


@pytest.mark.parametrize(
    ("header", "request_says", "told"),
    [
        ("K?se ?", "Käse ☃", "Käse ☃"),
        ("A forecast", "A forecast", "A forecast"),
        ("A forecast", "Pay the other one", "A forecast"),
        ("A forecast", 5, "A forecast"),
        ("A forecast", None, "A forecast"),
        (None, "Käse", None),
        ("a b?", "a\x1bb\u202e", "a b?"),
        ("?" * 252 + "...", "ä" * 300, "ä" * 200),
    ],
)
def test_what_it_is_for_is_told_in_its_own_letters(
    header: str | None, request_says: JsonValue, told: str | None
) -> None:
    """A header has ASCII only; the request's text is shown where the header's is what is left of it, no other."""
    request = {"amount": "100", "currency": "sgd", "methodDetails": DETAILS}
    if request_says is not None:
        request["description"] = request_says
    asked = attrs.evolve(challenge(), request=encode_param(request), description=header)
    assert told == description_of(asked)
    shown: list[Checkout] = []
    drive(wallet(shown.append).pay(asked, CONTEXT), says(PENDING, PAID))
    assert [told] == [one.description for one in shown]


def test_without_segno_there_is_the_link(monkeypatch: pytest.MonkeyPatch) -> None:
    """The QR code is a convenience."""
    monkeypatch.setitem(sys.modules, "segno", None)
    assert None is qr_text("https://securecheckout.hit-pay.com/x")
    assert "https://securecheckout.hit-pay.com/x" in checkout_text(shown(), now=0.0)


def test_a_saved_wallet_is_not_charged_for_a_challenge_that_names_two_amounts(tmp_path: Path) -> None:
    """Neither is a grant presented, nor a setup begun, nor the wallet for one-time charges asked."""
    shown: list[Checkout] = []
    saved = SavedMethodWallet(
        grants=GrantFiles(tmp_path, key=bytes(32)),
        once=wallet(shown.append),
        pins=Pins(broker=BROKER),
        show=shown.append,
    )
    for details in (DETAILS, SETUP):
        hand = says(500)
        verdict = drive(saved.pay(challenge({**details, "amount_decimal": "100.00"}), CONTEXT), hand)
        assert isinstance(verdict, Declined)
        assert "contradicts itself" in verdict.reason
    assert [] == shown


def test_other_names(tmp_path: Path) -> None:
    """What HitPay has not published is written and read under the names that a wallet is given."""
    names = WalletNames(
        payload_charge="paid_charge",
        payload_grant="grant",
        asked_charge="charge",
        asked_setup="method",
        polled_charge="id",
        polled_amount="sum",
        polled_currency="ccy",
    )
    asked = challenge({"charge" if name == "challenge_id" else name: value for name, value in DETAILS.items()})
    pending: dict[str, JsonValue] = {"status": "pending", "id": "mpp_ch_1", "sum": "1.00", "ccy": "sgd"}
    ours = wallet(names=names)
    expected = Payment(payload={"paid_charge": "mpp_ch_1"})
    assert expected == ours.foresee(asked, CONTEXT)
    assert None is ours.foresee(challenge(), CONTEXT)
    assert expected == drive(ours.pay(asked, CONTEXT), says(pending, {**pending, "status": "paid"}))
    for other in ({"id": "mpp_ch_2"}, {"sum": "2.00"}, {"ccy": "usd"}):
        assert isinstance(drive(ours.pay(asked, CONTEXT), says({**pending, **other})), Declined)
    # Under other names the same members say nothing.
    unread = {"status": "pending", "challenge_id": "x", "amount": "9.00", "currency": "usd"}
    assert expected == drive(ours.pay(asked, CONTEXT), says(unread, {"status": "paid"}))

    grants = GrantFiles(tmp_path, key=bytes(32))
    saved = SavedMethodWallet(grants=grants, pins=Pins(broker=BROKER), names=names, ask_first=False)
    grant_name = GrantFiles.name_of(SERVER, "shop.test", "sgd")
    info = GrantInfo(
        name=grant_name,
        origin=SERVER,
        issuer=BROKER,
        currency="sgd",
        payment_method=None,
        saved_method_id="mpp_spm_1",
        max_amount_per_charge=1000,
        total_amount_cap=None,
        max_uses=None,
        expires_at=2e9,
    )
    grants.keep(Grant(info=info, jws="test-grant"))
    paid = drive(saved.pay(asked, CONTEXT), ByHand(lambda call: HttpReply(status=500)))
    assert Payment(payload={"grant": "test-grant"}) == paid
    elsewhere = {**SETUP, "polling_url": f"{BROKER}/v1/saved-payment-methods/mpp_spm_2", "method": "mpp_spm_3"}
    refused = drive(
        SavedMethodWallet(grants=GrantFiles(tmp_path / "none", key=bytes(32)), names=names).pay(
            challenge(elsewhere), CONTEXT
        ),
        says(500),
    )
    assert isinstance(refused, Declined)
    assert "polling" in refused.reason


@pytest.mark.parametrize("field", attrs.fields(WalletNames), ids=lambda field: field.name)
def test_a_name_that_is_empty(field: "attrs.Attribute[str]") -> None:
    """At start; and so is one that would mean two things in a credential."""
    with pytest.raises(WiringError, match=field.name):
        WalletNames(**{field.name: ""})
    with pytest.raises(WiringError, match="two things"):
        WalletNames(payload_grant="challenge_id")


def test_a_setup_says_what_is_agreed_to() -> None:
    """Each limit that the challenge names, as money; what is none is left to the page."""
    members: dict[str, JsonValue] = {"max_amount_per_charge": "10.00", "total_amount_cap": "50", "max_uses": 3}
    members["valid_until"] = "2030-01-01T00:00:00Z"
    assert (
        "at most 10.00 SGD per charge",
        "at most 50.00 SGD in total",
        "at most 3 charges",
        "until 2030-01-01T00:00:00Z",
    ) == asked_limits(members, "sgd")
    odd: dict[str, JsonValue] = {
        "max_amount_per_charge": "0",
        "total_amount_cap": 1,
        "max_uses": True,
        "valid_until": 1,
    }
    assert () == asked_limits(odd, "sgd")
    shown = Checkout(
        url="https://securecheckout.hit-pay.com/setup/1",
        reference="test",
        origin=SERVER,
        price=SGD,
        charge_id="mpp_spm_1",
        expires_at=None,
        setup=True,
    )
    assert "within the limits that the page names" in checkout_text(shown, 0.0)
    assert "  at most 1\n" in checkout_text(attrs.evolve(shown, limits=("at most 1",)), 0.0)
