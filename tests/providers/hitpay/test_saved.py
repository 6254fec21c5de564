"""Saved wallets: setting one up, polling until it is active, silent charges under a grant."""

import re

import pytest

from flovia.core import events as ev
from flovia.core.effects import HttpCall, HttpReply
from flovia.core.encoding import JsonObject, loads_object
from flovia.core.errors import HttpError, WiringError
from flovia.core.http import UNREAD_BODY, Body, BodyMeter, HttpRequest
from flovia.core.money import Price
from flovia.providers.hitpay import HitPayConfig, HitPayProvider, SavedMethods, customer_from_header, store
from flovia.providers.hitpay.request_hash import flovia_rh_1
from flovia.testing.flows import drive
from tests.providers.hitpay.fake import (
    BROKER,
    EMAIL,
    LIFE_S,
    SAVED,
    Signer,
    World,
    challenge_of,
    charge_id,
    config,
    credential,
    field,
    problem,
    reply,
    request,
)

ASKS = {"x_mpp_payment_method": "grabpay_direct", "x_user_email": EMAIL}


def world(**settings: object) -> World:
    """A route on which wallets can be saved."""
    return World(saved=SAVED, **settings)  # type: ignore[arg-type]  # settings of a test


def posted(body: bytes, token: str | None = None, *, query: str = "", **headers: str) -> HttpRequest:
    """A POST whose body an adapter has measured."""
    meter = BodyMeter(1 << 20)
    meter.feed(body)
    found = request(token, verb="POST", query=query, **headers)
    found.body = meter.body
    return found


def unread(found: HttpRequest) -> HttpRequest:
    """The request with its body's hash and without its text."""
    found.body = Body(state=found.body.state, sha256=found.body.sha256, size=found.body.size)
    return found


def with_members(shop: World, call: HttpCall, members: JsonObject) -> HttpReply:
    """The broker's answer to a silent charge, with some members otherwise."""
    (ident,) = re.findall(r"/saved-payment-methods/([^/]+)/charges", call.url)
    return reply(200, {**loads_object(shop.hitpay.silent(loads_object(call.body), ident).body), **members})


