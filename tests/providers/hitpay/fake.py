"""A HitPay to answer by hand: what it holds is plain data, and any next answer can be put in its way."""

import json
import re
from collections import defaultdict
from collections.abc import Callable
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from flovia import runtime
from flovia.api import Flovia, PaidApi
from flovia.core.challenge import Challenge, format_expires, parse_challenges
from flovia.core.credential import Credential, format_credential
from flovia.core.effects import Deadline, Flow, HttpCall, HttpReply, Now, Sleep, Token
from flovia.core.encoding import JsonObject, b64url_encode, loads_object
from flovia.core.http import Headers, HttpRequest, HttpResponse
from flovia.core.limiter import Rate
from flovia.core.passage import Passage
from flovia.providers.hitpay import HitPayConfig, HitPayProvider, SavedMethods
from flovia.testing.flows import ByHand, drive

BROKER = "http://127.0.0.1:4010"
API = "http://127.0.0.1:4011"
KEY = "test_key_of_a_merchant"
SALT = "test_salt"
SECRET = "test-secret-of-at-least-32-bytes!!"
EMAIL = "buyer@example.test"
LIFE_S = 900

T = TypeVar("T")
Given = HttpReply | Exception | Callable[[HttpCall], HttpReply]


def reply(status: int, body: object = None, **headers: str) -> HttpReply:
    """An answer in JSON."""
    raw = b"" if body is None else json.dumps(body).encode()
    return HttpReply(
        status=status, headers=tuple((name.replace("_", "-"), value) for name, value in headers.items()), body=raw
    )


def b64(value: object) -> str:
    """Base64url of a JSON value."""
    return b64url_encode(json.dumps(value).encode())


