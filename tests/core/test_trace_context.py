"""Request ids from W3C trace context: what becomes one, and that nobody can make two requests share theirs."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.propagate import extract

import flovia
from flovia.core.events import Event
from flovia.core.http import Headers
from flovia.core.trace_context import request_id, trace_of
from flovia.insights.join import CONVERTED, NOT_PAID, join
from tests.otel.sdk import SECRET, paying, request

TRACE, SPAN, TOKEN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "k3JtQ2-x_token-of-a-test"
hexadecimal = st.text("0123456789abcdef", min_size=1)


def of(value: str) -> str:
    """The id of a request with this traceparent."""
    return request_id(Headers.of([("traceparent", value)]), TOKEN)


@pytest.mark.parametrize(
    "value", [f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00", f"01-{TRACE}-{SPAN}-03-what-comes-later"]
)
def test_valid(value: str) -> None:
    """Trace id, parent id and a token of our own; of a later version what is known of it."""
    assert f"{TRACE}-{SPAN}-{TOKEN}" == of(value)
    assert (int(TRACE, 16), int(SPAN, 16)) == trace_of(of(value))


@pytest.mark.parametrize(
    "value",
    [
        "",
        f"{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01 ",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}0-01",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0g",
        f"01-{TRACE}-{SPAN}-01x",
        f"01-{TRACE}-{SPAN}-01-{'x' * 600}",
        f"00-{TRACE[:-1]}١-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01, 00-{TRACE}-{SPAN}-01",
    ],
)
def test_invalid(value: str) -> None:
    """Anything else is as if it were not there."""
    assert f"req_{TOKEN}" == of(value)
    assert trace_of(of(value)) is None


def test_two_of_them() -> None:
    """Two traceparents are none: who sent which is not known."""
    twice = Headers.of([("traceparent", f"00-{TRACE}-{SPAN}-01"), ("traceparent", f"00-{TRACE}-{SPAN}-00")])
    assert f"req_{TOKEN}" == request_id(twice, TOKEN)


@given(
    st.one_of(
        st.text(),
        st.builds("-".join, st.lists(hexadecimal, max_size=5)),
        st.builds(
            "{}-{}-{}-{}".format, *(st.text("0123456789abcdefg", min_size=n, max_size=n) for n in (2, 32, 16, 2))
        ),
    )
)
def test_as_the_api_reads_it(value: str) -> None:
    """What OpenTelemetry's own propagator takes for valid gives the same ids, and nothing else gives any."""
    theirs = trace.get_current_span(extract({"traceparent": value})).get_span_context()
    found = of(value)
    if theirs.is_valid and value == value.strip():
        assert f"{theirs.trace_id:032x}-{theirs.span_id:016x}-{TOKEN}" == found
    else:
        assert set(found) <= {*string.ascii_letters, *string.digits, "-", "_"}
        assert found.endswith(TOKEN)


def open_shop(**settings: object) -> flovia.Flovia:
    """A Flovia without telemetry."""
    given = {"provider": "mock", "price": "1.00 USD", "ledger": "memory://", **settings}
    return flovia.Flovia(secret=SECRET, public_origin="https://api.example.com", **given)  # type: ignore[arg-type]


def test_a_client_that_repeats_one(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever sends the same traceparent with all their requests gets ids of one trace, all different."""
    flo = open_shop()
    gate, field = flo.paid_api(), ("traceparent", f"00-{TRACE}-{SPAN}-01")
    found = [gate.enter(request(field)).trace.request_id for _ in range(100)]
    assert 100 == len(set(found))
    assert {f"{TRACE}-{SPAN}-"} == {one[:50] for one in found}


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0, 1, 2])), min_size=1, max_size=6))
def test_the_join_is_not_damaged(attempts: list[tuple[bool, int]]) -> None:
    """Attempts of clients that share, forge or lack a traceparent are joined as if each had its own."""
    flo = open_shop()
    gate = flo.paid_api(name="r")
    parents = [[], [("traceparent", f"00-{TRACE}-{SPAN}-01")], [("traceparent", f"00-{TRACE}-{'b' * 16}-00")]]
    for number, (pays, which) in enumerate(attempts):
        unpaid = gate.enter(request(*parents[which]))
        if pays:
            passage = gate.enter(request(paying(unpaid.response, f"ok-test-{number}"), *parents[which]))
            passage.start(200, flovia.Headers.of([]))
            gate.leave(passage, completed=True)
    flo.ledger.flush()
    events: list[Event] = [event for _, event in flo.ledger.read_events(limit=1000)]
    joined = join(events)
    assert [CONVERTED if pays else NOT_PAID for pays, _ in attempts] == [one.insight for one in joined]
    assert [1 + pays for pays, _ in attempts] == [len(one.request_ids) for one in joined]
    assert len(events) == len({event.id for event in events})