class TestSetup:
    """Binding a wallet."""

    def test_the_402(self) -> None:
        """An agent that names a wallet gets a page to bind it, within the limits, and no charge is created."""
        shop = world()
        response = shop.refusal(request(**ASKS))
        assert (402, "payment-required") == problem(response)
        details = challenge_of(response).request_json["methodDetails"]
        assert isinstance(details, dict)
        assert ("saved-method", "grabpay_direct") == (details["mode"], details["payment_method"])
        body = loads_object(response.body)
        assert ("saved-method-setup", "grabpay_direct") == (body["mode"], body["method"])
        sent = loads_object(shop.hitpay.called("setup")[0].body)
        assert (EMAIL, "sgd", "10.00", "50.00", 20) == (
            sent["customer_email"],
            sent["currency"],
            sent["max_amount_per_charge"],
            sent["total_amount_cap"],
            sent["max_uses"],
        )
        assert str(sent["valid_until"]).endswith("Z")
        assert EMAIL.encode() not in response.body
        assert {} == shop.hitpay.charges

    def test_other_names(self) -> None:
        """The names of the limits and of the key's header are settings."""
        shop = world(
            setup_total_member="cap", setup_until_member="until", setup_uses_member="uses", saved_key_header="x-key"
        )
        shop.refusal(request(**ASKS))
        sent = loads_object(shop.hitpay.called("setup")[0].body)
        assert {"cap", "until", "uses"} <= set(sent)
        assert "test_key_of_a_merchant" == dict(shop.hitpay.called("options")[0].headers)["x-key"]

    def test_by_query(self) -> None:
        """The wallet can be named in the query as well."""
        shop = world()
        shop.refusal(request(query="payment_method=shopee_pay", x_user_email=EMAIL))
        assert "shopee_pay" == loads_object(shop.hitpay.called("setup")[0].body)["payment_method"]

    @pytest.mark.parametrize(
        ("kind", "body"),
        [
            ("application/json", b'{"city": "Singapore", "payment_method": "shopee_pay"}'),
            ("Application/JSON; charset=utf-8", b'{"payment_method": " shopee_pay "}'),
            ("application/x-www-form-urlencoded", b"city=Singapore&payment%5Fmethod=shopee_pay"),
        ],
    )
    def test_by_body(self, kind: str, body: bytes) -> None:
        """The wallet can be named in a small JSON object or form; the request hash is that of any other such body."""
        shop = world()
        challenge = challenge_of(shop.refusal(posted(body, content_type=kind, x_user_email=EMAIL)))
        sent = loads_object(shop.hitpay.called("setup")[0].body)
        assert "shopee_pay" == sent["payment_method"]
        assert flovia_rh_1(unread(posted(body))) == sent["request_hash"]
        shop.hitpay.approve(ident := charge_id(challenge))
        again = posted(body, credential(challenge, {"saved_method_id": ident}), content_type=kind, x_user_email=EMAIL)
        assert "mpp-receipt" in shop.deliver(shop.enter(again))

    @pytest.mark.parametrize("carrier", ["header", "query"])
    def test_header_and_query_come_first(self, carrier: str) -> None:
        """A wallet in the header or the query counts before one in the body."""
        shop = world()
        fields = {"x_mpp_payment_method": "grabpay_direct"} if carrier == "header" else {}
        query = "payment_method=grabpay_direct" if carrier == "query" else ""
        body = b'{"payment_method": "shopee_pay"}'
        shop.refusal(posted(body, query=query, content_type="application/json", x_user_email=EMAIL, **fields))
        assert "grabpay_direct" == loads_object(shop.hitpay.called("setup")[0].body)["payment_method"]

    @pytest.mark.parametrize(
        ("kind", "body"),
        [
            ("application/json", b'{"payment_method": "card"}'),
            ("application/json", b'{"payment_method": ["shopee_pay"]}'),
            ("application/json", b'["payment_method", "shopee_pay"]'),
            ("application/json", b'{"payment_method": "shopee_pay"'),
            ("application/json", b'{"payment_method": "shopee_pay", "more": "' + b"x" * 4096 + b'"}'),
            ("application/x-www-form-urlencoded", b"payment_method=shopee_pay&payment_method=grabpay_direct"),
            ("application/x-www-form-urlencoded", b"\xff\xfe=%ff&payment_method"),
            ("text/plain", b'{"payment_method": "shopee_pay"}'),
            ("", b'{"payment_method": "shopee_pay"}'),
        ],
    )
    def test_a_body_that_picks_nothing(self, kind: str, body: bytes) -> None:
        """A body with a word of the app's own, no object or form, or too long picks no wallet: pay once."""
        shop = world()
        assert (402, "payment-required") == problem(shop.refusal(posted(body, content_type=kind, x_user_email=EMAIL)))
        assert ([], 1) == (shop.hitpay.called("setup"), len(shop.hitpay.charges))

    def test_a_body_that_is_not_looked_at(self) -> None:
        """A route that does not bind bodies has none at hand, and a setting turns it off: pay once."""
        body = b'{"payment_method": "shopee_pay"}'
        off = world(wallet_body=None)
        off.refusal(posted(body, content_type="application/json", x_user_email=EMAIL))
        unbound = world()
        sent = request(verb="POST", content_type="application/json", x_user_email=EMAIL)
        sent.body = UNREAD_BODY
        unbound.refusal(sent)
        assert [[], []] == [shop.hitpay.called("setup") for shop in (off, unbound)]

    @pytest.mark.parametrize("wallet", ["touch_n_go", "new_wallet", "paynow", "x" * 300])
    def test_a_wallet_that_cannot_be_saved(self, wallet: str) -> None:
        """400 method-unsupported with the wallets that can be, which the broker says once in a while."""
        shop = world()
        for _ in range(2):
            response = shop.refusal(request(x_mpp_payment_method=wallet, x_user_email=EMAIL))
            assert (400, "method-unsupported") == problem(response)
            assert ["grabpay_direct", "shopee_pay"] == loads_object(response.body)["allowed"]
            assert field(response, "www-authenticate") is None
        assert 1 == len(shop.hitpay.called("options"))

    @pytest.mark.parametrize("email", ["", "nobody", "a@" + "b" * 300, "a\u0007@b"])
    def test_no_customer(self, email: str) -> None:
        """Without a customer nothing can be bound: 400, and nobody is called."""
        shop = world()
        response = shop.refusal(request(x_mpp_payment_method="grabpay_direct", x_user_email=email))
        assert (400, "hitpay_customer_email_missing") == problem(response)
        assert [] == shop.hitpay.calls

    @pytest.mark.parametrize("route", ["options", "setup"])
    @pytest.mark.parametrize(
        "given", [reply(500), reply(403, {}), reply(200, {}), HttpError("reset", sent=True)], ids=str
    )
    def test_broker_down(self, route: str, given: HttpReply | Exception) -> None:
        """503 without a challenge."""
        shop = world()
        shop.hitpay.given[route] = [given, given]
        assert (503, "provider-unavailable") == problem(shop.refusal(request(**ASKS)))

    def test_no_policy(self) -> None:
        """Where nothing can be saved, naming a wallet changes nothing: pay once."""
        shop = World()
        assert (402, "payment-required") == problem(shop.refusal(request(**ASKS)))
        assert 1 == len(shop.hitpay.charges)

    def test_until_active(self) -> None:
        """The setup's own credential waits for the wallet, then charges it: one bind, one debit."""
        shop = world()
        challenge = challenge_of(shop.refusal(request(**ASKS)))
        ident = charge_id(challenge)
        for payload in ({"saved_method_id": ident}, {"challenge_id": ident}):
            response = shop.refusal(request(credential(challenge, payload), **ASKS))
            assert challenge.id == challenge_of(response).id
            assert "2" == field(response, "retry-after")
        shop.hitpay.approve(ident)
        passage = shop.enter(request(credential(challenge, {"saved_method_id": ident}), **ASKS))
        added = shop.deliver(passage)
        assert "mpp-receipt" in added
        assert 1 == len(shop.hitpay.debits)
        assert 1 == len(shop.hitpay.saved)

    @pytest.mark.parametrize(
        ("status", "code"),
        [("detached", "payment-expired"), ("revoked", "payment-expired"), ("expired", "payment-expired")],
    )
    def test_bound_no_more(self, status: str, code: str) -> None:
        """A wallet that is gone asks for a new setup."""
        shop = world()
        challenge = challenge_of(shop.refusal(request(**ASKS)))
        ident = charge_id(challenge)
        shop.hitpay.saved[ident]["status"] = status
        response = shop.refusal(request(credential(challenge), **ASKS))
        assert (402, code) == problem(response)
        assert ident != charge_id(challenge_of(response))

    def test_odd_ends(self) -> None:
        """Expired while pending, unknown to the broker, another id, an odd status, active without a grant."""
        shop = world()
        challenge = challenge_of(shop.refusal(request(**ASKS)))
        ident = charge_id(challenge)
        shop.hitpay.given["saved"] = [
            reply(404, {}),
            reply(200, {"status": "thinking"}),
            reply(200, {"status": "active"}),
        ]
        codes = [problem(shop.refusal(request(credential(challenge), **ASKS)))[1] for _ in range(3)]
        assert ["invalid-challenge", "outcome-unknown", "outcome-unknown"] == codes
        challenge = challenge_of(shop.refusal(request(**ASKS)))
        ident = charge_id(challenge)
        other = credential(challenge, {"saved_method_id": "mpp_spm_other"})
        assert (402, "verification-failed") == problem(shop.refusal(request(other, **ASKS)))
        for payload in ({"saved_method_jws": 7}, {"saved_method_id": 7}):
            odd = credential(challenge, payload)
            assert (402, "invalid-payload") == problem(shop.refusal(request(odd, **ASKS)))
        shop.hand.clock.advance(LIFE_S)
        response = shop.refusal(request(credential(challenge, {"saved_method_id": ident}), **ASKS))
        assert (402, "payment-expired") == problem(response)

    def test_save_only(self) -> None:
        """A route can offer nothing but the binding; its own profile has HitPay's method name."""
        shop = world(save_only=True, wallet="grabpay_direct")
        response = shop.refusal(request(x_user_email=EMAIL))
        assert "hitpay" == challenge_of(response).method
        assert {} == shop.hitpay.charges
        legacy = world(save_only=True, wallet="grabpay_direct", profile="hitpay")
        assert "hitpay-save" == challenge_of(legacy.refusal(request(x_user_email=EMAIL))).method
        bare = world(save_only=True)
        assert (400, "method-unsupported") == problem(bare.refusal(request(x_user_email=EMAIL)))
        with pytest.raises(WiringError, match="save_only needs"):
            HitPayProvider(config(), save_only=True)

    def test_a_cap_below_the_price(self) -> None:
        """A wallet that could never pay the price is a mistake at start."""
        small = SavedMethods(customer_email=customer_from_header, max_amount_per_charge="0.50")
        with pytest.raises(WiringError, match=r"at most 0\.50 SGD.*Raise SavedMethods.*provider='hitpay'"):
            HitPayProvider(config(), saved=small).check_price(Price.parse("1.00 SGD"))
        with pytest.raises(WiringError, match=r"at most 10 IDR at once, and the price is 50000 IDR\."):
            HitPayProvider(config(), saved=SAVED).check_price(Price.parse("50000 IDR"))
        assert EMAIL == customer_from_header(request(x_user_email=EMAIL))


