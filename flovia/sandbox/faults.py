"""The fault knobs: which there are, which values each takes, and where a fault that was set applies."""

import re
from collections.abc import Mapping
from typing import Final

import attrs

Option = str | int | float | bool
_KINDS: Final[dict[type, str]] = {
    bool: "true or false",
    int: "a whole number that is not negative",
    float: "a number that is not negative",
    str: "text of at most 500 visible ASCII characters",
}
Plain = Mapping[str, object]

_NONE: Final[dict[str, type]] = {}
_AFTER: Final[dict[str, type]] = {"after_commit": bool}
_STATUS: Final[dict[str, type]] = {"retry_after": int, "after_commit": bool}
_PAYER: Final[dict[str, type]] = {"delay": float}
_WEBHOOK: Final[dict[str, type]] = {"target": str}

KNOBS: Final[dict[str, dict[str, dict[str, type]]]] = {
    "payer": {
        "auto_pay": _PAYER,
        "decline": {**_PAYER, "terminal": bool},
        "never": _NONE,
        "pay_twice": _PAYER,
        "wrong_amount": {**_PAYER, "amount": str},
        "late": _PAYER,
    },
    "pr_lag": {"seconds": {"seconds": float}, "forever": _NONE},
    "broker_status_stuck": {"status": _NONE, "verify": _NONE},
    "webhook": {
        "normal": _WEBHOOK,
        "lost": _WEBHOOK,
        "duplicate": {**_WEBHOOK, "times": int},
        "delayed": {**_WEBHOOK, "seconds": float},
        "out_of_order": {**_WEBHOOK, "hold": float},
        "bad_signature": _WEBHOOK,
        "wrong_salt": _WEBHOOK,
        "flat": _WEBHOOK,
        "enveloped": _WEBHOOK,
        "truncated": {**_WEBHOOK, "signed": bool},
        "foreign": _WEBHOOK,
        "sha256_prefix": _WEBHOOK,
        "upper_hex": _WEBHOOK,
    },
    "http": {
        **dict.fromkeys(("500", "502", "503", "429"), _STATUS),
        "slow": {"ms": int},
        "hang": _AFTER,
        "reset": _AFTER,
        "non_json": _NONE,
        "extra_fields": _NONE,
        "missing_fields": {"field": str},
        "redirect": {"location": str},
    },
    "jws": {
        **dict.fromkeys(
            ("wrong_kid", "retired_kid", "rotate", "alg_none", "alg_hs256", "typ_swapped", "bad_signature"), _NONE
        ),
        **dict.fromkeys(("wrong_iss", "wrong_amount", "wrong_currency", "wrong_hash", "wrong_charge"), _NONE),
        "clock_skew": {"seconds": float},
    },
    "jwks": {"down": _NONE, "stale": _NONE, "empty": _NONE, "duplicate_kid": _NONE, "huge": {"keys": int}},
    "nonce": {"duplicate": _NONE, "race": _NONE},
    "verify": {"idempotent": _NONE, "single_use": _NONE, "hash_mismatch": _NONE, "pending": {"times": int}},
    "contract": {"current": _NONE, "2026-05-old": _NONE},
    "qr": {"object": _NONE, "string": _NONE},
    "amounts": {"plain": _NONE, "commas": _NONE},
    "limits": {
        "set": {
            "creations_per_minute": int,
            "calls_per_minute": int,
            "charge_ttl": float,
            "setup_ttl": float,
            "grant_ttl": float,
            "jwks_max_age": int,
            "clock_step": float,
            "retry_scale": float,
        }
    },
}
"""Every knob, its values, and the options each value takes (all of them optional)."""

DEFAULTS: Final[dict[str, str]] = {"pr_lag": "seconds", "broker_status_stuck": "status", "limits": "set"}
"""The value of a knob that is set without one."""

LIMITS: Final[dict[str, float]] = {
    "creations_per_minute": 0,
    "calls_per_minute": 0,
    "charge_ttl": 900,
    "setup_ttl": 900,
    "grant_ttl": 90 * 86400,
    "jwks_max_age": 600,
    "clock_step": 0,
    "retry_scale": 1,
}
"""Limits while the knob ``limits`` is not set; 0 a minute means no limit. Times in seconds."""

HITPAY_LIMITS: Final[dict[str, float]] = {"creations_per_minute": 70, "calls_per_minute": 400}
"""The rates HitPay's API overview is quoted with."""

