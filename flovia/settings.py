"""Settings: what the environment says, checked before the first request.

Every value can be given to :class:`flovia.Flovia` instead; the argument wins. Whatever cannot work is refused
with :class:`~flovia.core.errors.WiringError` that names the variable and the remedy.

==========================  ================================================================================
``FLOVIA_SECRET``           signs challenges, at least 32 bytes; older ones after commas keep verifying
``FLOVIA_REALM``            the protection space in challenges; default: the public origin's host
``FLOVIA_PUBLIC_ORIGIN``    ``https://api.example.com``; without it only this machine is served
``FLOVIA_PRICE``            the price of routes that name none: ``1.00 SGD``
``FLOVIA_LEDGER``           ``sqlite:///flovia.db`` (the default), ``sqlite:////absolute/path``, ``postgresql://…``, ``memory://``
``FLOVIA_LIMIT``            ``challenges=60/min,verifications=30/min,total_challenges=1000/min``
``FLOVIA_WORKERS``          how many processes serve the app, where ``WEB_CONCURRENCY`` does not say it
``FLOVIA_RETENTION``        ``events=400d,unpaid_events=90d,delivered=30d,attempts=800d``; without it kept for ever
``FLOVIA_HASH_PAYERS``      ``true``: keyed hashes of payers and workflows; ``false``: names; without it, of payers
``FLOVIA_PAYER_KEY``        what payers are hashed with, so that a new secret changes no name; default: the secret
``FLOVIA_OWN_PAYERS``       payers that reports leave out: ``did:example:me,mock:*``; ``*`` matches no hashed payer
``FLOVIA_OTEL``             ``true``: spans and metrics for OpenTelemetry (extra ``otel``)
==========================  ================================================================================
"""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

import attrs

from flovia.core.binding import MIN_SECRET
from flovia.core.errors import WiringError
from flovia.core.limiter import Limit
from flovia.core.money import Price
from flovia.core.origin import Origin
from flovia.core.retention import FOR_EVER, Retention
from flovia.core.slips import slips

_log = logging.getLogger("flovia")
DEFAULT_LEDGER: Final = "sqlite:///flovia.db"
MAX_REALM: Final = 255
MAX_DIGITS: Final = 9
T = TypeVar("T")
VARIABLES: Final = (
    "FLOVIA_SECRET",
    "FLOVIA_REALM",
    "FLOVIA_PUBLIC_ORIGIN",
    "FLOVIA_PRICE",
    "FLOVIA_LEDGER",
    "FLOVIA_LIMIT",
    "FLOVIA_WORKERS",
    "FLOVIA_RETENTION",
    "FLOVIA_HASH_PAYERS",
    "FLOVIA_PAYER_KEY",
    "FLOVIA_OWN_PAYERS",
    "FLOVIA_OTEL",
)


@attrs.frozen(kw_only=True)
class Settings:
    """Checked settings. ``secrets`` is empty if none was given; ``workers`` is 0 where nobody says.

    ``hiding_keys``: what names of payers are hashed with, the one in use first, and what may have been before.
    """

    secrets: tuple[str, ...] = attrs.field(default=(), repr=False)
    realm: str
    origin: Origin | None
    price: Price | None
    ledger: str = attrs.field(repr=False)
    limit: Limit | None
    workers: int
    retention: Retention = FOR_EVER
    hash_payers: bool = False
    hash_workflows: bool = False
    hiding_keys: tuple[str, ...] = attrs.field(default=(), repr=False)
    own_payers: tuple[str, ...] = ()
    otel: bool = False


