"""What this provider keeps in the ledger beside the gate's own records. No key and no grant is ever in it."""

from hashlib import sha256
from typing import Final

import attrs

from flovia.core.effects import Flow, recall, remember, token
from flovia.core.encoding import JsonObject, JsonValue, canonical, loads_object
from flovia.core.errors import ParseError
from flovia.providers.hitpay.broker import Created
from flovia.providers.hitpay.calls import NAMESPACE
from flovia.providers.hitpay.config import HitPayConfig
from flovia.providers.hitpay.core_api import request_id_of

PAID_KEPT_S: Final = 400 * 86400.0
"""How long it is known which payment of HitPay's a receipt of ours belongs to: longer than anybody may refund."""


@attrs.frozen(kw_only=True)
class ChargeRecord:
    """What is known of a charge and is not in its challenge. ``nonce`` is the broker's, never an agent's.

    ``request_id``: of the payment request behind it, if that is known; not the address of its page, which whoever reads
    the ledger could pay on.
    """

    nonce: str = attrs.field(repr=False)
    request_id: str | None


@attrs.frozen(kw_only=True)
class PaidRecord:
    """Which payment of HitPay's core API paid a charge. Either may be unknown.

    ``late``: it paid for nothing any more, and is only known so that its refund finds it.
    """

    payment_id: str = ""
    request_id: str = ""
    late: bool = False


def nonce_for(config: HitPayConfig, purpose: str, key: str) -> Flow[str]:
    """128 random bits for one call, kept before the call is made: whoever repeats the call repeats the nonce."""
    fresh = yield from token()
    return (
        yield from remember(
            NAMESPACE, f"nonce {purpose} {key}", fresh, ttl_s=float(config.nonce_kept_s), if_absent=True
        )
    )


def kept_nonce(purpose: str, key: str) -> Flow[str | None]:
    """The nonce of an earlier call, if it is still known."""
    return (yield from recall(NAMESPACE, f"nonce {purpose} {key}"))


def keep_charge(config: HitPayConfig, charge_id: str, record: ChargeRecord) -> Flow[None]:
    """Keep what :class:`ChargeRecord` says."""
    yield from _keep(
        f"charge {charge_id}",
        {"nonce": record.nonce, "request_id": record.request_id or ""},
        float(config.nonce_kept_s),
    )


def find_charge(charge_id: str) -> Flow[ChargeRecord | None]:
    """What is known of a charge."""
    found = yield from _find(f"charge {charge_id}")
    if found is None:
        return None
    # Earlier versions kept the page instead.
    request_id = found.get("request_id") or request_id_of(found.get("checkout_url", ""))
    return ChargeRecord(nonce=found["nonce"], request_id=request_id)


def keep_paid(reference: str, record: PaidRecord) -> Flow[None]:
    """Keep which payment it was, under the receipt's reference, and the other way round, so that people find it."""
    members: dict[str, JsonValue] = {
        "payment_id": record.payment_id,
        "request_id": record.request_id,
        "late": "late" if record.late else "",
    }
    yield from _keep(f"paid {reference}", members, PAID_KEPT_S)
    for known_as in filter(None, (record.payment_id, record.request_id)):
        yield from remember(NAMESPACE, f"reference {known_as}", reference, ttl_s=PAID_KEPT_S)


def find_paid(reference: str) -> Flow[PaidRecord | None]:
    """Which payment a reference is."""
    found = yield from _find(f"paid {reference}")
    if found is None:
        return None
    return PaidRecord(payment_id=found["payment_id"], request_id=found["request_id"], late=bool(found["late"]))


def reference_of(payment_id: str) -> Flow[str | None]:
    """The reference of the receipt that HitPay's payment made; None if it made none here."""
    return (yield from recall(NAMESPACE, f"reference {payment_id}"))


def begin_silent(config: HitPayConfig, nonce: str) -> Flow[bool]:
    """Note that a silent charge is about to be asked for; whether it was before, and no answer put an end to it."""
    key = f"silent {nonce}"
    before = yield from recall(NAMESPACE, key)
    yield from remember(NAMESPACE, key, "1", ttl_s=float(config.nonce_kept_s))
    return before is not None


def silent_begun(key: str) -> Flow[bool]:
    """Whether a silent charge was asked for under the nonce kept for this key, and no answer put an end to it."""
    nonce = yield from kept_nonce("silent", key)
    return nonce is not None and (yield from recall(NAMESPACE, f"silent {nonce}")) is not None


def end_silent(key: str, nonce: str) -> Flow[None]:
    """Note that a silent charge has certainly not been made. Another try is another call, so with another nonce.

    ``key``: as the nonce is kept under; if that is another one by now, it stays.
    """
    yield from remember(NAMESPACE, f"silent {nonce}", "", ttl_s=0.001)
    yield from remember(NAMESPACE, f"nonce silent {key}", "", ttl_s=0.001, instead_of=nonce)


def revoke_grant(config: HitPayConfig, saved_method_id: str) -> Flow[None]:
    """Take no grant of this saved method any more, whatever the broker says: it is final, or you decided so."""
    yield from remember(NAMESPACE, f"revoked {saved_method_id}", "1", ttl_s=PAID_KEPT_S)


def is_revoked(saved_method_id: str) -> Flow[bool]:
    """Whether :func:`revoke_grant` was called for it."""
    return (yield from recall(NAMESPACE, f"revoked {saved_method_id}")) is not None


def note_part_back(reference: str) -> Flow[None]:
    """Remember that a part of a payment went back elsewhere, and nobody says how much: it buys nothing any more."""
    yield from remember(NAMESPACE, f"part back {reference}", "1", ttl_s=PAID_KEPT_S)


def is_part_back(reference: str) -> Flow[bool]:
    """Whether :func:`note_part_back` was called for it."""
    return (yield from recall(NAMESPACE, f"part back {reference}")) is not None


def write_created(created: Created) -> str:
    """An open charge as text, for whoever may be shown it again."""
    return canonical(attrs.asdict(created)).decode()


def read_created(text: str | None) -> Created | None:
    """The open charge in a text of :func:`write_created`; None if it is none."""
    try:
        members: JsonObject = loads_object(text or "{}")
        expires_at = members["expires_at"]
        texts = {name: str(members[name]) for name in ("id", "checkout_url", "polling_url")}
    except (ParseError, KeyError):
        return None
    return Created(expires_at=expires_at, **texts) if isinstance(expires_at, int | float) else None


def hashed(*texts: str) -> str:
    """A key made of texts that must not be readable in the ledger."""
    return sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()


def _keep(key: str, members: dict[str, JsonValue], ttl_s: float) -> Flow[None]:
    yield from remember(NAMESPACE, key, canonical(members).decode(), ttl_s=ttl_s)


def _find(key: str) -> Flow[dict[str, str] | None]:
    text = yield from recall(NAMESPACE, key)
    try:
        members = None if text is None else loads_object(text)
    except ParseError:
        members = None
    return None if members is None else {name: str(value) for name, value in members.items()}