class Signer:
    """An Ed25519 key with a name."""

    def __init__(self, kid: str = "test-1") -> None:
        self.kid = kid
        self.key = Ed25519PrivateKey.generate()

    @property
    def jwk(self) -> dict[str, str]:
        """The public half, as a JWKS has it."""
        raw = self.key.public_key().public_bytes_raw()
        return {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": self.kid, "x": b64url_encode(raw)}

    def sign(self, claims: dict[str, object], typ: str | None = "mpp-receipt+jwt", alg: str = "EdDSA") -> str:
        """A compact JWS."""
        header = {"alg": alg, "kid": self.kid, **({} if typ is None else {"typ": typ})}
        signed = f"{b64(header)}.{b64(claims)}"
        return f"{signed}.{b64url_encode(self.key.sign(signed.encode()))}"


class FakeHitPay:
    """Broker and core API. ``given[route]`` holds answers for the next calls of a route, before its own."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.signer = Signer()
        self.given: defaultdict[str, list[Given]] = defaultdict(list)
        self.charges: dict[str, dict[str, str]] = {}
        self.states: dict[str, str] = {}
        self.nonces: dict[str, str] = {}
        self.saved: dict[str, dict[str, object]] = {}
        self.debits: dict[str, dict[str, str]] = {}
        self.requests: dict[str, dict[str, object]] = {}
        self.refunds: dict[str, dict[str, object]] = {}
        self.calls: list[tuple[str, HttpCall]] = []
        self.claims: dict[str, object] = {}
        """Claims of receipts that shall be otherwise."""

    ROUTES = (
        ("jwks", "GET", r"/\.well-known/jwks\.json"),
        ("create", "POST", r"/v1/charges"),
        ("verify", "POST", r"/v1/charges/([^/]+)/verify"),
        ("poll", "GET", r"/v1/charges/([^/]+)"),
        ("options", "GET", r"/v1/saved-payment-methods/options\?currency=(.+)"),
        ("setup", "POST", r"/v1/saved-payment-methods"),
        ("silent", "POST", r"/v1/saved-payment-methods/([^/]+)/charges"),
        ("saved", "GET", r"/v1/saved-payment-methods/([^/]+)"),
        ("request", "GET", r"/v1/payment-requests/([^/]+)"),
        ("refund", "POST", r"/v1/refund"),
        ("refunded", "GET", r"/v1/refund/([^/]+)"),
    )

    def __call__(self, call: HttpCall) -> HttpReply:
        """Answer one call."""
        path = call.url.removeprefix(BROKER).removeprefix(API)
        for route, verb, pattern in self.ROUTES:
            found = re.fullmatch(pattern, path)
            if found and verb == call.http_method:
                self.calls.append((route, call))
                own: Callable[..., HttpReply] = getattr(self, f"_{route}")
                if self.given[route]:
                    given = self.given[route].pop(0)
                    if isinstance(given, Exception):
                        raise given
                    return given if isinstance(given, HttpReply) else given(call)
                body: JsonObject = loads_object(call.body) if call.body else {}
                return own(body, *found.groups())
        raise AssertionError(f"no such endpoint: {call!r}")

    def called(self, route: str) -> list[HttpCall]:
        """The calls of one route."""
        return [call for found, call in self.calls if found == route]

    # --- one-time charges ------------------------------------------------------------------------------------

    def _jwks(self, body: JsonObject) -> HttpReply:
        return reply(200, {"keys": [self.signer.jwk]})

    def _create(self, body: JsonObject) -> HttpReply:
        nonce = str(body["nonce"])
        if nonce not in self.nonces:
            ident = self.nonces[nonce] = f"mpp_ch_{len(self.charges):08d}"
            uuid = f"9ef68e2e-3569-4f69-9f68-{len(self.charges):012d}"
            self.charges[ident] = {name: str(value) for name, value in body.items()} | {"uuid": uuid}
            self.states[ident] = "pending"
            self.requests[uuid] = {
                "id": uuid,
                "status": "pending",
                "amount": body["amount"],
                "currency": body["currency"],
                "reference_number": ident,
                "payments": [],
            }
        ident = self.nonces[nonce]
        uuid = self.charges[ident]["uuid"]
        return reply(
            201,
            {
                "challenge_id": ident,
                "checkout_url": f"{API}/payment-request/@hitpay/{uuid}/checkout",
                "polling_url": f"{BROKER}/v1/charges/{ident}",
                "expires_at": format_expires(int(self.clock()) + LIFE_S),
                "status": "pending",
                "unknown_member": [1, 2],
            },
        )

    def _verify(self, body: JsonObject, ident: str) -> HttpReply:
        charge, state = self.charges.get(ident), self.states.get(ident)
        if charge is None:
            return reply(404, {"error": "not_found"})
        if body.get("request_hash") != charge["request_hash"]:
            return reply(422, {"error": "request_hash_mismatch"})
        if state == "pending":
            return reply(402, {"error": "not_paid"})
        if state == "expired":
            return reply(410, {"error": "expired"})
        return reply(200, {"receipt_jws": self.signer.sign(self.receipt(ident))})

    def receipt(self, ident: str) -> dict[str, object]:
        """The claims of a charge's receipt."""
        charge = self.charges[ident]
        return {
            "iss": BROKER,
            "iat": int(self.clock()),
            "challenge_id": ident,
            "charge_id": ident,
            "payment_id": f"pay_{ident}",
            "payment_request_id": charge["uuid"],
            "amount": charge["amount"],
            "currency": charge["currency"],
            "request_hash": charge["request_hash"],
            "status": "paid",
            "reference": ident,
            **self.claims,
        }

    def _poll(self, body: JsonObject, ident: str) -> HttpReply:
        if ident not in self.states:
            return reply(404, {"error": "not_found"})
        return reply(200, {"challenge_id": ident, "status": self.states[ident]})

    def pay(self, ident: str) -> None:
        """The payer pays; broker and core know."""
        self.states[ident] = "paid"
        self.pay_at_core(ident)

    def pay_at_core(self, ident: str, status: str = "completed", payment: str = "succeeded", **more: object) -> None:
        """Only the core API knows of the payment."""
        charge = self.charges[ident]
        found = self.requests[charge["uuid"]]
        found["status"] = status
        listed = found["payments"]
        assert isinstance(listed, list)
        number = "" if not listed else f"_{len(listed)}"
        listed.append(
            {
                "id": f"pay_{ident}{number}",
                "status": payment,
                "amount": charge["amount"],
                "currency": charge["currency"],
                **more,
            }
        )

    # --- saved methods -----------------------------------------------------------------------------------------

    def _options(self, body: JsonObject, currency: str) -> HttpReply:
        names = ["grabpay_direct", "shopee_pay", "new_wallet"]
        return reply(200, {"currency": currency, "options": [{"payment_method": name, "label": "x"} for name in names]})

    def _setup(self, body: JsonObject) -> HttpReply:
        ident = f"mpp_spm_{len(self.saved):06d}"
        self.saved[ident] = {"status": "pending", **body}
        return reply(
            200,
            {
                "saved_method_id": ident,
                "setup_checkout_url": f"{API}/setup/{ident}",
                "polling_url": f"{BROKER}/v1/saved-payment-methods/{ident}",
                "expires_at": format_expires(int(self.clock()) + LIFE_S),
            },
        )

    def _saved(self, body: JsonObject, ident: str) -> HttpReply:
        if ident not in self.saved:
            return reply(404, {"error": "not_found"})
        found = self.saved[ident]
        grant = {"saved_method_jws": found["jws"]} if found["status"] == "active" else {}
        return reply(200, {"saved_method_id": ident, "status": found["status"], **grant})

    def grant(self, ident: str = "mpp_spm_test01", **claims: object) -> str:
        """A grant for a wallet; each claim can be otherwise, None leaves it out."""
        found: dict[str, object] = {
            "iss": BROKER,
            "sub": ident,
            "iat": int(self.clock()),
            "exp": int(self.clock()) + 86400,
            "currency": "sgd",
            "max_amount_per_charge": "10.00",
            "total_amount_cap": "50.00",
            "max_uses": 20,
            "payment_method": "grabpay_direct",
            **claims,
        }
        known = {name: value for name, value in found.items() if value is not None}
        return self.signer.sign(known, "mpp-spm+jwt")

    def approve(self, ident: str) -> str:
        """The customer binds the wallet."""
        jws = self.grant(ident)
        self.saved[ident] |= {"status": "active", "jws": jws}
        return jws

    def silent(self, body: JsonObject, ident: str) -> HttpReply:
        """The answer to a silent charge of a wallet."""
        nonce = str(body["nonce"])
        if nonce not in self.debits:
            charge_id = f"ch_{len(self.debits):06d}"
            claims = {
                "iss": BROKER,
                "iat": int(self.clock()),
                "charge_id": charge_id,
                "payment_id": f"pay_{charge_id}",
                "amount": body["amount"],
                "currency": body["currency"],
                "request_hash": body["request_hash"],
                "saved_method_id": ident,
                "nonce": nonce,
                "status": "paid",
                **self.claims,
            }
            self.debits[nonce] = {"charge_id": charge_id, "jws": self.signer.sign(claims)}
        done = self.debits[nonce]
        return reply(
            200,
            {
                "charge_id": done["charge_id"],
                "saved_method_id": ident,
                "amount": body["amount"],
                "currency": body["currency"],
                "status": "paid",
                "receipt_jws": done["jws"],
                "payment_id": f"pay_{done['charge_id']}",
            },
        )

    _silent = silent

    # --- core ---------------------------------------------------------------------------------------------------

    def _request(self, body: JsonObject, ident: str) -> HttpReply:
        found = self.requests.get(ident)
        return reply(404, {"message": "No query results for model"}) if found is None else reply(200, found)

    def _refund(self, body: JsonObject) -> HttpReply:
        payment_id, amount = str(body["payment_id"]), str(body["amount"])
        for request in self.requests.values():
            for money in request["payments"]:  # type: ignore[attr-defined]  # a list, by construction
                if money["id"] == payment_id and money["status"] == "succeeded":
                    money["status"] = "refunded" if money["amount"] == amount else "partially_refunded"
                    refund = {
                        "id": f"ref_{payment_id}",
                        "payment_id": payment_id,
                        "amount_refunded": float(amount),
                        "total_amount": money["amount"],
                        "currency": money["currency"],
                        "status": "succeeded",
                    }
                    self.refunds[f"ref_{payment_id}"] = refund
                    return reply(200, refund)
        return reply(422, {"message": "refused", "errors": {"amount": ["already refunded"]}})

    def refund_at_core(self, payment_id: str, amount: str) -> HttpReply:
        """Somebody gives money back in the dashboard."""
        return self._refund({"payment_id": payment_id, "amount": amount})

    def _refunded(self, body: JsonObject, ident: str) -> HttpReply:
        found = self.refunds.get(ident)
        return reply(404, {}) if found is None else reply(200, found)


def config(**settings: object) -> HitPayConfig:
    """A configuration for the fake."""
    base: dict[str, object] = {
        "api_key": KEY,
        "webhook_salts": (SALT,),
        "broker": BROKER,
        "api": API,
        "charge_id_json": True,
        "creations_per_client": Rate(count=1000, seconds=60.0),
        "creations": Rate(count=1000, seconds=60.0),
    }
    return HitPayConfig(**{**base, **settings})  # type: ignore[arg-type]  # settings of a test


SAVED = SavedMethods(
    customer_email=lambda request: request.headers.get("x-user-email"),
    max_amount_per_charge="10.00",
    total_amount_cap="50.00",
    max_uses=20,
    valid_for_s=86400,
)


def request(
    token: str | None = None, *, path: str = "/forecast", query: str = "zip=94103", verb: str = "GET", **headers: str
) -> HttpRequest:
    """A request of an agent on this machine."""
    pairs = [("host", "127.0.0.1:8000"), *((name.replace("_", "-"), value) for name, value in headers.items())]
    if token is not None:
        pairs.append(("authorization", token if token.startswith("Payment ") else f"Payment {token}"))
    return HttpRequest(verb, path, query, Headers.of(pairs), path, "127.0.0.1", "127.0.0.1")


class World:
    """The fake, a gate in front of it, and an agent's steps."""

    def __init__(
        self,
        *,
        price: str = "1.00 SGD",
        saved: SavedMethods | None = None,
        save_only: bool = False,
        wallet: str | None = None,
        description: str | None = "Forecast",
        client_of: Callable[[HttpRequest], str] | None = None,
        **settings: object,
    ) -> None:
        self.hand = ByHand(lambda call: self.hitpay(call))
        self.hitpay = FakeHitPay(self.hand.clock)
        self.provider = HitPayProvider(config(**settings), saved=saved, save_only=save_only, wallet=wallet)
        self.flo = Flovia(
            ledger=self.hand.ledger,
            secret=SECRET,
            realm="api.example.test",
            clock=self.hand.clock,
            tokens=self.hand.token,
            client_of=client_of,
        )
        self.paid: PaidApi = self.flo.paid_api(
            provider=self.provider, price=price, **({} if description is None else {"description": description})
        )

    def enter(self, request: HttpRequest) -> Passage:
        """What the gate decides."""
        return drive(self.paid.guard.enter(request), self.hand)

    def refusal(self, request: HttpRequest) -> HttpResponse:
        """The response of a request that is not let in."""
        response = self.enter(request).response
        assert response is not None, "it was let in"
        return response

    def challenge(self, request_: HttpRequest | None = None) -> Challenge:
        """A fresh challenge."""
        return challenge_of(self.refusal(request_ or request()))

    def deliver(self, passage: Passage, status: int = 200) -> dict[str, str]:
        """Answer an admitted request; the header fields that the gate adds."""
        assert passage.grant is not None, f"not let in: {passage.response!r}"
        added = dict(passage.start(status, Headers.of(())).add)
        drive(self.paid.guard.leave(passage, True), self.hand)
        return added

    def office(self, flow: Flow[T]) -> T:
        """Run a flow of the back office to its end: refunds, reconciling."""
        verbs = runtime.World(ledger=self.hand.ledger, clock=self.hand.clock)
        by_hand = HttpCall | Now | Token | Sleep | Deadline
        return drive(flow, lambda one: self.hand(one) if isinstance(one, by_hand) else verbs.ledger_call(one))

    def events(self) -> list[str]:
        """The types of all events."""
        return [event.type for _, event in self.hand.ledger.read_events(limit=10_000)]


def challenge_of(response: HttpResponse) -> Challenge:
    """The one challenge of a 402."""
    assert response.status == 402, response
    (found,) = parse_challenges([value for name, value in response.headers if name == "www-authenticate"])
    return found


def charge_id(challenge: Challenge) -> str:
    """The charge that a challenge asks to pay."""
    details = challenge.request_json["methodDetails"]
    assert isinstance(details, dict)
    return str(details.get("challenge_id") or details.get("saved_method_id"))


def credential(challenge: Challenge, payload: JsonObject | None = None) -> str:
    """A credential in the protocol's form."""
    return format_credential(Credential(challenge, payload or {"challenge_id": charge_id(challenge)}))


def problem(response: HttpResponse) -> tuple[int, str]:
    """Status and problem code."""
    return response.status, str(loads_object(response.body)["type"]).rpartition("/")[2].rpartition(":")[2]


def field(response: HttpResponse, name: str) -> str | None:
    """One header field of a response."""
    return dict(response.headers).get(name)
