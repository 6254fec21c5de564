"""Words and numbers of reports as people read them, shares with their intervals."""

from typing import Final

from flovia.insights.asking import LeftOut
from flovia.insights.intervals import Share
from flovia.words import counted

POINTS: Final = 20
"""Bars of a sparkline, about."""


def percent(part: Share) -> str:
    """``25.0 % (7.1–59.1)``: a share and its interval; "" without a sample."""
    if part.value is None or part.low is None or part.high is None:
        return ""
    return f"{part.value:.1%} ({part.low * 100:.1f}–{part.high * 100:.1f})".replace("%", " %", 1)


def milliseconds(ms: float | None) -> str:
    """``12.3 ms``, ``4.5 s``, ``3.2 min``; "" if it is not known."""
    if ms is None:
        return ""
    if ms < 1000:
        return f"{ms:.1f} ms"
    return f"{ms / 1000:.1f} s" if ms < 120_000 else f"{ms / 60_000:.1f} min"


def left_out_words(left_out: LeftOut) -> list[str]:
    """What an answer does not count, in words; empty if it counts everything."""
    found = [
        (left_out.test, "attempt with the mock provider (--test counts them)", "attempts with the mock provider"
         " (--test counts them)"),
        (left_out.own, "attempt of your own payers", "attempts of your own payers"),
        (left_out.probes, "probe (HEAD)", "probes (HEAD)"),
        (left_out.turned_away, "request refused before any price", "requests refused before any price"),
        (left_out.amountless, "payment or refund without an amount", "payments or refunds without an amount"),
        (left_out.backwards, "duration below zero (a clock went back)", "durations below zero (a clock went back)"),
        (left_out.unknown_events, "event of a type this version does not know", "events of types this version does"
         " not know"),
        (left_out.crowded_events, "event of attempts with too many", "events of attempts with too many"),
        (left_out.too_old, "change to an attempt that was pruned", "changes to attempts that were pruned"),
    ]  # fmt: skip
    words = [counted(count, one, many) for count, one, many in found if count]
    if left_out.own_unmatched:
        words.append(f"no payer of {', '.join(left_out.own_unmatched)}, because payers are kept under a hash")
    if left_out.pruned_events:
        words.append("events that were pruned before any report had read them (their number is not known)")
    return words
