"""A broker that has other words than we chose is understood once the settings say so, word by word."""

import attrs
import pytest

from flovia.core.effects import HttpCall, HttpReply
from flovia.core.encoding import JsonObject, canonical, loads_object
from flovia.core.errors import WiringError
from flovia.core.money import Price
from flovia.core.provider import Quote
from flovia.providers.hitpay import BrokerNames, BrokerRefusals, HitPayConfig, Sign
from flovia.providers.hitpay.names import OF_SILENT, OF_VERIFY, Meaning
from flovia.signed import ClaimNames, SignedLimits
from flovia.testing.flows import drive
from tests.providers.hitpay.fake import (
    EMAIL,
    LIFE_S,
    SAVED,
    FakeHitPay,
    Signer,
    World,
    b64,
    challenge_of,
    charge_id,
    credential,
    field,
    problem,
    reply,
    request,
)

ASKS = {"x_mpp_payment_method": "grabpay_direct", "x_user_email": EMAIL}
OURS = BrokerNames()
THEIRS: dict[str, str | tuple[str, ...]] = {
    "created_id": "charge.id",
    "created_checkout": "charge.pay_url",
    "created_polling": "poll_url",
    "created_expiry": "valid_to",
    "verify_key": "merchant_key",
    "verify_hash": "hash",
    "verify_nonce": "once",
    "options_currency": "ccy",
    "options_list": "data.wallets",
    "option_wallet": "code",
    "silent_grant": "grant",
    "error_code": "error.code",
    "payload_charge": ("charge",),
    "payload_grant": ("grant",),
    "payload_setup": ("method",),
    "native_charge": ("charge",),
}


def put(members: dict[str, object], name: str, value: object) -> None:
    """Set a member by its path."""
    *holders, last = name.split(".")
    for holder in holders:
        inner = members.setdefault(holder, {})
        assert isinstance(inner, dict)
        members = inner
    members[last] = value


class Speaker(FakeHitPay):
    """A HitPay with words of its own: it understands no others, and answers in them."""

    names = OURS

    def __call__(self, call: HttpCall) -> HttpReply:
        """Translate what comes, answer, translate that."""
        path, _, query = call.url.partition("?")
        if query:
            assert query.startswith(f"{self.names.options_currency}=")
            call = attrs.evolve(call, url=f"{path}?currency={query.partition('=')[2]}")
        if call.body:
            call = attrs.evolve(call, body=canonical(self.heard(path, loads_object(call.body))))
        found = super().__call__(call)
        route = self.calls[-1][0]
        members = loads_object(found.body) if found.body else {}
        return attrs.evolve(found, body=canonical(self.said(route, members)))

    def heard(self, path: str, body: JsonObject) -> JsonObject:
        """A body in the fake's words."""
        names = self.names
        pairs: dict[str, str] = {}
        if path.endswith("/verify"):
            pairs = {"api_key": names.verify_key, "request_hash": names.verify_hash, "nonce": names.verify_nonce}
        if path.endswith("/charges") and "saved" in path:
            pairs = {"saved_method_jws": names.silent_grant}
        known = {ours: body[theirs] for ours, theirs in pairs.items() if theirs in body}
        return {name: value for name, value in body.items() if name not in {*pairs, *pairs.values()}} | known

    def said(self, route: str, members: JsonObject) -> JsonObject:
        """An answer in words of its own."""
        names = self.names
        pairs = {"error": names.error_code}
        if route == "create":
            pairs |= {
                "challenge_id": names.created_id,
                "checkout_url": names.created_checkout,
                "polling_url": names.created_polling,
                "expires_at": names.created_expiry,
            }
        if route == "options":
            pairs |= {"options": names.options_list}
        out: dict[str, object] = {}
        for name, value in members.items():
            said: object = value
            if name == "polling_url":
                said = f"{value}/of-its-own"
            if name == "options" and isinstance(value, list):
                said = [{names.option_wallet: item["payment_method"]} for item in value if isinstance(item, dict)]
            put(out, pairs.get(name, name), said)
        return loads_object(canonical(out))  # type: ignore[arg-type]  # JSON, by construction


