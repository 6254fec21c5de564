"""Rates, and the buckets that keep them."""

from copy import deepcopy

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flovia import Limit, WiringError
from flovia.core.limiter import MAX_CLIENTS, Limiter, Rate, _Buckets


@pytest.mark.parametrize(
    ("text", "count", "seconds"),
    [("60/min", 60, 60.0), ("5/s", 5, 1.0), ("100/10min", 100, 600.0), ("7/2h", 7, 7200.0), ("1/sec", 1, 1.0)],
)
def test_rates(text: str, count: int, seconds: float) -> None:
    """A rate is a count over a span."""
    assert Rate(count=count, seconds=seconds) == Rate.parse(text)


@pytest.mark.parametrize("name", ["challenges", "verifications", "total_challenges", "total_verifications"])
def test_a_limit_is_a_rate_or_its_text(name: str) -> None:
    """Each of the four, and nothing else."""
    rate = Rate(count=60, seconds=60.0)
    limits = (Limit(**{name: "60/min"}), Limit(**{name: rate}), Limit.parse(f"{name}=60/min"))
    assert [rate] * 3 == [getattr(limit, name) for limit in limits]
    assert Limit() == attrs.evolve(limits[0], **{name: None})
    with pytest.raises(WiringError, match="is not a rate"):
        Limit(**{name: 60})


@pytest.mark.parametrize("text", ["", "60", "0/min", "60/", "-1/s", "1.5/s", "60/day", "६/s", "1/0s", "60 / min"])
def test_what_is_no_rate(text: str) -> None:
    """Anything else is refused with the form to use."""
    with pytest.raises(WiringError, match="60/min"):
        Rate.parse(text)


def test_limits_as_one_text() -> None:
    """The environment's form names each limit."""
    limit = Limit.parse("challenges=60/min, total_verifications=9/s")
    assert Limit(challenges="60/min", total_verifications=Rate(count=9, seconds=1.0)) == limit
    for wrong in ("60/min", "posts=1/s", "challenges"):
        with pytest.raises(WiringError, match="challenges"):
            Limit.parse(wrong)
    with pytest.raises(WiringError, match=r"^'60/min=x' is not a rate"):
        Limit.parse("challenges=60/min=x")


def test_a_look_takes_nothing_and_tells_the_whole_wait() -> None:
    """For a client that is new, that has just taken its permit, and that has waited a while; time never goes back."""
    buckets = _Buckets(Rate(count=2, seconds=10.0))
    assert 0.0 == buckets.look("c", 100.0)
    assert [0.0, 0.0, 5.0] == [buckets.take("c", 100.0) for _ in range(3)]
    assert [5.0, 5.0, 2.0, 0.0, 5.0] == [buckets.look("c", now) for now in (100.0, 100.0, 103.0, 105.0, 90.0)]
    assert 0.0 == buckets.look("d", 100.0)


@given(
    st.integers(1, 20),
    st.floats(0.1, 100),
    st.lists(st.floats(0, 30, allow_nan=False), min_size=1, max_size=200),
)
def test_no_span_sees_more_than_burst_and_rate(count: int, seconds: float, gaps: list[float]) -> None:
    """From the start to any moment at most count plus what was refilled is let through."""
    buckets, now, taken = _Buckets(Rate(count=count, seconds=seconds)), 0.0, 0
    for gap in gaps:
        now += gap
        taken += buckets.take("c", now) == 0
        assert taken <= count + now * count / seconds + 1e-6


def test_waiting_as_long_as_told_is_enough() -> None:
    """Retry-After is honest: after that many seconds there is a permit."""
    limiter = Limiter(Limit(challenges="3/10s"))
    assert [0, 0, 0] == [limiter.challenge("c", 0.0) for _ in range(3)]
    wait = limiter.challenge("c", 0.0)
    assert 4 == wait
    assert 0 == limiter.challenge("c", float(wait))


@given(
    st.tuples(st.integers(1, 6), st.integers(1, 40)),
    st.tuples(st.integers(1, 6), st.integers(1, 40)),
    st.lists(st.tuples(st.floats(0, 15, allow_nan=False), st.sampled_from("abc")), min_size=1, max_size=60),
)
def test_the_wait_is_the_true_one(own: tuple[int, int], total: tuple[int, int], asked: list[tuple[float, str]]) -> None:
    """Whatever came before, whichever limit it was: who is told to wait has a permit then, and none a second before."""
    limiter, now = Limiter(Limit(challenges=_rate(own), total_challenges=_rate(total))), 0.0
    for gap, client in asked:
        now += gap
        wait = limiter.challenge(client, now)
        if wait:
            # Look ahead in copies, as if nobody else asked meanwhile.
            assert 0 == deepcopy(limiter).challenge(client, now + wait)
            assert wait == 1 or deepcopy(limiter).challenge(client, now + wait - 1.001)


def _rate(rate: tuple[int, int]) -> Rate:
    return Rate(count=rate[0], seconds=float(rate[1]))


def test_a_bucket_that_was_dropped_meanwhile() -> None:
    """A permit given back to a bucket that is gone is none: the client begins with a full one."""
    buckets = _Buckets(Rate(count=1, seconds=1.0))
    buckets.give_back("c")
    assert 0 == len(buckets._buckets)


def test_total_counts_everybody() -> None:
    """A total limit stops a crowd of different clients; a client over its own limit does not eat into it."""
    limiter = Limiter(Limit(verifications="1/min", total_verifications="2/min"))
    assert [0, 60, 0, 30] == [limiter.verification(client, 0.0) for client in ("a", "a", "b", "c")]
    assert 0 == limiter.challenge("a", 0.0)


def test_a_client_pays_nothing_for_the_crowd() -> None:
    """Who was stopped by the total limit has as many requests of its own left as before, and no more."""
    limiter = Limiter(Limit(challenges="3/h", total_challenges="1/s"))
    assert [0, 1, 1, 1] == [limiter.challenge("a", 0.0) for _ in range(4)]
    assert [0, 0] == [limiter.challenge("a", now) for now in (1.0, 2.0)]
    assert limiter.challenge("a", 3.0) > 1000


def test_a_clock_that_jumps_back_gives_nothing_away() -> None:
    """A clock step backwards neither refills nor breaks a bucket."""
    limiter = Limiter(Limit(challenges="1/min"))
    assert [0, 60, 60] == [limiter.challenge("c", now) for now in (100.0, 100.0, 50.0)]


def test_memory_is_bounded() -> None:
    """However many addresses come by, only so many buckets stay."""
    buckets = _Buckets(Rate(count=1, seconds=1.0))
    for number in range(MAX_CLIENTS + 50):
        buckets.take(str(number), 0.0)
    assert MAX_CLIENTS == len(buckets._buckets)
