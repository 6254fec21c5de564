"""A payment that a person makes redeemable again, in a file and in PostgreSQL."""

from contextlib import closing

from flovia.core.exchange import SETTLED
from flovia.ledger.history import look_up
from flovia.ledger.opening import open_ledger
from flovia.ledger.reopening import FOR_S, reopen
from flovia.ledger.sql import SqlLedger
from flovia.testing.ledger_steps import DAY_S, KEY, ManualClock, claim, settle


def test_its_row_tells_when(url: str) -> None:
    """Who looks the payment up sees what it is now, since when, and until when it redeems."""
    clock = ManualClock()
    with closing(open_ledger(url, clock=clock)) as ledger:
        assert isinstance(ledger, SqlLedger)
        fence = claim(ledger, clock).fence
        assert "settled" == settle(ledger, clock, fence)
        clock.advance(30 * DAY_S)
        assert "reopened" == reopen(ledger, KEY, ()).outcome
        (row,) = look_up(ledger.database, KEY).payments
        assert (SETTLED, fence + 1, 0) == (row["state"], row["fence"], row["deliveries"])
        assert (clock(), clock() + FOR_S) == (row["updated_at"], row["keep_until"])