_SCOPE: Final = ("route", "id", "next")
_EVERYWHERE: Final = {"limits": _SCOPE, "pr_lag": ("route",)}
"""How some knobs cannot be narrowed."""

TARGETS: Final = ("broker", "endpoint", "callback")
"""The receivers of webhooks."""

_MOST: Final = 10**9
_VISIBLE: Final = re.compile(r"[\x21-\x7e]{0,500}").fullmatch


@attrs.frozen(kw_only=True)
class Fault:
    """One knob, turned. Without ``route``, ``about`` and ``left`` it holds everywhere until it is cleared."""

    knob: str
    value: str
    options: tuple[tuple[str, Option], ...] = ()
    route: str | None = None
    about: str | None = None
    left: int | None = None

    def option(self, name: str, default: float) -> float:
        """A numeric option."""
        found = dict(self.options).get(name, default)
        return found if isinstance(found, int | float) else default

    def text(self, name: str, default: str = "") -> str:
        """A textual option."""
        found = dict(self.options).get(name, default)
        return found if isinstance(found, str) else default

    def flag(self, name: str, *, default: bool = False) -> bool:
        """A yes-or-no option."""
        return dict(self.options).get(name, default) is True

    @property
    def label(self) -> str:
        """``http=503``: how the journal names it."""
        return f"{self.knob}={self.value}"

    def matches(self, knob: str, routes: tuple[str, ...], ids: tuple[str, ...]) -> bool:
        """Whether it applies to a call of one of ``routes`` about one of ``ids``."""
        return (
            self.knob == knob
            and (self.left is None or self.left > 0)
            and (self.route is None or self.route in routes)
            and (self.about is None or self.about in ids)
        )

    def to_json(self) -> dict[str, object]:
        """As :func:`read_fault` reads it."""
        scope = {"route": self.route, "id": self.about, "next": self.left}
        return {
            "knob": self.knob,
            "value": self.value,
            **dict(self.options),
            **{name: value for name, value in scope.items() if value is not None},
        }


def read_fault(body: Plain) -> Fault | str:
    """A fault from the JSON of the control API, or the reason why it is none."""
    knob = body.get("knob")
    if not isinstance(knob, str) or knob not in KNOBS:
        return f"knob: one of {', '.join(KNOBS)}"
    value = body.get("value", DEFAULTS.get(knob))
    value = "status" if knob == "broker_status_stuck" and value is True else value
    if knob == "pr_lag" and isinstance(value, int | float) and not isinstance(value, bool):
        body, value = {**body, "seconds": value}, "seconds"
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or text not in KNOBS[knob]:
        return f"value of {knob}: one of {', '.join(KNOBS[knob])}"
    takes = KNOBS[knob][text]
    options: list[tuple[str, Option]] = []
    for name, found in body.items():
        if name in ("knob", "value", *_SCOPE):
            continue
        if name not in takes:
            return f"{name}: no option of {knob}={text}; it takes {', '.join((*takes, *_SCOPE))}"
        if (option := _option(found, takes[name])) is None:
            return f"{name}: {_KINDS[takes[name]]}"
        options.append((name, option))
    route, about, left = (body.get(name) for name in _SCOPE)
    if not isinstance(route, str | None) or not isinstance(about, str | None):
        return "route and id: text"
    if where := [name for name in _EVERYWHERE.get(knob, ()) if body.get(name) is not None]:
        return f"{where[0]}: {knob} cannot be narrowed by it"
    if dict(options).get("target", "broker") not in TARGETS:
        return f"target: one of {', '.join(TARGETS)}"
    if left is not None and (not isinstance(left, int) or isinstance(left, bool) or not 0 < left < _MOST):
        return "next: a number of calls, 1 or more"
    if knob == "verify" and text == "pending" and left is None:
        left = int(dict(options).get("times", 1))
    return Fault(knob=knob, value=text, options=tuple(options), route=route, about=about, left=left)


def _option(found: object, kind: type) -> Option | None:
    if kind is bool or isinstance(found, bool):
        return found if kind is bool and isinstance(found, bool) else None
    if kind is str:
        return found if isinstance(found, str) and _VISIBLE(found) else None
    if kind is int and isinstance(found, int) and 0 <= found < _MOST:
        return found
    if kind is float and isinstance(found, int | float) and 0 <= found < _MOST:
        return found
    return None
