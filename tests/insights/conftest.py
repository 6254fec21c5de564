"""Ledgers to fold."""

from collections.abc import Generator
from contextlib import closing

import pytest

from tests.insights.folding import Book
from tests.postgres.server import Server


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Generator[Book]:
    """A ledger in a file, for all tests of a module; each clears it."""
    found = Book.open(f"sqlite:///{tmp_path_factory.mktemp('book')}/ledger.db")
    with closing(found.ledger):
        yield found


@pytest.fixture
def both(request: pytest.FixtureRequest, book: Book) -> Generator[Book]:
    """The same, and in PostgreSQL, with nothing in it."""
    if request.param == "sqlite":
        book.clear()
        yield book
        return
    server: Server = request.getfixturevalue("postgres")
    found = Book.open(server.url(server.database(request.getfixturevalue("ledger_template"))))
    with closing(found.ledger):
        yield found
