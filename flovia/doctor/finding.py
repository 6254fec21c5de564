"""What a check says."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Literal

import attrs

from flovia.core.errors import FloviaError

Level = Literal["ok", "note", "warning", "error"]
STATUS: Final[dict[Level, int]] = {"ok": 0, "note": 0, "warning": 1, "error": 2}
SECRET_NAMES: Final = re.compile(r"SECRET|KEY|SALT|PASSWORD|TOKEN")
"""Variables whose values are never shown."""
HIDDEN: Final = "(not shown)"
_PASSWORD: Final = re.compile(r"://[^/\s@]*:([^/\s@]+)@")
_SHORTEST: Final = 4
_LONG: Final = 16
_WORD: Final = re.compile(r"[A-Za-z]+|[0-9]+|[A-Z_]+").fullmatch


@attrs.frozen(kw_only=True)
class Finding:
    """One line of a diagnosis. ``remedy``: what to do, "" where nothing is to be done."""

    check: str
    level: Level
    text: str
    remedy: str = ""


@attrs.frozen(kw_only=True)
class Examination:
    """All findings, in the order of the checks."""

    findings: tuple[Finding, ...]

    @property
    def status(self) -> int:
        """0 if nothing is to be done, 1 if something should be, 2 if something must be."""
        return max((STATUS[finding.level] for finding in self.findings), default=0)


def guarded(check: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """The findings of one check; if it fails, that it did. What an unknown error says is not repeated."""
    try:
        yield from look()
    except FloviaError as error:
        yield Finding(check=check, level="error", text=str(error), remedy="Put that right and run this again.")
    except Exception as error:
        yield Finding(
            check=check,
            level="error",
            text=f"this could not be looked at: {type(error).__name__}",
            remedy="If the rest is in order, report it as a bug of flovia doctor.",
        )


def without_secrets(findings: Iterable[Finding], environ: Mapping[str, str]) -> tuple[Finding, ...]:
    """The same, with every secret of the environment taken out, wherever it may have come from."""
    secrets = set[str]()
    for name, value in environ.items():
        if SECRET_NAMES.search(name):
            secrets.update(part.strip() for part in (value, *value.split(",")))
        secrets.update(_PASSWORD.findall(value))
    patterns = [_shown(secret) for secret in sorted(filter(None, secrets), key=len, reverse=True)]

    def clean(text: str) -> str:
        for pattern in patterns:
            text = pattern.sub(HIDDEN, text)
        return text

    return tuple(attrs.evolve(finding, text=clean(finding.text), remedy=clean(finding.remedy)) for finding in findings)


def _shown(secret: str) -> re.Pattern[str]:
    """Where a text shows this secret: a long one anywhere, a short one as a whole value only.

    A short one may be part of our own words ("short" is in "shorter"), or be one of them. So what could be a word or a
    number counts where a value stands: in quotes, in an address, or alone at the end after a colon.
    """
    text = re.escape(secret)
    if len(secret) >= _LONG:
        return re.compile(text)
    if len(secret) < _SHORTEST or _WORD(secret):
        return re.compile(rf"(?:(?<=['\"=/@:])|(?<=: )){text}(?=['\"@/?&]|$)")
    return re.compile(rf"(?<![A-Za-z0-9_]){text}(?![A-Za-z0-9_])")
