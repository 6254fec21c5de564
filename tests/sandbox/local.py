"""A sandbox without sockets: the pure core, called by hand, with its webhooks collected."""

import base64
import json
import warnings
from collections.abc import Mapping

from joserfc.errors import SecurityWarning
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry, deserialize_compact

from flovia.sandbox import Advance, Answered, Call, Post, Reply, State, handle, initial
from flovia.sandbox.wire import Json, Side

KEY = "test_key_of_a_merchant"
OTHER_KEY = "test_key_of_another"
SALT = "test_salt"
HASH = "c25ce513becc173f05ace9f4e892f93978224d41b5b295f11a1e57f8cab0f019"


class Local:
    """Steps :func:`flovia.sandbox.handle` and keeps the state between."""

    def __init__(self, **options: object) -> None:
        self.state: State = initial(**options)  # type: ignore[arg-type]  # whatever a test needs
        self.posts: list[Post] = []

    def step(self, request: Call | Advance | Answered) -> list[Reply]:
        """One step; returns the replies."""
        self.state, responses = handle(self.state, request)
        self.posts += [found for found in responses if isinstance(found, Post)]
        return [found for found in responses if isinstance(found, Reply)]

    def http(
        self,
        side: Side,
        line: str,
        body: Mapping[str, object] | bytes | None = None,
        **headers: str,
    ) -> Reply:
        """``POST /v1/charges`` with a JSON body; underscores in header names are hyphens."""
        http_method, _, target = line.partition(" ")
        path, _, query = target.partition("?")
        fields = {"host": "127.0.0.1:4010", "content-type": "application/json"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        (reply,) = self.step(
            Call(side=side, http_method=http_method, path=path, query=query, headers=tuple(fields.items()), body=raw)
        )
        return reply

    def broker(self, line: str, body: Mapping[str, object] | bytes | None = None, **headers: str) -> Reply:
        """A call to the broker."""
        return self.http("broker", line, body, **headers)

    def api(
        self, line: str, body: Mapping[str, object] | bytes | None = None, *, key: str = KEY, **headers: str
    ) -> Reply:
        """A call to HitPay's API by a merchant."""
        return self.http("api", line, body, x_business_api_key=key, **headers)

    def control(self, line: str, body: Mapping[str, object] | None = None) -> Json:
        """A call to the control API, which must work."""
        http_method, _, path = line.partition(" ")
        reply = self.broker(f"{http_method} /__emulator/{path}", body)
        assert 200 == reply.status, reply.body
        return reply.json()

    def fault(self, knob: str, value: str | int | bool | None = None, **options: object) -> None:
        """Turn a knob."""
        self.control("PUT faults", {"knob": knob, **({} if value is None else {"value": value}), **options})

    def advance(self, seconds: float) -> None:
        """Let time go by."""
        self.step(Advance(ms=round(seconds * 1000)))

    # --- one-time charges ------------------------------------------------------------------------------

    def creation(self, **members: object) -> dict[str, object]:
        """The body of B1."""
        return {
            "amount": "1.00",
            "currency": "sgd",
            "description": "Forecast",
            "nonce": "0123456789abcdef0123456789abcdef",
            "request_hash": HASH,
            "api_key": KEY,
            "webhook_salt": SALT,
        } | members

    def charge(self, **members: object) -> str:
        """A new charge's id."""
        reply = self.broker("POST /v1/charges", self.creation(**members))
        assert 201 == reply.status, reply.body
        return str(reply.json()["challenge_id"])

    def verify(self, charge_id: str, **members: object) -> Reply:
        """B3."""
        return self.broker(f"POST /v1/charges/{charge_id}/verify", {"api_key": KEY, "request_hash": HASH} | members)

    def status(self, charge_id: str) -> str:
        """What B2 says."""
        return str(self.broker(f"GET /v1/charges/{charge_id}").json()["status"])

    def pay(self, charge_id: str, **body: object) -> None:
        """The payer pays."""
        self.control(f"POST charges/{charge_id}/pay", body)

    def request_of(self, charge_id: str) -> Json:
        """The payment request under a charge, as the API shows it."""
        return self.api(f"GET /v1/payment-requests/{self.state.charges[charge_id].request}").json()

    # --- saved methods -----------------------------------------------------------------------------------

    def setup(self, **members: object) -> Reply:
        """B5."""
        return self.broker(
            "POST /v1/saved-payment-methods",
            {
                "api_key": KEY,
                "webhook_salt": SALT,
                "payment_method": "grabpay_direct",
                "customer_email": "payer@example.test",
                "currency": "sgd",
                "max_amount_per_charge": "10.00",
                "total_amount_cap": "25.00",
                "max_uses": 4,
                "nonce": "setup-nonce-0001",
                "request_hash": HASH,
            }
            | members,
        )

    def saved(self, **members: object) -> str:
        """A saved method that its payer approved."""
        saved_id = str(self.setup(**members).json()["saved_method_id"])
        self.control(f"POST saved-methods/{saved_id}/approve")
        assert "active" == self.state.saved[saved_id].state
        return saved_id

    def silent(self, saved_id: str, **members: object) -> Reply:
        """B7."""
        return self.broker(
            f"POST /v1/saved-payment-methods/{saved_id}/charges",
            {"api_key": KEY, "amount": "1.00", "currency": "sgd", "nonce": "silent-nonce-01", "request_hash": HASH}
            | members,
        )

    # --- receipts ----------------------------------------------------------------------------------------

    def jwks(self) -> Json:
        """B9."""
        return self.broker("GET /.well-known/jwks.json").json()

    def verified(self, token: object) -> tuple[Json, Json]:
        """Header and claims of a JWS that joserfc, which the sandbox does not use, finds good."""
        return verified(token, self.jwks())


def verified(token: object, jwks: Json) -> tuple[Json, Json]:
    """Header and claims of a JWS whose signature holds under a key set.

    Raises:
        joserfc.errors.JoseError: it does not.
    """
    registry = JWSRegistry(algorithms=["EdDSA"], strict_check_header=False)
    with warnings.catch_warnings():  # "EdDSA is deprecated": HitPay's documents name it, RFC 9864 would say Ed25519
        warnings.simplefilter("ignore", SecurityWarning)
        found = deserialize_compact(str(token), KeySet.import_key_set(jwks), registry=registry)  # type: ignore[arg-type]  # JSON
    return dict(found.headers()), json.loads(found.payload)


def unverified(token: object, part: int) -> Json:
    """A part of a JWS, whatever its signature."""
    text = str(token).split(".")[part]
    found: Json = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return found
