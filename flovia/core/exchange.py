"""The two state machines of flovia, as tables. Every rule about what may follow what lives here.

* ``EXCHANGE``: one HTTP request on a guarded route.
* ``PAYMENT``: one challenge id, over all the requests that mention it. Ledgers keep this state.

Each table maps a state to the verbs possible there and the state each leads to. A verb that is not
listed raises :class:`~flovia.core.errors.IllegalTransition` and changes nothing. ``diagram`` draws a
table for the docs, so that the picture cannot drift from the rules.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from flovia.core.errors import IllegalTransition

Table = Mapping[str, Mapping[str, str]]

# --- states of an exchange -------------------------------------------------------------------------
RECEIVED: Final = "received"
PASSED: Final = "passed"
CHALLENGED: Final = "challenged"
REFUSED: Final = "refused"
ADMITTED: Final = "admitted"
OBSERVED: Final = "observed"
DELIVERED: Final = "delivered"
FAILED: Final = "failed"
WITHHELD: Final = "withheld"
REPLAYED: Final = "replayed"

# --- states of a payment (DELIVERED is shared) -------------------------------------------------------
ISSUED: Final = "issued"
CLAIMED: Final = "claimed"
PARKED: Final = "parked"
SETTLED: Final = "settled"
DELIVERING: Final = "delivering"
EXPIRED: Final = "expired"
REFUNDED: Final = "refunded"


def _frozen(table: dict[str, dict[str, str]]) -> Table:
    return MappingProxyType({state: MappingProxyType(verbs) for state, verbs in table.items()})


EXCHANGE: Final[Table] = _frozen(
    {
        RECEIVED: {
            "pass": PASSED,  # not a payable request (OPTIONS)
            "challenge": CHALLENGED,  # 402 with a challenge
            "refuse": REFUSED,  # any other answer of the gate itself, never with a challenge
            "admit": ADMITTED,  # settled: the handler runs
            "observe": OBSERVED,  # the handler has its own gate
            "replay": REPLAYED,  # a stored response is sent again
        },
        ADMITTED: {"deliver": DELIVERED, "fail": FAILED},
        OBSERVED: {"deliver": DELIVERED, "withhold": WITHHELD, "fail": FAILED},
        PASSED: {},
        CHALLENGED: {},
        REFUSED: {},
        DELIVERED: {},
        FAILED: {},
        WITHHELD: {},
        REPLAYED: {},
    }
)

PAYMENT: Final[Table] = _frozen(
    {
        ISSUED: {
            "claim": CLAIMED,
            "late": SETTLED,  # money that came too late, or twice: on record, its refund due, never delivered
            "expire": EXPIRED,
        },
        CLAIMED: {
            "settle": SETTLED,
            "release": ISSUED,  # the provider said: not paid
            "park": PARKED,  # the outcome is unknown
            "claim": CLAIMED,  # only after the lease ran out: a new fence, the same nonce
        },
        PARKED: {"claim": CLAIMED},
        SETTLED: {"redeem": DELIVERING, "refund": REFUNDED, "expire": EXPIRED},
        DELIVERING: {
            "deliver": DELIVERED,
            "fail": SETTLED,  # the handler failed, or the client went away
            "redeem": DELIVERING,  # only after the lease ran out
            "refund": REFUNDED,  # given back elsewhere meanwhile; or by us, only after the lease ran out
        },
        DELIVERED: {"refund": REFUNDED},
        EXPIRED: {},
        REFUNDED: {},
    }
)


def step(table: Table, state: str, verb: str) -> str:
    """The state that ``verb`` leads to from ``state``.

    Raises:
        IllegalTransition: the table has no such step.
    """
    try:
        return table[state][verb]
    except KeyError:
        name = "exchange" if table is EXCHANGE else "payment"
        raise IllegalTransition(name, state, verb, tuple(table.get(state, ()))) from None


def sources(table: Table, verb: str) -> tuple[str, ...]:
    """The states in which ``verb`` is possible: what a SQL ledger puts into its WHERE clause."""
    return tuple(state for state, verbs in table.items() if verb in verbs)


def diagram(table: Table) -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", f"    [*] --> {next(iter(table))}"]
    for state, verbs in table.items():
        lines += [f"    {state} --> {target}: {verb}" for verb, target in verbs.items()]
        if not verbs:
            lines.append(f"    {state} --> [*]")
    return "\n".join(lines)
