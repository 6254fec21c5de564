"""What integrity and pricing have to say, counted from the truth, and whether what was planted is found."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from tests.world.counting import Question, Row, counted, groups, share, wilson
from tests.world.matching import Fits, Near
from tests.world.plan import MARKETS
from tests.world.truth import Story, Truth

LEAST_SAMPLE: Final = 100
PENDING_MS: Final = 300_000
STATES: Final = {
    "delivered": "paid_and_delivered",
    "undelivered": "paid_not_delivered",
    "exhausted": "paid_not_delivered",
    "failed_due": "paid_not_delivered",
    "unknown": "pending",
    "refunded": "refunded",
    "partly_refunded": "refunded",
    "price_risen": "underpaid",
    "late": "late",
    "paid_twice": "duplicate",
    "unpresented": "unmatched_payment",
}
"""The reconciliation state of each fate that money had."""
ALL_STATES: Final = (
    *("paid_and_delivered", "paid_not_delivered", "pending", "expired", "late", "duplicate", "underpaid", "overpaid"),
    *("unmatched_payment", "request_without_payment", "refunded", "explained"),
)
NEEDS_SOMEBODY: Final = {
    "undelivered": "paid, not delivered yet",
    "exhausted": "paid, every delivery failed",
    "failed_due": "paid, delivery failed, refund due",
    "unknown": "payment outcome unknown",
    "price_risen": "payment came after the price had risen, refund due",
    "late": "payment came too late, refund due",
    "paid_twice": "paid twice, refund due",
    "unpresented": "paid and not presented, refund due",
    "mismatched": "payment did not match the price, refund due",
}
"""The fates that are in the queue, and in which words."""


def key_of(story: Story) -> str:
    """The name of an attempt whose challenge somebody answered, or of money that no request brought."""
    return f"p|{story.provider}||{story.payment_id}" if story.kind == "money" else f"c|{story.challenge_id}"


def state(story: Story, now: int) -> str:
    """How payment and request agree, whatever somebody said about it. ``now``: ms since 1970."""
    if story.kind == "turned_away":
        return "request_without_payment"
    if story.fate in ("not_paid", "not_accepted"):
        return "pending" if story.at >= now - PENDING_MS else "expired"
    if story.fate == "mismatched":
        if story.came_in != story.currency:
            return "unmatched_payment"
        return "underpaid" if (story.came or 0) < (story.price or 0) else "overpaid"
    return STATES[story.fate]


def states(truth: Truth, question: Question) -> Row:
    """How many of each state."""
    stories = [story for story in counted(truth, question) if story.kind != "probe"]
    found = Counter("explained" if story.explained else state(story, truth.now) for story in stories)
    return {name: found[name] for name in ALL_STATES}


def queue(truth: Truth, question: Question) -> list[Row]:
    """What needs somebody."""
    stories = [story for story in counted(truth, question) if story.kind in ("attempt", "money")]
    due = [story for story in stories if story.fate in NEEDS_SOMEBODY and not story.explained]
    return [_waiting(story, truth.now) for story in due]


def _waiting(story: Story, now: int) -> Row:
    ids: object = [ask.id for ask in story.asks]
    if story.kind == "money":
        ids = Fits("the id of a notice", lambda found: len(found) == 1 and found[0].startswith("webhook_"))
    amount = story.price if story.came is None else story.came
    name = story.payment_id or story.challenge_id or ""
    command = "flovia ledger reconcile" if story.fate == "unknown" else name
    # No command has the world's own bank, and the reports, unlike the queue itself, know that.
    told = (command, name) if story.provider == "bank" else (command,)
    return {
        "state": state(story, now),
        "insight": NEEDS_SOMEBODY[story.fate],
        "at": story.at / 1000,
        "endpoint": story.endpoint,
        "provider": story.provider,
        "rail": "mpp",
        "challengeId": story.challenge_id,
        "paymentId": story.payment_id,
        "requestIds": ids,
        "price": None if story.price is None else str(story.price),
        "priceCurrency": story.currency,
        "amount": str(amount),
        "currency": story.came_in or story.currency,
        "problem": story.problem,
        "remedy": Fits(f"a text with {' or '.join(told)}", lambda found: any(one in found for one in told)),
        "attemptId": key_of(story),
    }


# --- pricing ------------------------------------------------------------------------------------------------------


def pricing(truth: Truth, question: Question) -> list[Row]:
    """What each price brought; of the advice what can be said without the planted demand.

    When a price was last shown, probes and the shop's own payers tell, too.
    """
    shown = {"attempt", "probe"}
    asked = [one for one in truth.stories if question.near(one) and (question.test or one.provider != "mock")]
    priced = [story for story in asked if story.price is not None and story.kind in shown]
    rows: list[Row] = []
    for (endpoint, currency), found in groups(priced, lambda story: (story.endpoint, story.currency)).items():
        prices = [
            _price(price, these, question) for (price,), these in groups(found, lambda story: (story.price,)).items()
        ]
        prices = sorted((row for row in prices if row["attempts"]), key=lambda row: int(str(row["price"])))
        if not prices:
            continue
        current = max(prices, key=lambda row: (str(row.pop("counted at")), int(str(row["price"]))))
        rows.append(
            {
                "endpoint": endpoint,
                "rail": "mpp",
                "currency": currency,
                "prices": prices,
                "current": current["price"],
                **_advice(prices, current),
            }
        )
    return rows


def _price(price: object, shown: Iterable[Story], question: Question) -> Row:
    found = [*shown]
    seen = [story for story in found if story.kind == "attempt" and question.counts(story)]
    paid = sum(story.paid_at is not None for story in seen)
    each = int(str(price))
    low, high = wilson(paid, len(seen)) if seen else (0.0, 0.0)
    most = max(shown_at(story) for story in found)
    return {
        "price": str(price),
        "attempts": len(seen),
        "paid": share(paid, len(seen)),
        "revenuePerAttempt": Near(each * paid / len(seen)) if seen else None,
        "low": Near(each * low, least=1e-6),
        "high": Near(each * high, least=1e-6),
        "shownAt": most / 1000,
        "counted at": most,
    }


def shown_at(story: Story) -> int:
    """When its price was shown."""
    return story.at if story.shown_at is None else story.shown_at


def _advice(prices: Sequence[Row], current: Row) -> Row:
    """Nothing without a sample; with one price, to try another; else whatever follows from one of the others."""
    big = [row for row in prices if int(str(row["attempts"])) >= LEAST_SAMPLE]
    words: Row = {"reason": Fits("a reason", lambda found: isinstance(found, str) and len(found) > 20)}
    none: Row = dict.fromkeys(("to", "gain", "gainLow", "gainHigh"))
    if current not in big:
        return words | none | {"advice": None}
    if len(big) == 1:
        return words | none | {"advice": "test"}
    others = [_value(row) - _value(current) for row in big if row is not current]
    known = {str(row["price"]) for row in big if row is not current}
    return words | {
        "advice": Fits("an advice", lambda found: found in ("raise", "lower", "leave", "test")),
        "to": Fits("another price that enough have seen", lambda found: found is None or found in known),
        "gain": Fits("the difference to it", lambda found: any(Near(one).fits(found) for one in others)),
        "gainLow": Fits("a number", lambda found: isinstance(found, float)),
        "gainHigh": Fits("a number", lambda found: isinstance(found, float)),
    }


def _value(row: Row) -> float:
    near = row["revenuePerAttempt"]
    return near.value or 0.0 if isinstance(near, Near) else 0.0


def planted(rows: Iterable[Mapping[str, object]]) -> tuple[list[tuple[str, bool]], list[tuple[str, bool]]]:
    """Whether the planted demand is found: what has to be so, and which intervals hold what was planted.

    An interval with 95 % confidence misses now and then, so of many a few may.
    """
    advised: list[tuple[str, bool]] = []
    held: list[tuple[str, bool]] = []
    by_endpoint = {str(row["endpoint"]): row for row in rows}
    for market in MARKETS:
        row = by_endpoint[market.endpoint]
        current = int(str(row["current"]))
        best = current if row["advice"] == "leave" else int(str(row["to"] or 0))
        sides: dict[str, Callable[[int, int], bool]] = {
            "raise": lambda one, other: one > other,
            "lower": lambda one, other: one < other,
            "leave": lambda one, other: one == other,
        }
        fits = str(row["advice"]) in sides and sides[str(row["advice"])](market.best, current)
        advised.append((f"{market.endpoint}: the advice leads to {market.best}", best == market.best and fits))
        if row["to"] is not None:
            gain = market.brings(best) - market.brings(current)
            held.append((f"{market.endpoint}: gain", _inside(row["gainLow"], gain, row["gainHigh"])))
        prices = row["prices"]
        assert isinstance(prices, list)
        for one in prices:
            price = int(str(one["price"]))
            if price in market.prices:
                inside = _inside(one["low"], market.brings(price), one["high"])
                held.append((f"{market.endpoint}: an attempt at {price}", inside))
    return advised, held


def _inside(low: object, value: float, high: object) -> bool:
    return isinstance(low, float) and isinstance(high, float) and low <= value <= high