@pytest.mark.parametrize("value", ["10.00 SGD", "SGD 10", "ten", "", "0", "0.00", "-1", "1,000", "10.", 10])
@pytest.mark.parametrize("name", ["max_amount_per_charge", "total_amount_cap"])
def test_limits_that_are_no_amounts(name: str, value: object) -> None:
    """An amount with a currency, or none at all, is refused where it is written, with what to write."""
    limits: dict[str, object] = {"max_amount_per_charge": "10.00", name: value}
    with pytest.raises(WiringError, match=f"SavedMethods\\({name}=.*'10.00'.*without a currency"):
        SavedMethods(customer_email=customer_from_header, **limits)  # type: ignore[arg-type]  # as a mistake


class TestSilentCharge:
    """Charging under a grant, in the protocol's form."""

    def present(self, shop: World, grant: str, **more: str) -> tuple[int, str]:
        """The refusal for a grant that comes with a fresh challenge."""
        return problem(shop.refusal(request(credential(shop.challenge(), {"saved_method_jws": grant}), **more)))

    def test_paid(self) -> None:
        """The receipt is checked and told in both forms, and the charge's id is the payment."""
        shop = world()
        challenge = shop.challenge()
        passage = shop.enter(request(credential(challenge, {"saved_method_jws": shop.hitpay.grant()})))
        assert passage.grant is not None
        assert "ch_000000" == passage.grant.payment_id
        assert "mpp-receipt" in shop.deliver(passage)
        sent = loads_object(shop.hitpay.called("silent")[0].body)
        assert "saved_method_jws" not in sent
        assert "webhook_salt" not in sent

    def test_the_grant_goes_along_where_it_is_wanted(self) -> None:
        """send_grant sends it to the broker."""
        shop = world(send_grant=True)
        grant = shop.hitpay.grant()
        shop.enter(request(grant))
        assert grant == loads_object(shop.hitpay.called("silent")[0].body)["saved_method_jws"]

    @pytest.mark.parametrize(
        ("claims", "code"),
        [
            ({"max_amount_per_charge": "0.99"}, "payment-insufficient"),
            ({"total_amount_cap": "0.99"}, "payment-insufficient"),
            ({"max_uses": 0}, "payment-insufficient"),
            ({"currency": "myr"}, "verification-failed"),
            ({"exp": 1}, "payment-expired"),
            ({"exp": None}, "payment-expired"),
            ({"iss": "https://evil.test"}, "verification-failed"),
            ({"sub": None}, "verification-failed"),
            ({"max_amount_per_charge": None, "maxAmountPerCharge": "0.99"}, "payment-insufficient"),
        ],
        ids=str,
    )
    def test_caps_are_checked_before_the_call(self, claims: dict[str, object], code: str) -> None:
        """A charge beyond the grant never leaves."""
        shop = world()
        assert (402, code) == self.present(shop, shop.hitpay.grant(**claims))
        assert [] == shop.hitpay.called("silent")

    def test_exactly_the_cap(self) -> None:
        """A price equal to the cap is within it."""
        shop = world()
        grant = shop.hitpay.grant(max_amount_per_charge="1.00", total_amount_cap="1.00")
        assert shop.enter(request(grant)).grant is not None

    def test_audience(self) -> None:
        """Where the merchant's id is configured, a grant for somebody else is refused."""
        shop = world(grant_audience="merchant_1")
        assert (402, "verification-failed") == self.present(shop, shop.hitpay.grant(aud="merchant_2"))
        assert shop.enter(request(shop.hitpay.grant(aud=["merchant_1"]))).grant is not None

    def test_a_receipt_as_grant(self) -> None:
        """A receipt is no grant, and neither is a grant under a strange key."""
        shop = world()
        challenge = shop.challenge()
        receipt = shop.hitpay.signer.sign(shop.hitpay.receipt(charge_id(challenge)))
        assert (402, "verification-failed") == self.present(shop, receipt)
        shop.hand.clock.advance(100)
        own, shop.hitpay.signer = shop.hitpay.signer, Signer("test-1")
        forged = shop.hitpay.grant()
        shop.hitpay.signer = own
        assert (402, "verification-failed") == self.present(shop, forged)

    @pytest.mark.parametrize(
        ("given", "code"),
        [
            (reply(402, {"error": "charge_failed"}), "verification-failed"),
            (reply(200, {"status": "failed"}), "verification-failed"),
            (reply(403, {"error": "scope_exceeded"}), "payment-insufficient"),
            (reply(404, {}), "payment-expired"),
            (reply(410, {"error": "saved_method_inactive"}), "payment-expired"),
        ],
        ids=str,
    )
    def test_declined(self, given: HttpReply, code: str) -> None:
        """No money moved: a fresh challenge says what to do."""
        shop = world()
        shop.hitpay.given["silent"] = [given]
        assert (402, code) == self.present(shop, shop.hitpay.grant())
        assert {} == shop.hitpay.debits

    def test_inactive_is_final(self) -> None:
        """After a 410 the grant is refused here, without another call, and a new setup is offered."""
        shop = world()
        shop.hitpay.given["silent"] = [reply(410, {})]
        grant = shop.hitpay.grant()
        assert (402, "payment-expired") == self.present(shop, grant)
        response = shop.refusal(request(grant, x_user_email=EMAIL))
        assert (402, "payment-expired") == problem(response)
        details = challenge_of(response).request_json["methodDetails"]
        assert isinstance(details, dict)
        assert "saved-method" == details["mode"]
        assert 1 == len(shop.hitpay.called("silent"))

    def test_revoked_here(self) -> None:
        """The merchant can revoke a saved method without the broker."""
        shop = world()
        drive(store.revoke_grant(shop.provider.config, "mpp_spm_test01"), shop.hand)
        assert (402, "payment-expired") == self.present(shop, shop.hitpay.grant())

    @pytest.mark.parametrize(
        "given",
        [
            HttpError("time-out", sent=True),
            reply(500),
            reply(429, {}),
            reply(409, {"error": "nonce_reused"}),
            reply(401, {}),
            reply(200, {}),
            reply(200, {"status": "paid", "charge_id": "ch_1", "receipt_jws": "a.b.c"}),
            reply(200, {"status": "paid", "charge_id": "../ch", "receipt_jws": "a.b.c"}),
        ],
        ids=str,
    )
    def test_unknown_outcome(self, given: HttpReply | Exception) -> None:
        """503 without a challenge; the same credential repeats the same charge with the same nonce."""
        shop = world()
        challenge = shop.challenge()
        token = credential(challenge, {"saved_method_jws": shop.hitpay.grant()})

        def lost(call: object) -> HttpReply:
            shop.hitpay._silent(loads_object(call.body), "mpp_spm_test01")  # type: ignore[attr-defined]
            if isinstance(given, Exception):
                raise given
            return given

        shop.hitpay.given["silent"] = [lost]
        response = shop.refusal(request(token))
        assert (503, "outcome-unknown") == problem(response)
        assert field(response, "www-authenticate") is None
        shop.deliver(shop.enter(request(token)))
        assert 1 == len(shop.hitpay.debits)
        assert 1 == len({loads_object(call.body)["nonce"] for call in shop.hitpay.called("silent")})

    @pytest.mark.parametrize(
        "claims", [{"request_hash": "0" * 64}, {"saved_method_id": "mpp_spm_other"}, {"charge_id": "ch_other"}], ids=str
    )
    def test_a_receipt_for_something_else(self, claims: dict[str, object]) -> None:
        """The receipt is held against hash, wallet and charge."""
        shop = world()
        shop.hitpay.claims = claims
        assert (503, "outcome-unknown") == self.present(shop, shop.hitpay.grant())

    @pytest.mark.parametrize(
        ("claims", "said"),
        [
            ({"amount": "9.00"}, {}),
            ({"currency": "thb"}, {}),
            ({"amount": "9.00"}, {"amount": "8.00"}),
            ({"amount": "9.00"}, {"amount": "nine"}),
            ({"amount": "9.00"}, {"currency": None}),
        ],
        ids=str,
    )
    def test_a_receipt_that_contradicts_its_answer(self, claims: dict[str, object], said: JsonObject) -> None:
        """Receipt and answer name two sums: 503, neither is put on record, and the true one lets in."""
        shop = world()
        shop.hitpay.given["silent"] = [lambda call: with_members(shop, call, said)]
        shop.hitpay.claims = claims
        token = credential(shop.challenge(), {"saved_method_jws": shop.hitpay.grant()})
        assert (503, "outcome-unknown") == problem(shop.refusal(request(token)))
        assert [] == list(shop.hand.ledger.find_due(10))
        shop.hitpay.claims = {}
        shop.hitpay.debits.clear()
        assert shop.enter(request(token)).grant is not None

    def test_another_sum_was_charged(self) -> None:
        """Receipt and answer agree on another sum than was asked for: refused, and that sum is due."""
        shop = world()
        shop.hitpay.given["silent"] = [lambda call: with_members(shop, call, {"amount": 9})]
        shop.hitpay.claims = {"amount": "9.00"}
        assert (402, "verification-failed") == self.present(shop, shop.hitpay.grant())
        assert [900] == [due.amount for due in shop.hand.ledger.find_due(10)]

    @pytest.mark.parametrize("status", [403, 404, 410])
    def test_refused_after_a_lost_answer(self, status: int) -> None:
        """The charge may have gone through before the wallet was unbound: nobody is asked to pay again."""
        shop = world()
        grant = shop.hitpay.grant()
        shop.hitpay.given["silent"] = [HttpError("reset", sent=True), reply(status, {}), reply(status, {})]
        token = credential(shop.challenge(), {"saved_method_jws": grant})
        codes = [problem(shop.refusal(request(token))) for _ in range(2)]
        assert [(503, "outcome-unknown")] * 2 == codes

    def test_refused_twice(self) -> None:
        """Refused for sure, the same credential may come again and is refused again."""
        shop = world()
        shop.hitpay.given["silent"] = [reply(403, {}), reply(403, {}), reply(402, {}), reply(403, {})]
        token = credential(shop.challenge(), {"saved_method_jws": shop.hitpay.grant()})
        codes = []
        for _ in range(4):
            codes.append(problem(shop.refusal(request(token)))[1])
            shop.hand.clock.advance(1)
        assert ["payment-insufficient", "payment-insufficient", "verification-failed", "payment-insufficient"] == codes

    def test_own_charge(self) -> None:
        """What a credential shows: its challenge's charge, or not."""
        shop = world()
        challenge, setup = shop.challenge(), challenge_of(shop.refusal(request(**ASKS)))
        own = charge_id(challenge)
        for payload, expected in (
            ({"challenge_id": own}, own),
            ({"challenge_id": "mpp_ch_other"}, None),
            ({"challenge_id": 7}, None),
            ({}, None),
            ({"challenge_id": own, "saved_method_jws": "a.b.c"}, None),
        ):
            assert expected == shop.provider.own_charge(challenge.request_json, payload)
        assert None is shop.provider.own_charge(setup.request_json, {"challenge_id": charge_id(setup)})
        assert None is shop.provider.own_charge({}, {"challenge_id": own})

    def test_not_asked_for_at_all(self) -> None:
        """While HitPay is left alone no charge is asked for, so that a later refusal is certain."""
        shop = world(breaker_failures=1)
        shop.hitpay.given["silent"] = [reply(410, {})]
        token = credential(shop.challenge(), {"saved_method_jws": shop.hitpay.grant()})
        shop.enter(request(shop.hitpay.grant(sub="mpp_spm_other")))
        shop.hitpay.given["create"] = [reply(500)]
        shop.refusal(request())
        assert (503, "outcome-unknown") == problem(shop.refusal(request(token)))
        shop.hand.clock.advance(12)
        shop.hitpay.given["silent"] = [reply(403, {})]
        assert (402, "payment-insufficient") == problem(shop.refusal(request(token)))

    def test_keys_unreachable(self) -> None:
        """Nobody can check the grant: 503, no charge leaves, and nothing is left that somebody has to look into."""
        shop = world()
        shop.hitpay.given["jwks"] = [reply(500)]
        token = credential(shop.challenge(), {"saved_method_jws": shop.hitpay.grant()})
        assert (503, "provider-unavailable") == problem(shop.refusal(request(token)))
        assert [] == shop.hitpay.called("silent")
        assert ev.PAYMENT_UNKNOWN not in shop.events()
        shop.hand.clock.advance(12)
        shop.deliver(shop.enter(request(token)))
        assert 1 == len(shop.hitpay.debits)

    def test_keys_unreachable_after_a_lost_answer(self) -> None:
        """The charge may have been made before the keys were gone: unknown, and the same charge again in the end."""
        shop = world()
        token = credential(shop.challenge(), {"saved_method_jws": shop.hitpay.grant()})
        shop.hitpay.given["silent"] = [HttpError("reset", sent=True)]
        assert (503, "outcome-unknown") == problem(shop.refusal(request(token)))
        shop.hand.clock.advance(2 * 86400)
        shop.hitpay.given["jwks"] = [reply(500)]
        assert (503, "outcome-unknown") == problem(shop.refusal(request(token)))
        assert 1 == len(shop.hitpay.called("silent"))

    def test_another_hash(self) -> None:
        """The request's hash is compared before the grant is looked at."""
        hashes = iter(("a" * 64, "b" * 64, "c" * 64))
        shop = world(request_hash=lambda request, ignores: next(hashes))
        assert (402, "verification-failed") == self.present(shop, "a.b.c")


