"""Settings: which are set, where each comes from, and what cannot work."""

import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Final

from flovia.core.binding import Keyring
from flovia.core.errors import FloviaError
from flovia.doctor.finding import SECRET_NAMES, Finding
from flovia.ledger.opening import shown
from flovia.providers.hitpay import config as hitpay
from flovia.settings import DEFAULT_LEDGER, FORMS, VARIABLES, Settings, read_settings
from flovia.words import counted

CHECK: Final = "settings"
_ADDRESS: Final = re.compile(r"(https?://(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?)(?:[/?#][^@]*)?")
_MISSED: Final = ("FLOVIA_SECRET", "FLOVIA_PUBLIC_ORIGIN")
_WORDS_OF_EXAMPLES: Final = ("changeme", "change-me", "example", "secret", "password", "your-", "test")


def setting_findings(env: Mapping[str, str]) -> Iterator[Finding]:
    """Each variable, and then whether they work together."""
    for name in (*VARIABLES, *hitpay.VARIABLES):
        if name in _MISSED and name not in env:
            continue  # that it is missing is told below, with what that leads to
        yield _variable(name, env.get(name))
    if not _is_read("WEB_CONCURRENCY", env.get("WEB_CONCURRENCY", "").strip()):
        yield _variable("WEB_CONCURRENCY", env["WEB_CONCURRENCY"])
    # Those that cannot be read are told of above, without their values, which may be meant for another variable.
    readable = {name: value for name, value in env.items() if name not in FORMS or _is_read(name, value.strip())}
    try:
        settings = read_settings(readable)
    except FloviaError as error:
        yield Finding(check=CHECK, level="error", text=str(error), remedy="The app would not start like this.")
        return
    yield from _secret(settings, bool(env.get("HITPAY_API_KEY")))
    if settings.origin is None:
        yield Finding(
            check=CHECK,
            level="warning",
            text="no public origin: only requests of this machine are served, all others get 400",
            remedy="Set FLOVIA_PUBLIC_ORIGIN to the address that clients use, like https://api.example.com.",
        )
    if settings.otel and find_spec("opentelemetry") is None:
        yield Finding(
            check=CHECK,
            level="error",
            text="FLOVIA_OTEL is true, and OpenTelemetry's API is not installed: the app would not start",
            remedy="pip install 'flovia[otel]'",
        )
    if settings.workers > 1 and settings.ledger.startswith("memory:"):
        yield Finding(
            check=CHECK,
            level="error",
            text=f"{settings.workers} workers, and a ledger that each of them would have for itself",
            remedy="Set FLOVIA_LEDGER to a file or a PostgreSQL database.",
        )


def _variable(name: str, value: str | None) -> Finding:
    if value is None:
        default = f", so {DEFAULT_LEDGER}" if name == "FLOVIA_LEDGER" else ""
        return Finding(check=CHECK, level="ok", text=f"{name} is not set{default}")
    if not SECRET_NAMES.search(name):
        return _plain(name, value.strip())
    parts = [len(part.strip()) for part in value.split(",")]
    lengths = " and ".join(counted(length, "character") for length in parts)
    if value != value.strip() or any(part != part.strip("\"' ") for part in value.split(",")):
        return Finding(
            check=CHECK,
            level="warning",
            text=f"{name} from the environment: {lengths}, with spaces or quotes around it",
            remedy=f"Set {name} without them; a shell or a file of variables has kept what was meant for itself.",
        )
    return Finding(check=CHECK, level="ok", text=f"{name} from the environment: set, {lengths}")


def _plain(name: str, value: str) -> Finding:
    """One that is no secret; but somebody may have set it to one."""
    long = counted(len(value), "character")
    if name in FORMS and value and not _is_read(name, value):
        return Finding(
            check=CHECK,
            level="error",
            text=f"{name} from the environment: a text of {long} that is not {FORMS[name][0]}",
            remedy="Put that right: the app would not start like this.",
        )
    told = value
    if name == "FLOVIA_LEDGER":
        told = shown(value)
    elif name.endswith(("_ORIGIN", "_ENDPOINT")):
        address = _ADDRESS.fullmatch(value)
        told = address[1] if address else f"a text of {long} that is no origin"
    return Finding(check=CHECK, level="ok", text=f"{name} from the environment: {told}")


def _is_read(name: str, value: str) -> bool:
    if not value:
        return True  # that it is empty is said by who reads it
    try:
        FORMS[name][1](value)
    except FloviaError:
        return False
    return True


def _secret(settings: Settings, live: bool) -> Iterator[Finding]:
    how = 'Set FLOVIA_SECRET to the output of: python -c "import secrets; print(secrets.token_urlsafe(32))"'
    if not settings.secrets:
        yield Finding(
            check=CHECK,
            level="error" if live or settings.workers > 1 else "warning",
            text="no FLOVIA_SECRET: an app on several workers or with a provider that takes money does not start,"
            " others make one up",
            remedy=how,
        )
        return
    try:
        Keyring(settings.secrets)
    except FloviaError as error:
        yield Finding(check=CHECK, level="error", text=str(error), remedy=how)
    if any(len(set(secret)) < 10 or secret.lower().startswith(_WORDS_OF_EXAMPLES) for secret in settings.secrets):
        yield Finding(
            check=CHECK,
            level="warning",
            text="FLOVIA_SECRET looks like one that somebody made up or copied from an example",
            remedy=how,
        )
    if settings.hash_payers and len(settings.secrets) > 1 and settings.hiding_keys[0] == settings.secrets[0]:
        yield Finding(
            check=CHECK,
            level="warning",
            text="there is a new secret, and payers are hashed with it: to reports each is another one than before",
            remedy="Set FLOVIA_PAYER_KEY to the secret that they were hashed with, and leave it so.",
        )
