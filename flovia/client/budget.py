"""How much an agent may spend: per payment, per host, per time window and in all, across calls.

Money is set aside *before* the wallet is asked (:meth:`Budget.reserve`), in one atomic step, so that calls
at the same time cannot spend the same money. Afterwards it is committed, or refunded where it is certain
that nothing was paid. What is neither (a crash, an unknown outcome) stays reserved and counts as spent.

The books are an SQLite database, in memory or in a file that several processes share.
"""

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final, cast

from flovia.client.errors import BudgetExceeded, PolicyViolation
from flovia.core.errors import CallerError, WiringError
from flovia.core.money import Price
from flovia.database_file import ensure_file

KEEP_S: Final = 31 * 86400.0
"""Single payments are listed at least this long (and a whole window); totals are kept for ever."""

LOCK_WAIT_S: Final = 10.0
"""How long to wait for other processes at the file before giving up, with nothing reserved."""

_VERSION: Final = 1
_SCHEMA: Final = (
    "CREATE TABLE setting (name TEXT PRIMARY KEY, value NOT NULL)",
    """CREATE TABLE payment (reference TEXT PRIMARY KEY, host TEXT NOT NULL, amount INTEGER NOT NULL,
        reserved_at REAL NOT NULL, committed INTEGER NOT NULL DEFAULT 0)""",
    "CREATE INDEX payment_reserved_at ON payment (reserved_at)",
    # A host's total, or with host '' that of all: what a window does not need to be counted again.
    "CREATE TABLE total (host TEXT PRIMARY KEY, amount INTEGER NOT NULL)",
    f"PRAGMA user_version = {_VERSION}",
)


