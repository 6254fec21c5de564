"""Attempts of payers over time, made up by Hypothesis, and written where reports read them."""

import sqlite3
from collections.abc import Collection, Iterable

from hypothesis import strategies as st
from sqlalchemy import delete, select

from flovia.insights.attempt import Attempt
from flovia.insights.schema import ATTEMPTS, STATE
from flovia.insights.session_rows import read_session
from flovia.insights.sessions import Session
from flovia.insights.sessions_schema import CHILDREN, OWNERS, SESSIONS, STALE_LANES
from flovia.insights.store import values_of, write_rows
from tests.insights.folding import Book

ENDPOINTS = ("/find", "/read/{id}", "/buy", "/ähre")
PAYERS = ("did:example:a", "did:example:b", "own:c")


def attempt(
    key: str,
    at: float,
    *,
    payer: str | None = "did:example:a",
    workflow: str | None = None,
    endpoint: str = "/find",
    paid: bool = True,
    delivered: bool = True,
    provider: str | None = "hitpay",
    amount: int | None = 100,
    currency: str | None = "usd",
    refunded: int | None = None,
    wait: float = 0.0,
) -> Attempt:
    """One attempt. ``wait``: seconds from its 402 to its payment."""
    done = at + wait if paid else None
    outcome = "payment refunded" if refunded is not None else "payment converted into paid API demand"
    return Attempt(
        request_id=f"req-{key}",
        request_ids=(f"req-{key}",),
        at=at,
        provider=provider,
        rail="mpp",
        endpoint=endpoint,
        http_method="GET",
        challenge_id=key,
        payment_id=f"pay-{key}" if paid else None,
        amount=amount,
        currency=currency,
        payer=payer,
        recipient=None,
        workflow=workflow,
        response_status=200 if paid else 402,
        latency_ms=5.0,
        insight=outcome if paid else "price shown, not paid",
        refunded=refunded,
        key=f"c|{key}",
        price=amount,
        price_currency=currency,
        challenged_at=at,
        presented_at=done,
        verified_at=done,
        delivered_at=done if delivered else None,
        refunded_at=None if refunded is None else at + 9e5,
        last_at=at,
        requests=1,
        challenges=1,
        presentations=int(paid),
        failures=0,
        probe=False,
        challenge_ms=1.0,
        verify_ms=None,
        handler_ms=None,
        backwards=0,
        problem=None,
        problems=(),
        payment_from=None,
        price_from=None,
        payer_from=None,
        workflow_rule=None if workflow is None else "declared",
    )


@st.composite
def many_attempts(
    draw: st.DrawFn, *, at: st.SearchStrategy[float], max_size: int = 25, least: int = 0
) -> list[Attempt]:
    """Attempts with keys of their own, of few payers, workflows and endpoints, so that they meet."""
    count = draw(st.integers(least, max_size))
    return [draw(one_attempt(str(number), at)) for number in range(count)]


def one_attempt(key: str, at: st.SearchStrategy[float]) -> st.SearchStrategy[Attempt]:
    """An attempt with this key."""
    return st.builds(
        attempt,
        st.just(key),
        at,
        payer=st.sampled_from([None, *PAYERS]),
        workflow=st.sampled_from([None, None, "nightly", "weekly"]),
        endpoint=st.sampled_from(ENDPOINTS),
        paid=st.booleans(),
        delivered=st.booleans(),
        provider=st.sampled_from(["hitpay", "hitpay", "mock", None]),
        amount=st.one_of(st.none(), st.integers(0, 300), st.just(10**20 + 7)),
        currency=st.sampled_from(["usd", "sgd"]),
        refunded=st.one_of(st.none(), st.integers(0, 120)),
        wait=st.sampled_from([0.0, 250.0, 9000.0]),
    )


def put(book: Book, attempts: Iterable[Attempt], gone: Collection[str] = ()) -> None:
    """Write attempts as the fold does, in the place of those with the same keys; those of ``gone`` go."""
    rows = [values_of(one, 1, 1) for one in attempts]
    with book.ledger.database.write() as connection:
        write_rows(connection, {*gone, *(str(row["key"]) for row in rows)}, rows)


def wipe(book: Book) -> None:
    """Nothing is there any more."""
    book.clear()
    with book.ledger.database.write() as connection:
        for table in (*CHILDREN, SESSIONS, STALE_LANES, OWNERS):
            connection.execute(delete(table))
        connection.execute(delete(STATE).where(STATE.c.name.not_in(["version", "cursor"])))
        driver = connection.connection.driver_connection
    if isinstance(driver, sqlite3.Connection):  # hundreds of examples, and none that has to survive
        driver.execute("PRAGMA synchronous=OFF")


def stored(book: Book) -> list[Session]:
    """The sessions that are kept, oldest first."""
    with book.ledger.database.write() as connection:
        rows = connection.execute(select(SESSIONS)).all()
        found = [read_session(connection, row) for row in rows]
    return sorted(found, key=lambda one: (one.started_at, one.key))


def members(book: Book) -> dict[str, str]:
    """The session of each attempt that is in one."""
    rows = book.ledger.database.query(select(ATTEMPTS.c.key, ATTEMPTS.c.session), {})
    return {str(key): str(session) for key, session in rows if session is not None}