def test_a_config_is_enough() -> None:
    """Parts that were not asked for answer as such."""
    provider = HitPayProvider(HitPayConfig(api_key="test_x"))
    assert "hitpay" == provider.method
    assert 262144 == provider.max_webhook
    assert "<HitPayProvider sandbox>" == repr(provider)


class TestMadeUpKeys:
    """A stranger presents a grant of a key that nobody has, moments before the broker takes a new one."""

    def rotated(self) -> World:
        """The made-up key was just asked for, and now there is a new one."""
        shop = world()
        shop.deliver(shop.enter(request(shop.hitpay.grant())))
        forged = Signer("made-up").sign({"iss": BROKER, "currency": "sgd"}, "mpp-spm+jwt")
        assert 402 == shop.refusal(request(forged)).status
        assert 2 == len(shop.hitpay.called("jwks"))
        return shop

    def test_a_payer(self) -> None:
        """A payment under the new key is good at once, and after it grants under the new key are."""
        shop = self.rotated()
        shop.hitpay.signer = Signer("test-2")
        assert (503, "provider-unavailable") == problem(shop.refusal(request(shop.hitpay.grant())))
        challenge = shop.challenge()
        shop.hitpay.pay(charge_id(challenge))
        shop.deliver(shop.enter(request(credential(challenge))))
        shop.deliver(shop.enter(request(shop.hitpay.grant())))
        assert 3 == len(shop.hitpay.called("jwks"))

    def test_a_silent_charge(self) -> None:
        """A grant of the old key is charged, and the receipt of the new one is believed: no open outcome."""
        shop = self.rotated()
        grant = shop.hitpay.grant()
        shop.hitpay.signer = Signer("test-2")
        shop.deliver(shop.enter(request(grant)))
        assert 3 == len(shop.hitpay.called("jwks"))

    def test_a_wallet_that_was_just_bound(self) -> None:
        """The broker says which grant it is, so that the agent that bound the wallet is let in."""
        shop = self.rotated()
        challenge = challenge_of(shop.refusal(request(**ASKS)))
        shop.hitpay.signer = Signer("test-2")
        shop.hitpay.approve(ident := charge_id(challenge))
        shop.deliver(shop.enter(request(credential(challenge, {"saved_method_id": ident}), **ASKS)))
        assert 3 == len(shop.hitpay.called("jwks"))
