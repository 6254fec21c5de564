"""Where HitPay is: two hosts in two environments, or this machine. A key goes nowhere else.

The hosts are HitPay's own (HitPay docs: MPP landing page; API reference). Anything else, a typing mistake included,
is refused at start, because the API key travels in the body of every call.
"""

from typing import Final, Literal
from urllib.parse import urlsplit

import attrs

from flovia.core.errors import WiringError

Environment = Literal["production", "sandbox", "local"]

SANDBOX_BROKER: Final = "https://sandbox.mpp.hitpay.dev"
LOCAL_API_PORT: Final = 4011

BROKERS: Final[dict[str, Environment]] = {
    "https://mpp.hitpay.dev": "production",
    SANDBOX_BROKER: "sandbox",
}
APIS: Final[dict[str, Environment]] = {
    "https://api.hit-pay.com": "production",
    "https://api.sandbox.hit-pay.com": "sandbox",
}
_PLACES: Final[dict[Environment, str]] = {
    "production": "HitPay's production",
    "sandbox": "HitPay's sandbox",
    "local": "this machine",
}
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


@attrs.frozen(kw_only=True)
class Endpoint:
    """An origin (scheme, host, port) and the environment it belongs to."""

    origin: str
    environment: Environment


def broker_endpoint(text: str) -> Endpoint:
    """The MPP broker.

    Raises:
        WiringError: not HitPay's, and not this machine.
    """
    return _endpoint(text, BROKERS, "HITPAY_MPP_ENDPOINT")


def api_endpoint(text: str | None, broker: Endpoint) -> Endpoint:
    """The core API; without one, the one that belongs to the broker.

    Raises:
        WiringError: not HitPay's and not this machine, or of another environment than the broker.
    """
    if text is None:
        if broker.environment == "local":
            parts = urlsplit(broker.origin)
            host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
            return Endpoint(origin=f"{parts.scheme}://{host}:{LOCAL_API_PORT}", environment="local")
        return next(
            Endpoint(origin=origin, environment=found) for origin, found in APIS.items() if found == broker.environment
        )
    api = _endpoint(text, APIS, "HITPAY_API_ENDPOINT")
    if api.environment != broker.environment:
        raise WiringError(
            f"HITPAY_API_ENDPOINT is {_PLACES[api.environment]}, and the broker ({broker.origin}, from"
            f" HITPAY_MPP_ENDPOINT or its default) is {_PLACES[broker.environment]}: keys and money of the two never"
            " mix. Unset HITPAY_API_ENDPOINT, and the API that belongs to the broker is asked; or set"
            " HITPAY_MPP_ENDPOINT to the broker that belongs to the API"
        )
    return api


def _endpoint(text: str, known: dict[str, Environment], variable: str) -> Endpoint:
    remedy = f"set {variable} to {' or '.join(known)}, or to this machine: http://127.0.0.1:PORT"
    try:
        parts = urlsplit(text)
        port, host = parts.port, (parts.hostname or "").lower()
    except ValueError:
        raise WiringError(f"{variable} is no URL; {remedy}") from None
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username is not None or not text.isascii():
        raise WiringError(f"{variable} has to be an origin, without path, query or user; {remedy}")
    shown = f"[{host}]" if ":" in host else host
    origin = f"{parts.scheme}://{shown}" + ("" if port is None else f":{port}")
    if host in _LOOPBACK and parts.scheme in ("http", "https"):
        return Endpoint(origin=origin, environment="local")
    found = known.get(origin.removesuffix(":443"))
    if found is None:
        raise WiringError(f"{variable} is not an address that may see a HitPay key; {remedy}")
    return Endpoint(origin=origin.removesuffix(":443"), environment=found)
