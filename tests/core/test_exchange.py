"""The two transition tables, and that they are the whole truth."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flovia.core import exchange
from flovia.core.errors import IllegalTransition
from flovia.core.exchange import EXCHANGE, PAYMENT, diagram, sources, step

TABLES = {"exchange": EXCHANGE, "payment": PAYMENT}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_tables_are_closed(table: exchange.Table) -> None:
    """Every state that a verb leads to has a row of its own, and every row can be reached."""
    targets = {target for verbs in table.values() for target in verbs.values()}
    assert targets <= set(table)
    assert set(table) == targets | {next(iter(table))}


# Ledgers and events keep these words: another spelling of one is another state.
STEPS = {
    "exchange": """
        received pass passed; received challenge challenged; received refuse refused; received admit admitted;
        received observe observed; received replay replayed;
        admitted deliver delivered; admitted fail failed;
        observed deliver delivered; observed withhold withheld; observed fail failed
    """,
    "payment": """
        issued claim claimed; issued late settled; issued expire expired;
        claimed settle settled; claimed release issued; claimed park parked; claimed claim claimed;
        parked claim claimed;
        settled redeem delivering; settled refund refunded; settled expire expired;
        delivering deliver delivered; delivering fail settled; delivering redeem delivering; delivering refund refunded;
        delivered refund refunded
    """,
}


@pytest.mark.parametrize("name", TABLES)
def test_the_steps(name: str) -> None:
    """Each machine has these steps and no other; where a state has none it is an end."""
    steps = [tuple(text.split()) for text in STEPS[name].split(";")]
    table = TABLES[name]
    assert steps == [(state, verb, end) for state, verbs in table.items() for verb, end in verbs.items()]
    assert {end for _, _, end in steps} - {state for state, _, _ in steps} == {
        s for s, verbs in table.items() if not verbs
    }
    for state, verb, end in steps:
        assert end == step(table, state, verb)


@given(
    st.sampled_from(sorted(TABLES)),
    st.sampled_from(sorted({*EXCHANGE, *PAYMENT, "nowhere"})),
    st.sampled_from(sorted({verb for t in TABLES.values() for verbs in t.values() for verb in verbs} | {"fly"})),
)
def test_illegal_is_loud_and_says_everything(name: str, state: str, verb: str) -> None:
    """A step is in the table or raises an error that names table, state, verb and what is possible."""
    table = TABLES[name]
    allowed = table.get(state, {})
    if verb in allowed:
        assert allowed[verb] == step(table, state, verb)
    else:
        with pytest.raises(IllegalTransition) as caught:
            step(table, state, verb)
        assert (name, state, verb) == (str(caught.value).split(":")[0], caught.value.state, caught.value.verb)
        assert all(possible in str(caught.value) for possible in allowed)


def test_tables_cannot_be_changed() -> None:
    """The rules are constants."""
    with pytest.raises(TypeError):
        PAYMENT["issued"]["deliver"] = "delivered"  # type: ignore[index]  # that it is refused is the point
    with pytest.raises(TypeError):
        PAYMENT["delivered"] = {"fail": "settled"}  # type: ignore[index]


def test_money_is_never_forgotten() -> None:
    """No verb leads from settled back to a state that could be paid again, and unknown only leads to another try."""
    assert {exchange.DELIVERING, exchange.REFUNDED, exchange.EXPIRED} == set(PAYMENT[exchange.SETTLED].values())
    assert {"claim": exchange.CLAIMED} == PAYMENT[exchange.PARKED]
    assert ("delivering",) == sources(PAYMENT, "deliver")


def test_diagram_shows_every_step() -> None:
    """The drawing has one line a step and marks the ends."""
    text = diagram(PAYMENT)
    assert "stateDiagram-v2\n    [*] --> a\n    a --> b: go\n    b --> [*]" == diagram({"a": {"go": "b"}, "b": {}})
    assert ["stateDiagram-v2", "    [*] --> issued"] == text.splitlines()[:2]
    assert "    claimed --> parked: park" in text.splitlines()
    assert sum(len(verbs) for verbs in PAYMENT.values()) == text.count(": ")
    assert "    refunded --> [*]" in text.splitlines()
