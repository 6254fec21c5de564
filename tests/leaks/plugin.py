"""A test fails if a secret stands in anything that was produced while it ran.

Looked at are: what is logged (flovia at DEBUG), what is printed, by the test's own process and by those it starts, the
events that are written, the sandbox's journal, reprs, errors, and log files and ledgers in the test's folder. What
several tests share (a server of a module) is looked at with the last of them. Under pytest-xdist each worker looks at
what its own tests produce.
"""

from collections.abc import Generator
from typing import Final

import pytest

from tests.leaks.allowed import ALLOWED
from tests.leaks.search import Known, forms, shown
from tests.leaks.spies import AT_MOST, LONGEST, Spies, as_text, in_folder, in_ledger


class Watch:
    """What was produced since the last look."""

    def __init__(self) -> None:
        self.known = Known()
        self.spies = Spies(self.known, self.record)
        self.module: object = None
        self.texts: dict[str, list[str]] = {}
        self.looked_at = 0
        self.characters = 0

    def record(self, channel: str, text: str) -> None:
        """Take a text. Never raises: it is called in the middle of what is tested."""
        texts = self.texts.setdefault(channel, [])
        if len(texts) < AT_MOST:
            texts.append(text[:LONGEST])

    def look(self, allowed: frozenset[str]) -> list[str]:
        """Search everything; a line for each secret that is seen, without showing it."""
        found: dict[str, None] = {}
        texts, self.texts = self.texts, {}
        for channel, lines in texts.items():
            text = as_text(lines)
            self.looked_at += len(lines)
            self.characters += len(text)
            for what, value in (*forms(text), *self.known.found(text)):
                if what not in allowed and "*" not in allowed:
                    found[f"{channel}: {what} {shown(value)} in {_around(text, value)!r}"] = None
        return list(found)


def _around(text: str, value: str) -> str:
    """The line a secret stands in, up to it."""
    before = text[: text.index(value)].rpartition("\n")[2]
    return before[-160:]


def allowed_in(nodeid: str) -> frozenset[str]:
    """The kinds that a test may show."""
    return frozenset(kind for start, (kinds, _) in ALLOWED.items() if nodeid.startswith(start) for kind in kinds)


WATCH: Final = pytest.StashKey[Watch]()


def pytest_configure(config: pytest.Config) -> None:
    """Begin to watch."""
    config.stash[WATCH] = watch = Watch()
    watch.spies.start()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave the process as it was."""
    if (watch := config.stash.get(WATCH, None)) is not None:
        watch.spies.stop()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Watch a few objects of each class again in each module."""
    watch = item.config.stash[WATCH]
    if (module := item.nodeid.partition("::")[0]) != watch.module:
        watch.module = module
        watch.spies.arm()


# Outermost, so that what is captured while fixtures end is there.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, None, None]:
    """Look at what the test produced, once all that ends with it has ended."""
    yield
    watch = item.config.stash[WATCH]
    # No hook that could still let the test fail is given these.
    for _, kind, text in item._report_sections:
        if kind != "log":
            watch.record("output", text)
    folder = getattr(item, "funcargs", {}).get("tmp_path")
    if folder is not None:
        in_folder(folder, watch.record)
    if nextitem is None or nextitem.nodeid.partition("::")[0] != watch.module:
        for ledger in watch.spies.ledgers:
            in_ledger(ledger, watch.record)
        watch.spies.ledgers.clear()
    if found := watch.look(allowed_in(item.nodeid)):
        pytest.fail("secrets are shown (tests/leaks):\n" + "\n".join(found[:20]), pytrace=False)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say that somebody has looked."""
    watch = config.stash.get(WATCH, None)
    if watch is not None and watch.looked_at:
        terminalreporter.write_line(
            f"secrets: {watch.looked_at} texts, {watch.characters / 1e6:.1f} MB, {len(watch.known)} known values"
        )
