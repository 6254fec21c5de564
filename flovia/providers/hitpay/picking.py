"""Which wallet an agent picks to save, by a header, the query or the body. HitPay does not say how; our choice."""

from flovia.core.encoding import JsonValue, loads_object
from flovia.core.errors import ParseError
from flovia.core.http import HttpRequest
from flovia.providers.hitpay.config import HitPayConfig
from flovia.providers.hitpay.request_hash import query_members

_JSON = "application/json"
_FORM = "application/x-www-form-urlencoded"


def picked(request: HttpRequest, config: HitPayConfig) -> str | None:
    """The wallet by header, else by query: a word that is there for nothing else."""
    named = _name(request.headers.get(config.wallet_header))
    return named or _name(query_members(request.query).get(config.wallet_query))


def picked_in_body(request: HttpRequest, config: HitPayConfig) -> str | None:
    """The wallet by a member of a small JSON object, or a field of a small form.

    None where nobody has read the body (a route with ``digest=False``) and where it is too long to be kept. The body is
    the app's as well, so that the caller asks for more than a word under that name.
    """
    if config.wallet_body is None or (raw := request.body.small) is None:
        return None
    kind = (request.headers.get("content-type") or "").partition(";")[0].strip().lower()
    if kind == _JSON:
        try:
            return _name(loads_object(raw).get(config.wallet_body))
        except ParseError:
            return None  # the app's to refuse
    return _name(query_members(raw.decode("latin-1")).get(config.wallet_body)) if kind == _FORM else None


def _name(value: JsonValue) -> str | None:
    return value.strip() or None if isinstance(value, str) else None
