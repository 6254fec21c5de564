"""What a secret looks like, and finding one in a text.

Two ways: forms that give themselves away wherever they stand (a JWS, a credential, a receipt, a checkout page, a
customer's address), and values that the tests handed out and :mod:`tests.leaks.spies` noted (keys, salts, the secrets
of keyrings, nonces, signatures).
"""

import base64
import json
import re
from collections.abc import Iterator
from typing import Final

SHORTEST: Final = 8
"""Shorter values are words that also stand elsewhere."""
PLAIN: Final = 16
"""From this length on a value made by hand is looked for inside of longer words, too."""

_FORMS: Final = {
    "jws": re.compile(r"eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{16,}"),
    # base64url JSON whose first member is "challenge", as far as a cut would leave it
    "credential": re.compile(r"eyJjaGFsbGVuZ2Ui[\w-]{20,}"),
    "page": re.compile(r"/payment-request/@[\w-]+/[0-9a-f-]{36}/checkout|/setup/mpp_spm_\w{4,}"),
    "address": re.compile(r"[\w.+-]+@example\.test"),
}
_JSON: Final = re.compile(r"eyJ[\w-]{40,}")
_WORD: Final = re.compile(rf"[\w-]{{{SHORTEST},}}", re.ASCII)
_IS_WORD: Final = re.compile(r"[\w-]+", re.ASCII).fullmatch
_HINTS: Final = ("eyJ", "/payment-request/", "/setup/", "@example.test")


class Known:
    """The secrets that tests have handed out in this process, each with what it is."""

    def __init__(self) -> None:
        self.words: dict[str, str] = {}
        self._others: dict[str, str] = {}

    def add(self, what: str, value: object) -> None:
        """Note one; what is no text, too short or too monotonous to be recognised is left out."""
        if isinstance(value, bytes):
            value = value.decode("latin-1")
        if not isinstance(value, str) or len(value) < SHORTEST or len(set(value)) < 4 or not value.isprintable():
            return
        (self.words if _IS_WORD(value) else self._others)[value] = what
        if "test" in value and len(value) >= PLAIN:
            self._others[value] = what

    def __len__(self) -> int:
        return len(self.words.keys() | self._others.keys())

    def found(self, text: str) -> Iterator[tuple[str, str]]:
        """What stands in a text: kind and value."""
        words = self.words
        for match in _WORD.finditer(text):
            if match[0] in words:
                yield words[match[0]], match[0]
        for value, what in self._others.items():
            if value in text:
                yield what, value


def forms(text: str) -> Iterator[tuple[str, str]]:
    """What gives itself away by its form: kind and value."""
    if not any(hint in text for hint in _HINTS):
        return
    for what, pattern in _FORMS.items():
        for match in pattern.finditer(text):
            yield what, match[0]
    for match in _JSON.finditer(text):
        members = _members(match[0])
        if {"reference", "status"} <= members:
            yield "receipt", match[0]


def _members(token: str) -> set[str]:
    try:
        found = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except ValueError:
        return set()
    return set(found) if isinstance(found, dict) else set()


def shown(value: str) -> str:
    """As much of a secret as a report may hold."""
    return f"{value[:6]}…({len(value)} characters)"