def shop_of(names: BrokerNames, spoken: BrokerNames, **settings: object) -> World:
    """A gate that is told ``names``, in front of a broker that speaks ``spoken``."""
    shop = World(saved=SAVED, names=names, send_grant=True, charge_lifetime_s=LIFE_S // 2, **settings)
    speaker = Speaker(shop.hand.clock)
    speaker.names = spoken
    shop.hitpay = speaker
    return shop


def journey(shop: World, spoken: BrokerNames) -> list[object]:
    """Pay once, in both forms; bind a wallet and be charged silently. What was seen on the way."""
    seen: list[object] = []
    challenge = shop.challenge()
    details = challenge.request_json["methodDetails"]
    assert isinstance(details, dict)
    seen += [details["challenge_id"], details["checkout_url"], details["polling_url"], challenge.expires]
    token = credential(challenge, {spoken.payload_charge[0]: charge_id(challenge)})
    response = shop.refusal(request(token))
    seen += [problem(response), challenge.id == challenge_of(response).id, field(response, "retry-after")]
    shop.hitpay.pay(charge_id(challenge))
    seen.append("mpp-receipt" in shop.deliver(shop.enter(request(token))))
    other = shop.challenge()
    shop.hitpay.pay(charge_id(other))
    seen.append(
        "payment-receipt" in shop.deliver(shop.enter(request(b64({spoken.native_charge[0]: charge_id(other)}))))
    )
    for call in shop.hitpay.called("verify"):
        body = loads_object(call.body)
        seen += [body.get("api_key"), body.get("request_hash"), body.get("nonce") in shop.hitpay.nonces]

    back = shop.challenge()
    shop.hitpay.given["verify"] = [reply(410, {"error": "refunded"})]
    seen.append(problem(shop.refusal(request(credential(back, {spoken.payload_charge[0]: charge_id(back)})))))

    setup = challenge_of(shop.refusal(request(**ASKS)))
    ident = charge_id(setup)
    bound = credential(setup, {spoken.payload_setup[0]: ident})
    seen += [ident, problem(shop.refusal(request(bound)))]
    grant = shop.hitpay.approve(ident)
    seen.append("mpp-receipt" in shop.deliver(shop.enter(request(bound))))
    for token in (
        credential(shop.challenge(), {spoken.payload_grant[0]: grant}),
        b64({spoken.payload_grant[0]: grant}),
        grant,
    ):
        seen.append("mpp-receipt" in shop.deliver(shop.enter(request(token))))
        shop.hand.clock.advance(1)
    silent = [loads_object(call.body).get("saved_method_jws") == grant for call in shop.hitpay.called("silent")]
    seen += [silent, len(shop.hitpay.debits)]
    return seen


def attempt(shop: World, spoken: BrokerNames) -> list[object]:
    """A journey that may end early."""
    try:
        return journey(shop, spoken)
    except AssertionError:
        return ["ended early"]


def test_the_table_of_words_is_whole() -> None:
    """Every name has another one to be tried with."""
    assert {one.name for one in attrs.fields(BrokerNames)} == set(THEIRS)
    assert {one.name for one in attrs.fields(BrokerRefusals)} == {*OF_VERIFY, *OF_SILENT}


@pytest.mark.parametrize("renamed", [*({name: other} for name, other in THEIRS.items()), THEIRS], ids=[*THEIRS, "all"])
def test_other_names(renamed: dict[str, str | tuple[str, ...]]) -> None:
    """Each name alone, and all at once: with the setting all goes as before, and without it it does not."""
    spoken = BrokerNames(**renamed)  # type: ignore[arg-type]  # a table
    usual = journey(shop_of(OURS, OURS), OURS)
    assert usual == journey(shop_of(spoken, spoken), spoken)
    assert usual != attempt(shop_of(OURS, spoken), spoken)


# --- refusals -------------------------------------------------------------------------------------------------

OTHER_SIGNS: dict[Meaning, Sign] = {
    name: Sign(status=418, codes=(f"test_{name}",)) for name in (*OF_VERIFY, *OF_SILENT)
} | {"nonce_reused": Sign(status=403, codes=("test_nonce",))}  # elsewhere it would be told from nothing unknown


def outcome(meaning: Meaning, sign: Sign, refusals: BrokerRefusals) -> object:
    """What an agent gets when the broker answers with this sign."""
    shop = World(saved=SAVED, refusals=refusals)
    given = reply(sign.status, {"error": sign.codes[0]} if sign.codes else {})
    challenge = shop.challenge()
    ident = charge_id(challenge)
    if meaning in OF_VERIFY:
        if meaning == "already_verified":
            shop.hitpay.pay(ident)
        shop.hitpay.given["verify"] = [given]
        passage = shop.enter(request(credential(challenge)))
    else:
        shop.hitpay.given["silent"] = [given]
        passage = shop.enter(request(credential(challenge, {"saved_method_jws": shop.hitpay.grant()})))
    if passage.response is None:
        return "let in"
    again = passage.response.status == 402 and challenge_of(passage.response).id == challenge.id
    return *problem(passage.response), again, field(passage.response, "retry-after")


@pytest.mark.parametrize("meaning", [*OF_VERIFY, *OF_SILENT])
def test_other_refusals(meaning: Meaning) -> None:
    """Another status and code mean the same once the setting says so, and something else before."""
    ours = BrokerRefusals()
    usual: Sign = getattr(ours, meaning)
    sign = OTHER_SIGNS[meaning]
    theirs = attrs.evolve(ours, **{meaning: sign})
    found = outcome(meaning, usual, ours)
    assert found == outcome(meaning, sign, theirs)
    assert found != outcome(meaning, sign, ours)


def test_one_status_for_all() -> None:
    """A broker that refuses everything with one status is understood by its codes."""
    codes = ["not_paid", "already_verified", "expired", "unknown_charge", "hash_mismatch"]
    theirs = attrs.evolve(BrokerRefusals(), **{name: Sign(status=409, codes=(name,)) for name in codes})
    for name in codes:
        assert name == theirs.meaning(409, name, OF_VERIFY)
    assert theirs.meaning(409, "", OF_VERIFY) is None
    assert "nonce_reused" == theirs.meaning(409, "", OF_SILENT)


@pytest.mark.parametrize("status", [200, 302, 399, 429, 500, 503])
def test_no_refusal(status: int) -> None:
    """What says nothing for sure cannot be given a meaning."""
    with pytest.raises(WiringError, match="a refusal is 4xx"):
        Sign(status=status)


@pytest.mark.parametrize(
    "signs",
    [
        {"not_paid": Sign(status=404)},
        {"scope_exceeded": Sign(status=402)},
        {"expired": Sign(status=410, codes=("gone", "refunded"))},
    ],
    ids=str,
)
def test_refusals_that_cannot_be_told_apart(signs: dict[str, Sign]) -> None:
    """One answer must not mean two things."""
    with pytest.raises(WiringError, match="cannot be told apart"):
        BrokerRefusals(**signs)


@pytest.mark.parametrize("name", [one.name for one in attrs.fields(BrokerNames)])
def test_an_empty_name(name: str) -> None:
    """A name that is empty is a mistake, refused at start."""
    for empty in ("", (), ("",)):
        with pytest.raises(WiringError, match=name):
            BrokerNames(**{name: empty})  # type: ignore[arg-type]  # settings of a test


def test_one_member_for_two_things() -> None:
    """A credential's payload must not be a charge and a grant at once; what verify is sent has to be known."""
    with pytest.raises(WiringError, match="two things"):
        BrokerNames(payload_setup=("challenge_id",))
    with pytest.raises(WiringError, match="there is no"):
        HitPayConfig(verify_members=("api_key", "hash"))


# --- claims ---------------------------------------------------------------------------------------------------

CLAIMS = {one.name: f"x_{one.name}" for one in attrs.fields(ClaimNames) if one.name not in ("granted_id", "paid")}


class ClaimSigner(Signer):
    """Signs claims under other names."""

    def sign(self, claims: dict[str, object], typ: str | None = "mpp-receipt+jwt", alg: str = "EdDSA") -> str:
        """A compact JWS."""
        names = {getattr(ClaimNames(), name): other for name, other in CLAIMS.items()}
        if typ == "mpp-spm+jwt":
            names["sub"] = "x_granted"
        said = {names.get(name, name): value for name, value in claims.items()}
        said |= {"x_status": "SETTLED"} if "x_status" in said else {}
        said |= {"x_issuer": "urn:test:broker"}
        return super().sign(said, typ, alg)


def test_other_claims() -> None:
    """Receipts and grants with other names of every claim and another issuer: the whole journey goes as before."""
    names = ClaimNames(**CLAIMS, granted_id=("x_granted",), paid="SETTLED")  # type: ignore[arg-type]  # a table
    signed = SignedLimits(names=names, issuer="urn:test:broker")
    usual = journey(shop_of(OURS, OURS), OURS)
    shop = shop_of(OURS, OURS, signed=signed)
    shop.hitpay.signer = ClaimSigner()
    assert usual == journey(shop, OURS)
    mute = shop_of(OURS, OURS)
    mute.hitpay.signer = ClaimSigner()
    assert usual != attempt(mute, OURS)


def quote() -> Quote:
    """A quote of a route that costs 1.00 SGD."""
    price = Price(amount=100, currency="sgd")
    return Quote(
        request=request(), price=price, description=None, nonce="test", client="test", realm="", expires_at=0.0
    )


def test_hints_of_a_grant_under_other_names() -> None:
    """A grant that is of no use any more names its wallet for a new setup, and its currency for the right offer."""
    names = ClaimNames(**CLAIMS, granted_id=("x_granted",), paid="SETTLED")  # type: ignore[arg-type]  # a table
    shop = World(saved=SAVED, signed=SignedLimits(names=names, issuer="urn:test:broker"))
    shop.hitpay.signer = ClaimSigner()
    shop.hitpay.given["silent"] = [reply(410, {})]
    response = shop.refusal(request(shop.hitpay.grant(), x_user_email=EMAIL))
    assert (402, "payment-expired") == problem(response)
    details = challenge_of(response).request_json["methodDetails"]
    assert isinstance(details, dict)
    assert ("saved-method", "grabpay_direct") == (details["mode"], details["payment_method"])
    other = shop.provider.adopt(shop.hitpay.grant(currency="myr"), quote())
    assert drive(other, shop.hand) is None  # an offer in another currency may take it
