"""A running sandbox as Python sees it: where it is, what to set, and every control as a method."""

import hashlib
import json
from collections.abc import Mapping
from typing import cast
from urllib.parse import urlencode

from flovia.core.errors import CallerError
from flovia.sandbox.asgi import App, app
from flovia.sandbox.control import PREFIX
from flovia.sandbox.engine import Engine
from flovia.sandbox.events import EVENTS
from flovia.sandbox.wire import Call, Json, Side


class Sandbox(Engine):
    """A sandbox that runs in this process. :func:`flovia.sandbox.serving` also puts it on the network.

    The controls go through the control API itself, so they do what it does, and raise
    :class:`~flovia.core.errors.CallerError` where it refuses.
    """

    # --- where it is, what to set ------------------------------------------------------------------------

    @property
    def broker_url(self) -> str:
        """The broker's origin; also the issuer of receipts and grants."""
        return self.state.broker

    @property
    def api_url(self) -> str:
        """The origin of HitPay's API and of the payer's pages."""
        return self.state.api

    @property
    def api_key(self) -> str:
        """A merchant's key. Any other that starts with ``test_`` is another merchant."""
        return f"test_sandbox_{hashlib.sha256(self.state.seed + b'|api key').hexdigest()[:32]}"

    @property
    def webhook_salt(self) -> str:
        """The salt of that merchant's event endpoints."""
        return self._salt("webhook_salt")

    @property
    def api_salt(self) -> str:
        """The salt of that merchant's key, which signs form callbacks."""
        return self._salt("api_salt")

    @property
    def environment(self) -> dict[str, str]:
        """What flovia's provider reads to use this sandbox."""
        return {
            "HITPAY_API_KEY": self.api_key,
            "HITPAY_WEBHOOK_SALT": self.webhook_salt,
            "HITPAY_API_SALT": self.api_salt,
            "HITPAY_MPP_ENDPOINT": self.broker_url,
            "HITPAY_API_ENDPOINT": self.api_url,
        }

    def asgi(self, side: Side) -> App:
        """One of the two origins as an ASGI app, for a test without sockets."""
        return app(self, lambda scope: side)

    def _salt(self, name: str) -> str:
        return str(self.control("PUT", "salts", {"api_key": self.api_key})[name])

    # --- payers ------------------------------------------------------------------------------------------

    def pay(self, charge_id: str, *, amount: str | None = None, times: int = 1, again: bool = False) -> Json:
        """Pay a charge; ``amount``: another sum; ``times`` or ``again``: more than once."""
        body: Json = {"times": times, "again": again}
        if amount is not None:
            body["amount"] = amount
        return self.control("POST", f"charges/{charge_id}/pay", body)

    def decline(self, charge_id: str, *, terminal: bool = False) -> Json:
        """Let a payment fail; the payer may try again unless it is ``terminal``."""
        return self.control("POST", f"charges/{charge_id}/decline", {"terminal": terminal})

    def expire(self, charge_id: str) -> Json:
        """End a charge's time now, without moving the clock."""
        return self.control("POST", f"charges/{charge_id}/expire")

    def late_pay(self, charge_id: str) -> Json:
        """Pay a charge after its time (which ends now if it has not yet)."""
        return self.control("POST", f"charges/{charge_id}/late_pay")

    def saved_method(self, saved_id: str, verb: str) -> Json:
        """``approve``, ``reject``, ``detach``, ``revoke`` or ``expire`` a saved method."""
        return self.control("POST", f"saved-methods/{saved_id}/{verb}")

    # --- faults, time, keys ------------------------------------------------------------------------------

    def fault(self, knob: str, value: str | int | bool | None = None, **options: object) -> Json:
        """Turn a knob: ``fault("http", 503, route="B3", next=1)``. See :data:`flovia.sandbox.KNOBS`."""
        return self.control("PUT", "faults", {"knob": knob, **({} if value is None else {"value": value}), **options})

    def clear(self, knob: str | None = None, *, about: str | None = None) -> Json:
        """Clear all faults, or those of one knob, or ``about`` one thing: what :meth:`fault` was given as ``id``."""
        query = urlencode({name: value for name, value in (("knob", knob), ("id", about)) if value is not None})
        return self.control("DELETE", f"faults?{query}" if query else "faults")

    def advance(self, seconds: float) -> Json:
        """Move the clock forward."""
        return self.control("POST", "clock/advance", {"seconds": seconds})

    def keys(self, verb: str | None = None, kid: str | None = None) -> list[Json]:
        """Every signing key by id and state; ``verb``: ``rotate``, ``retire`` or ``compromise`` one first."""
        body: Json = {} if kid is None else {"kid": kid}
        found = self.control("GET", "keys") if verb is None else self.control("POST", f"keys/{verb}", body)
        return cast("list[Json]", found["keys"])

    # --- what happened -----------------------------------------------------------------------------------

    def journal(self, route: str | None = None) -> list[Json]:
        """Every call and webhook attempt, secrets masked; of one route if one is named."""
        query = "" if route is None else f"?{urlencode({'route': route})}"
        return cast("list[Json]", self.control("GET", f"journal{query}")["journal"])

    def webhooks(self) -> list[Json]:
        """Every webhook, and what became of it."""
        return cast("list[Json]", self.control("GET", "webhooks")["webhooks"])

    def redeliver(self, delivery_id: str) -> Json:
        """Send a webhook again."""
        return self.control("POST", f"webhooks/{delivery_id}/redeliver")

    def charges(self) -> list[Json]:
        """Every one-time charge, the newest last."""
        return cast("list[Json]", self.control("GET", "charges")["charges"])

    def saved_methods(self) -> list[Json]:
        """Every saved method, the newest last."""
        return cast("list[Json]", self.control("GET", "saved-methods")["saved_methods"])

    def money(self) -> Json:
        """``{"sgd": {"in": "1.00", "refunded": "0.00", "payments": 1}}``."""
        return cast("Json", self.control("GET", "money")["money"])

    def reset(self) -> Json:
        """Forget everything but origins, seed and time."""
        return self.control("POST", "reset")

    # --- calls ---------------------------------------------------------------------------------------------

    def register_webhook(
        self, url: str, *, events: tuple[str, ...] = EVENTS, salt: str | None = None, api_key: str | None = None
    ) -> Json:
        """Have events sent to a loopback URL; signed with ``salt``, or with :attr:`webhook_salt`."""
        body: Json = {"name": "test", "url": url, "event_types": list(events), "salt": salt or self.webhook_salt}
        return self.call_api("POST", "/v1/webhook-events", body, api_key=api_key)

    def call_api(self, http_method: str, path: str, body: Json | None = None, *, api_key: str | None = None) -> Json:
        """A call to HitPay's API as the merchant makes it, without the network."""
        headers = (("x-business-api-key", api_key or self.api_key),)
        return self._json("api", http_method, path, body, headers)

    def control(self, http_method: str, path: str, body: Json | None = None) -> Json:
        """A call to the control API, without the network.

        Raises:
            CallerError: it was refused; the message says why.
        """
        return self._json("broker", http_method, f"{PREFIX}/{path}", body, ())

    def _json(
        self,
        side: Side,
        http_method: str,
        path: str,
        body: Mapping[str, object] | None,
        headers: tuple[tuple[str, str], ...],
    ) -> Json:
        path, _, query = path.partition("?")
        reply = self.call(
            Call(
                side=side,
                http_method=http_method,
                path=path,
                query=query,
                headers=(("host", "127.0.0.1"), ("content-type", "application/json"), *headers),
                body=b"" if body is None else json.dumps(body).encode(),
            )
        )
        if not 200 <= reply.status < 300:
            raise CallerError(f"the sandbox refused {http_method} {path}: {reply.status} {reply.body.decode()}")
        return reply.json()