class Budget:
    """A spending limit in one currency. Payments in any other currency are refused.

    ``limit`` (``"5.00 SGD"``): at most this within any ``window_s`` seconds, or at all if there is no
    window. ``per_payment``: at most this at once. ``per_host``: at most this for one host name, in the same
    window. ``lifetime``: at most this in all, whatever the window. The limits are those of this object; what
    was spent is in the books.

    ``path``: keep the books in this file (made with mode 0600) and share them with every process that names
    it; it must be on a local disk. Without it they are in memory, for this process alone. ``clock`` gives
    Unix seconds.

    Raises:
        WiringError: an unreadable amount, limits in several currencies, or a file that cannot be used.
    """

    def __init__(
        self,
        limit: str | Price,
        *,
        per_payment: str | Price | None = None,
        per_host: str | Price | None = None,
        window_s: float | None = None,
        lifetime: str | Price | None = None,
        path: str | Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.limit = _price(limit)
        self.currency = self.limit.currency
        self.per_payment = self._same_currency("per_payment", per_payment)
        self.per_host = self._same_currency("per_host", per_host)
        self.lifetime = self._same_currency("lifetime", lifetime)
        if window_s is not None and not window_s > 0:
            raise WiringError(f"Budget(window_s={window_s!r}): give the seconds of the window, more than 0")
        self.window_s = window_s
        self.path = None if path is None else Path(path)
        self._clock = clock
        self._lock = threading.Lock()
        self._pid = os.getpid()
        if self.path is None:
            self._memory: sqlite3.Connection | None = _connect(":memory:")
            # Closed when the budget goes: Python 3.13 warns about connections that nobody closes.
            weakref.finalize(self, self._memory.close)
        else:
            self._memory = None
            self._make_file(self.path)
        with self._books() as books:
            self._prepare(books)

    def __repr__(self) -> str:
        return f"<Budget {self.limit}, books in {self.path or 'memory'}>"

    @property
    def blocking(self) -> bool:
        """True if the books are in a file, so that every operation may wait for the disk."""
        return self.path is not None

    def reserve(self, reference: str, host: str, price: Price) -> None:
        """Set ``price`` aside for a payment to ``host``, known from now on by ``reference``. All or nothing.

        Raises:
            PolicyViolation: rule ``currency``: the price is in another one.
            BudgetExceeded: a limit does not allow it.
            CallerError: the reference is taken.
            WiringError: the file cannot be used now. In each case nothing was reserved.
        """
        self.check(host, price)
        now = self._clock()
        with self._books() as books:
            spent = self._spent(books, "", now)
            if self.per_host is not None:
                self._allow("per_host", host, price, self.per_host, self._spent(books, host, now))
            self._allow("limit", host, price, self.limit, spent)
            if self.lifetime is not None:
                self._allow("lifetime", host, price, self.lifetime, _total(books, ""))
            try:
                books.execute(
                    "INSERT INTO payment (reference, host, amount, reserved_at) VALUES (?, ?, ?, ?)",
                    (reference, host, price.amount, now),
                )
            except sqlite3.IntegrityError:
                raise CallerError(f"reference {reference!r} is already reserved: use a new one per payment") from None
            _add(books, host, price.amount)
            self._forget_old(books, now)

    def check(self, host: str, price: Price) -> None:
        """Whether this budget could ever allow a payment of ``price`` to ``host``; reserves nothing.

        Raises:
            PolicyViolation, BudgetExceeded: as :meth:`reserve`.
        """
        if price.currency != self.currency:
            raise PolicyViolation(
                f"{host} asks for {price}, but the budget is in {self.currency.upper()}:"
                " nothing was paid. Use a budget in the server's currency if you want to pay it",
                rule="currency",
            )
        if self.per_payment is not None:
            self._allow("per_payment", host, price, self.per_payment, 0)

    def commit(self, reference: str) -> None:
        """Note that the payment was made. It counts as before; an unknown reference is ignored."""
        with self._books() as books:
            books.execute("UPDATE payment SET committed = 1 WHERE reference = ?", (reference,))

    def refund(self, reference: str) -> None:
        """Give back what was reserved, because certainly nothing was paid. Committed payments stay."""
        with self._books() as books:
            row = books.execute(
                "SELECT host, amount FROM payment WHERE reference = ? AND committed = 0", (reference,)
            ).fetchone()
            if row:
                host, amount = cast("tuple[str, int]", row)
                books.execute("DELETE FROM payment WHERE reference = ?", (reference,))
                _add(books, host, -amount)

    def spent(self, host: str | None = None) -> int:
        """Base units spent or reserved in the current window (or ever), for one host or for all."""
        with self._books() as books:
            return self._spent(books, host or "", self._clock())

    def left(self) -> int:
        """Base units that could still be spent now, leaving the limits per payment and per host aside."""
        with self._books() as books:
            left = self.limit.amount - self._spent(books, "", self._clock())
            if self.lifetime is not None:
                left = min(left, self.lifetime.amount - _total(books, ""))
        return max(left, 0)

    def _same_currency(self, name: str, amount: str | Price | None) -> Price | None:
        if amount is None:
            return None
        price = _price(amount)
        if price.currency != self.currency:
            raise WiringError(
                f"Budget({name}={str(price)!r}) is not in {self.currency.upper()} like the limit:"
                " a budget has one currency; use one budget per currency"
            )
        return price

    def _allow(self, name: str, host: str, price: Price, limit: Price, spent: int) -> None:
        left = limit.amount - spent
        if price.amount > left:
            raise BudgetExceeded(
                f"{price} for {host} is more than the budget's {name} of {limit} allows"
                f" ({_left(left, self.currency)}): nothing was paid. Raise {name},"
                " wait for the window to pass, or do without",
                limit=name,
                needed=price.amount,
                left=max(left, 0),
                currency=self.currency,
            )

    def _spent(self, books: sqlite3.Connection, host: str, now: float) -> int:
        if self.window_s is None:
            return _total(books, host)
        row = books.execute(
            # What lies ahead of a clock that was set back still counts.
            "SELECT COALESCE(SUM(amount), 0) FROM payment WHERE reserved_at > ? AND ? IN ('', host)",
            (now - self.window_s, host),
        ).fetchone()
        return cast(int, row[0])

    def _forget_old(self, books: sqlite3.Connection, now: float) -> None:
        kept = books.execute("SELECT value FROM setting WHERE name = 'keep_s'").fetchone()
        books.execute("DELETE FROM payment WHERE reserved_at < ?", (now - cast(float, kept[0]),))

    # --- the database ------------------------------------------------------------------------------------

    @contextmanager
    def _books(self) -> Generator[sqlite3.Connection]:
        """The database inside a write transaction, so that reading and deciding are one step."""
        try:
            with self._connection() as books:
                books.execute("BEGIN IMMEDIATE")
                try:
                    yield books
                except BaseException:
                    with suppress(sqlite3.Error):  # SQLite has rolled back by itself when the disk is full
                        books.execute("ROLLBACK")
                    raise
                books.execute("COMMIT")
        except sqlite3.Error as error:
            raise WiringError(
                f"the budget's books ({self.path or 'memory'}) cannot be used: {error}. Nothing was changed."
                " Check that the file is a budget's, on a local disk, writable and not full"
            ) from error

    @contextmanager
    def _connection(self) -> Generator[sqlite3.Connection]:
        if self._memory is None:
            # One connection per operation: nothing to share between threads or to carry through a fork.
            with closing(_connect(str(self.path))) as books:
                yield books
            return
        if os.getpid() != self._pid:
            raise WiringError(
                "this budget is in the memory of another process, so its limits would count twice:"
                " give it a file that the processes share, Budget(…, path=…)"
            )
        with self._lock:
            yield self._memory

    def _make_file(self, path: Path) -> None:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            ensure_file(path, create=True)
        except OSError as error:
            raise WiringError(
                f"the budget's file {path} cannot be made: {error.strerror}. Name a writable path on a local disk"
            ) from error

    def _prepare(self, books: sqlite3.Connection) -> None:
        (version,) = cast("tuple[int]", books.execute("PRAGMA user_version").fetchone())
        if version == 0:
            if books.execute("SELECT 1 FROM sqlite_master").fetchone():
                raise WiringError(f"{self.path} is another program's database: use a file of its own for a budget")
            for statement in _SCHEMA:
                books.execute(statement)
        elif version != _VERSION:
            raise WiringError(f"{self.path} was written by another version of flovia: use a new file")
        keep_s = max(KEEP_S, self.window_s or 0.0)
        books.execute("INSERT OR IGNORE INTO setting VALUES ('currency', ?)", (self.currency,))
        books.execute("INSERT OR IGNORE INTO setting VALUES ('keep_s', ?)", (keep_s,))
        books.execute("UPDATE setting SET value = max(value, ?) WHERE name = 'keep_s'", (keep_s,))
        (currency,) = cast("tuple[str]", books.execute("SELECT value FROM setting WHERE name = 'currency'").fetchone())
        if currency != self.currency:
            raise WiringError(
                f"{self.path} holds a budget in {currency.upper()}, this one is in {self.currency.upper()}:"
                " use one file per currency"
            )


def _left(amount: int, currency: str) -> str:
    return f"{Price(amount=amount, currency=currency)} is left" if amount > 0 else "nothing is left"


def _price(amount: str | Price) -> Price:
    return amount if isinstance(amount, Price) else Price.parse(amount)


def _connect(database: str) -> sqlite3.Connection:
    books = sqlite3.connect(
        database,
        timeout=LOCK_WAIT_S,
        isolation_level=None,  # transactions are begun by hand
        check_same_thread=False,  # the connection in memory is used under a lock
    )
    try:
        books.execute("PRAGMA synchronous = FULL")
    except sqlite3.Error:
        books.close()
        raise
    return books


def _total(books: sqlite3.Connection, host: str) -> int:
    row = books.execute("SELECT amount FROM total WHERE host = ?", (host,)).fetchone()
    return cast(int, row[0]) if row else 0


def _add(books: sqlite3.Connection, host: str, amount: int) -> None:
    for scope in {host, ""}:
        books.execute(
            """INSERT INTO total VALUES (?, ?)
                ON CONFLICT (host) DO UPDATE SET amount = amount + excluded.amount""",
            (scope, amount),
        )
