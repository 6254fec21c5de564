"""The payments of a charge, as HitPay's own API lists them: of one that failed or came late the broker says nothing."""

from typing import TYPE_CHECKING, Final, cast
from urllib.parse import quote

import attrs
import httpx

from flovia.providers.hitpay.core_api import request_id_of
from flovia.tls import tls_context

if TYPE_CHECKING:
    from flovia.providers.hitpay import HitPayConfig

_WITHIN_S: Final = 4.0


@attrs.frozen(kw_only=True)
class Payments:
    """How many payments of one charge failed, and how many were made."""

    declined: int = 0
    made: int = 0


async def look_at_payments(config: "HitPayConfig", checkout_url: str) -> Payments | None:
    """The payments of the payment request behind a checkout page; None if HitPay does not say."""
    request_id = request_id_of(checkout_url)
    if request_id is None or config.api_key is None:
        return None
    url = f"{config.api_endpoint.origin}/v1/payment-requests/{quote(request_id, safe='')}"
    fields = {"x-business-api-key": config.api_key, "x-requested-with": "XMLHttpRequest"}
    try:
        trusted = tls_context(trust_env=False)
        async with httpx.AsyncClient(verify=trusted, trust_env=False, timeout=_WITHIN_S, follow_redirects=False) as api:
            members: object = (await api.get(url, headers=fields)).json()
    except (httpx.HTTPError, ValueError):
        return None
    payments = cast("dict[str, object]", members).get("payments") if isinstance(members, dict) else None
    if not isinstance(payments, list):
        return None
    each = [cast("dict[str, object]", one) for one in cast("list[object]", payments) if isinstance(one, dict)]
    return Payments(
        declined=sum(one.get("status") == "failed" for one in each),
        made=sum(one.get("status") == "succeeded" for one in each),
    )
