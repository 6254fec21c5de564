"""HitPay, as far as it can be looked at without a payment: its settings, whether it answers, and its clock."""

from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Final

from flovia.core.effects import HttpCall
from flovia.core.errors import FloviaError, HttpError
from flovia.doctor.finding import Finding
from flovia.providers.hitpay.config import HitPayConfig, from_environ

CHECK: Final = "provider"
SKEW_S: Final = 5.0
"""Seconds between two clocks that are nobody's fault: the field has whole seconds, and the answer takes its time."""
WRONG_S: Final = 60.0


def provider_findings(env: Mapping[str, str], clock: Callable[[], float], *, offline: bool) -> Iterator[Finding]:
    """HitPay's part of the setup."""
    try:
        config = from_environ(env)
    except FloviaError as error:
        yield Finding(check=CHECK, level="error", text=str(error), remedy="Routes of provider hitpay do not start so.")
        return
    if config.api_key is None:
        yield Finding(
            check=CHECK,
            # Whoever has set something of HitPay's means to take payments with it.
            level="warning" if any(name.startswith("HITPAY_") and env[name].strip() for name in env) else "note",
            text="no HITPAY_API_KEY: routes with provider hitpay answer 503 hitpay_mpp_not_configured",
            remedy="Set HITPAY_API_KEY, from the dashboard of the environment you mean; of no matter without hitpay.",
        )
        return
    environment = config.broker_endpoint.environment
    yield Finding(check=CHECK, level="ok", text=f"HitPay's {environment} environment: {config.broker_endpoint.origin}")
    if not config.webhook_salts:
        yield Finding(
            check=CHECK,
            level="warning",
            text="no HITPAY_WEBHOOK_SALT: webhooks cannot be checked, so late payments and refunds are heard of late",
            remedy="Set HITPAY_WEBHOOK_SALT, and run flovia ledger reconcile every few minutes in any case.",
        )
    if not offline:
        yield from _reach(config, clock)


def _reach(config: HitPayConfig, clock: Callable[[], float]) -> Iterator[Finding]:
    from flovia.backend_http import send

    # Public, and the same for everybody: no key leaves this machine for it.
    origin = config.broker_endpoint.origin
    call = HttpCall(http_method="GET", url=f"{origin}/.well-known/jwks.json", deadline_s=5.0)
    before = clock()
    try:
        reply = send(call)
    except HttpError:
        yield Finding(
            check=CHECK,
            level="warning",
            text=f"HitPay does not answer at {origin}",
            remedy="Look at the network and at HITPAY_MPP_ENDPOINT; meanwhile unpaid requests get 503.",
        )
        return
    took = clock() - before
    if reply.status != 200:
        yield Finding(
            check=CHECK,
            level="warning",
            text=f"HitPay answers {reply.status} to the question for its public keys",
            remedy="Is HITPAY_MPP_ENDPOINT the broker's origin, without a path?",
        )
    else:
        yield Finding(check=CHECK, level="ok", text=f"HitPay answers, in {took * 1000:.0f} ms")
    yield from _date(reply.header("date"), before, took)


def _date(text: str | None, before: float, took: float) -> Iterator[Finding]:
    try:
        date = parsedate_to_datetime(text or "").timestamp()
    except (TypeError, ValueError, OverflowError):
        yield Finding(check="clock", level="note", text="HitPay's answer says no time to compare this clock with")
        return
    # Whole seconds, so it means any moment in that second.
    skew = max(before - (date + 1.0), date - (before + took), 0.0) * (1 if before > date else -1)
    if abs(skew) <= SKEW_S:
        yield Finding(check="clock", level="ok", text="this machine's clock agrees with HitPay's")
        return
    yield Finding(
        check="clock",
        level="error" if abs(skew) > WRONG_S else "warning",
        text=f"this machine's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} HitPay's",
        remedy="Set the clock by NTP: challenges would expire too early or too late, and receipts would be refused.",
    )