def read_settings(
    environ: Mapping[str, str] | None = None,
    *,
    secret: str | Sequence[str] | None = None,
    realm: str | None = None,
    public_origin: str | None = None,
    price: str | Price | None = None,
    ledger: str | None = None,
    limit: Limit | str | None = None,
    retention: Retention | str | None = None,
    hash_payers: bool | None = None,
    otel: bool | None = None,
) -> Settings:
    """The settings from arguments, else from the environment.

    Raises:
        WiringError: a value cannot work.
    """
    env = os.environ if environ is None else environ
    for name, meant in slips(env, "FLOVIA", VARIABLES):
        _log.warning("%s is no setting of flovia and changes nothing; is it meant to be %s?", name, meant)

    def text(name: str) -> str | None:
        value = env.get(name)
        if value is None:
            return None
        if not value.strip():
            raise WiringError(f"{name} is set but empty; give it a value or unset it")
        return value.strip()

    if secret is None:
        secret = text("FLOVIA_SECRET") or ()
    secrets = tuple(part.strip() for part in secret.split(",")) if isinstance(secret, str) else tuple(secret)
    origin_text = public_origin or text("FLOVIA_PUBLIC_ORIGIN")
    origin = Origin.parse(origin_text) if origin_text else None
    realm = realm or text("FLOVIA_REALM") or (origin.host if origin else "localhost")
    if not (realm.isascii() and realm.isprintable() and len(realm) <= MAX_REALM) or "|" in realm or '"' in realm:
        raise WiringError(
            f"the realm must be at most {MAX_REALM} printable ASCII characters without | and quotes; set FLOVIA_REALM"
        )
    if price is None:
        price = _read("FLOVIA_PRICE", text("FLOVIA_PRICE"), Price.parse)
    if limit is None:
        limit = _read("FLOVIA_LIMIT", text("FLOVIA_LIMIT"), Limit.parse)
    if retention is None:
        retention = _read("FLOVIA_RETENTION", text("FLOVIA_RETENTION"), Retention.parse)
    if hash_payers is None:
        hash_payers = _read("FLOVIA_HASH_PAYERS", text("FLOVIA_HASH_PAYERS"), _flag)
    payer_key = text("FLOVIA_PAYER_KEY")
    if payer_key is not None and len(payer_key.encode()) < MIN_SECRET:
        raise WiringError(f"FLOVIA_PAYER_KEY has less than {MIN_SECRET} bytes; make one as you make a FLOVIA_SECRET")
    keys = tuple(dict.fromkeys(secrets if payer_key is None else (payer_key, *secrets)))
    if hash_payers and not keys:
        raise WiringError("payers are to be hashed (FLOVIA_HASH_PAYERS), which needs a key: set FLOVIA_SECRET")
    if otel is None:
        otel = _read("FLOVIA_OTEL", text("FLOVIA_OTEL"), _flag) or False
    workers = _read("FLOVIA_WORKERS", text("FLOVIA_WORKERS"), _number)
    if workers is None:
        workers = _read("WEB_CONCURRENCY", text("WEB_CONCURRENCY"), _number) or 0
    return Settings(
        secrets=secrets,
        realm=realm,
        origin=origin,
        price=Price.parse(price) if isinstance(price, str) else price,
        ledger=ledger or text("FLOVIA_LEDGER") or DEFAULT_LEDGER,
        limit=Limit.parse(limit) if isinstance(limit, str) else limit,
        workers=workers,
        retention=(Retention.parse(retention) if isinstance(retention, str) else retention) or FOR_EVER,
        # Without a secret there is no key that another process has, too.
        hash_payers=bool(keys) if hash_payers is None else hash_payers,
        hash_workflows=bool(hash_payers),
        hiding_keys=keys,
        otel=otel,
        own_payers=tuple(one.strip() for one in (text("FLOVIA_OWN_PAYERS") or "").split(",") if one.strip()),
    )


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS):
        raise WiringError("no number of processes")
    return int(text)


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise WiringError("neither true nor false")
    return text.lower() == "true"


FORMS: Final[dict[str, tuple[str, Callable[[str], object]]]] = {
    "FLOVIA_PRICE": (
        "a price: write an amount above 0, one space and a currency, with no more decimals than it has, 1.00 SGD",
        Price.parse,
    ),
    "FLOVIA_LIMIT": ("a limit: write challenges=60/min, or several with commas", Limit.parse),
    "FLOVIA_WORKERS": ("a number of processes", _number),
    "WEB_CONCURRENCY": ("a number of processes", _number),
    "FLOVIA_HASH_PAYERS": ("true or false", _flag),
    "FLOVIA_OTEL": ("true or false", _flag),
    "FLOVIA_RETENTION": (
        "a retention: each part is kept for a whole number of days, events for 2 at least, events=400d,delivered=30d",
        Retention.parse,
    ),
}
"""What each variable is, in words, and how it is read."""


def _read(name: str, value: str | None, parse: Callable[[str], T]) -> T | None:
    """What a variable says. One that cannot be read is not quoted: a secret may have been put there by mistake.

    Raises:
        WiringError: it is not of its form.
    """
    if value is None:
        return None
    try:
        return parse(value)
    except WiringError:
        characters = "1 character" if len(value) == 1 else f"{len(value)} characters"
        raise WiringError(f"{name} is a text of {characters} that is not {FORMS[name][0]}") from None
