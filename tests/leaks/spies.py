"""Where the texts and the secrets come from: what is watched while the tests run.

A class is watched for the first few of its objects in each test module, then its own ``__init__`` is put back: a test
that makes a hundred thousand of them pays for a handful. Modules that nobody has imported are not imported for this.
"""

import contextlib
import functools
import io
import logging
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from tests.leaks.search import Known

Record = Callable[[str, str], None]
"""Takes a text: the channel it came by, and the text."""

SAMPLES: Final = 8
"""Objects of one class whose repr is looked at, in each test module."""
AT_MOST: Final = 400
"""Texts of one channel that are looked at in one test."""
LONGEST: Final = 2_000_000
"""Characters of one text that are looked at."""

ENVIRONMENT: Final = ("FLOVIA_SECRET", "HITPAY_API_KEY", "HITPAY_WEBHOOK_SALT", "HITPAY_API_SALT")

# Loggers of HTTP clients: at DEBUG they show the header fields of what a test itself sends and gets. What flovia
# calls a backend with is kept out of them by flovia, and tested in tests/runtime.
OTHERS: Final = ("httpx", "httpx2", "httpcore", "httpcore2")

SHOWN: Final = {
    "flovia.core.binding": ("Keyring",),
    "flovia.core.challenge": ("Challenge",),
    "flovia.core.credential": ("Credential",),
    "flovia.core.effects": ("ClaimResult", "HttpCall", "HttpReply", "PaymentView", "Remember", "Settle", "Claim"),
    "flovia.core.events": ("Event",),
    "flovia.core.http": ("Headers", "HttpRequest", "HttpResponse"),
    "flovia.core.owed": ("PaidView", "RefundOpening", "OpenRefund", "CloseRefund", "Late", "NoteRefund"),
    "flovia.core.passage": ("Grant", "Passage", "Settled"),
    "flovia.core.provider": ("Adopted", "NotPaid", "Paid", "PaidBack", "Presented", "Quote", "Terms", "Unknown"),
    "flovia.core.refund": ("RefundOrder", "Refunded"),
    "flovia.ledger.rules": ("Order",),
    "flovia.api": ("Flovia", "PaidApi"),
    "flovia.settings": ("Settings",),
    "flovia.client.wallet": ("Payment", "PaidAnswer"),
    "flovia.providers.hitpay.broker": ("Created", "SavedStatus"),
    "flovia.providers.hitpay.config": ("HitPayConfig",),
    "flovia.providers.hitpay.provider": ("HitPayProvider",),
    "flovia.providers.hitpay.store": ("ChargeRecord", "PaidRecord"),
    "flovia.providers.hitpay.wire": ("Asked",),
    "flovia.sandbox.records": ("Charge", "Delivery", "Merchant", "Payment", "Recurring", "SavedMethod"),
    "flovia.signed.claims": ("GrantClaims", "ReceiptClaims"),
}
"""Classes whose reprs people see in tracebacks and logs."""


def _of_keyring(known: Known, made: Any, arguments: tuple[Any, ...]) -> None:
    for secret in arguments[0] if arguments and isinstance(arguments[0], list | tuple) else ():
        known.add("secret", secret)


def _of_config(known: Known, made: Any, arguments: tuple[Any, ...]) -> None:
    known.add("key", made.api_key)
    for salt in (*made.webhook_salts, *made.api_salts):
        known.add("salt", salt)


def _of_merchant(known: Known, made: Any, arguments: tuple[Any, ...]) -> None:
    known.add("salt", made.salt)
    known.add("salt", made.api_salt)


def _of_nonce(known: Known, made: Any, arguments: tuple[Any, ...]) -> None:
    known.add("nonce", made.nonce)


def _of_delivery(known: Known, made: Any, arguments: tuple[Any, ...]) -> None:
    known.add("signature", dict(made.headers).get("hitpay-signature"))


HANDED_OUT: Final = {
    ("flovia.core.binding", "Keyring"): _of_keyring,
    ("flovia.providers.hitpay.config", "HitPayConfig"): _of_config,
    ("flovia.providers.hitpay.store", "ChargeRecord"): _of_nonce,
    ("flovia.core.refund", "RefundOrder"): _of_nonce,
    ("flovia.sandbox.records", "Merchant"): _of_merchant,
    ("flovia.sandbox.records", "Delivery"): _of_delivery,
}
"""What of a new object is a secret; these are watched as long as the tests run."""

Watcher = Callable[[Known, Any, tuple[Any, ...]], None]


class Handler(logging.Handler):
    """Every record of every logger but those of :data:`OTHERS`, with its traceback."""

    def __init__(self, record: Record) -> None:
        super().__init__(logging.NOTSET)
        self.setFormatter(logging.Formatter("%(name)s %(message)s"))
        self._record = record

    def emit(self, record: logging.LogRecord) -> None:
        """Note what a log file would hold."""
        if record.name.partition(".")[0] in OTHERS:
            return
        before, record.exc_text = record.exc_text, None
        try:
            self._record("log", self.format(record))
        except Exception:  # arguments that do not fit are the logger's mistake, told by pytest's own handler
            self._record("log", repr(record.msg))
        finally:
            record.exc_text = before


class Spies:
    """All that is put in place for a session, and taken away at its end."""

    def __init__(self, known: Known, record: Record) -> None:
        self._known = known
        self._record = record
        self._patches = pytest.MonkeyPatch()
        self._armed: dict[type, object] = {}
        self._watched: set[type] = set()
        self._handler = Handler(record)
        self.ledgers: set[Path] = set()

    def start(self) -> None:
        """Watch logs, what processes print and are given, and what tests read of their own output."""
        logging.getLogger().addHandler(self._handler)
        logging.getLogger("flovia").setLevel(logging.DEBUG)
        self._wrap_popen()
        readouterr = pytest.CaptureFixture.readouterr

        @functools.wraps(readouterr)
        def read(fixture: Any) -> Any:
            result = readouterr(fixture)
            for text in result:
                if isinstance(text, str) and text:
                    self._record("output", text)
            return result

        self._patches.setattr(pytest.CaptureFixture, "readouterr", read)

    def stop(self) -> None:
        """Leave everything as it was."""
        self.disarm()
        self._patches.undo()
        logging.getLogger("flovia").setLevel(logging.NOTSET)
        logging.getLogger().removeHandler(self._handler)

    # --- classes ----------------------------------------------------------------------------------------------

    def arm(self) -> None:
        """Watch the classes that are loaded by now, each for a few objects."""
        self.disarm()
        for (module, name), watcher in HANDED_OUT.items():
            found = getattr(sys.modules.get(module), name, None)
            if isinstance(found, type) and found not in self._watched:
                self._watched.add(found)
                self._watch(found, watcher)
        for module, names in SHOWN.items():
            for name in names:
                found = getattr(sys.modules.get(module), name, None)
                if isinstance(found, type):
                    self._sample(found, "repr", repr)
        errors = getattr(sys.modules.get("flovia.core.errors"), "FloviaError", None)
        for error in _family(errors) if isinstance(errors, type) else ():
            if "__init__" in vars(error) or error is errors:
                self._sample(error, "error", lambda made: f"{made} {made!r}")
        if (trace := getattr(sys.modules.get("flovia.core.passage"), "Trace", None)) and trace not in self._watched:
            self._watched.add(trace)
            take = trace.take

            @functools.wraps(take)
            def taken(self_: Any) -> Any:
                rows = take(self_)
                if rows:
                    self._record("event", repr(rows))
                return rows

            self._patches.setattr(trace, "take", taken)
        if (entry := getattr(sys.modules.get("flovia.sandbox.records"), "Entry", None)) and entry not in self._watched:
            self._watched.add(entry)
            self._watch(entry, lambda known, made, arguments: self._record("journal", repr(made)))

    def disarm(self) -> None:
        """Give the classes their own ``__init__`` back."""
        for class_ in list(self._armed):
            self._put_back(class_)

    def _watch(self, class_: type, watcher: Watcher) -> None:
        init = class_.__init__  # type: ignore[misc]  # of the class itself

        @functools.wraps(init)
        def watching(made: Any, *arguments: Any, **named: Any) -> None:
            init(made, *arguments, **named)
            watcher(self._known, made, arguments)

        self._patches.setattr(class_, "__init__", watching)

    def _sample(self, class_: type, channel: str, show: Callable[[Any], str]) -> None:
        own = vars(class_).get("__init__")
        init = class_.__init__  # type: ignore[misc]  # of the class itself
        left = [SAMPLES]

        @functools.wraps(init)
        def sampling(made: Any, *arguments: Any, **named: Any) -> None:
            init(made, *arguments, **named)
            left[0] -= 1
            if left[0] < 0:
                self._put_back(class_)
                return
            with contextlib.suppress(Exception):  # an object of which only a part is there yet
                self._record(channel, show(made))

        self._armed[class_] = own
        type.__setattr__(class_, "__init__", sampling)

    def _put_back(self, class_: type) -> None:
        if class_ in self._armed:
            own = self._armed.pop(class_)
            if own is None:
                type.__delattr__(class_, "__init__")
            else:
                type.__setattr__(class_, "__init__", own)

    # --- processes and files ------------------------------------------------------------------------------

    def _wrap_popen(self) -> None:
        init, communicate = subprocess.Popen.__init__, subprocess.Popen.communicate

        @functools.wraps(init)
        def begin(process: Any, *arguments: Any, **named: Any) -> None:
            environment = named.get("env") or os.environ
            for name in ENVIRONMENT:
                for value in str(environment.get(name) or "").split(","):
                    self._known.add(name, value)
            url = str(environment.get("FLOVIA_LEDGER") or "")
            if url.startswith("sqlite:///"):
                self.ledgers.add(Path(url.removeprefix("sqlite:///")))
            init(process, *arguments, **named)

        @functools.wraps(communicate)
        def end(process: Any, *arguments: Any, **named: Any) -> Any:
            result = communicate(process, *arguments, **named)
            for text in result:
                if text:
                    self._record("process", text if isinstance(text, str) else text.decode("utf-8", "replace"))
            return result

        self._patches.setattr(subprocess.Popen, "__init__", begin)
        self._patches.setattr(subprocess.Popen, "communicate", end)


def _family(class_: type) -> list[type]:
    return [class_, *(found for child in class_.__subclasses__() for found in _family(child))]


def in_folder(folder: Path, record: Record) -> None:
    """What a test left in its folder: log files, and the events of its ledgers."""
    for path in sorted(folder.rglob("*"))[:200]:
        if path.suffix in (".log", ".out", ".err", ".ndjson") or path.name in ("printed", "stdout", "stderr"):
            with contextlib.suppress(OSError):
                record("file", path.read_text(encoding="utf-8", errors="replace")[:LONGEST])
        elif path.suffix in (".db", ".sqlite"):
            in_ledger(path, record)


def in_ledger(path: Path, record: Record) -> None:
    """The events of a SQLite ledger that some process wrote."""
    if not path.is_file():
        return
    with contextlib.suppress(sqlite3.Error):
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as raw:
            rows = raw.execute("SELECT * FROM flovia_events ORDER BY position DESC LIMIT 500").fetchall()
        if rows:
            record("event", repr(rows))


def as_text(lines: list[str]) -> str:
    """Many short texts as one."""
    joined = io.StringIO()
    for line in lines:
        joined.write(line[:LONGEST])
        joined.write("\n")
    return joined.getvalue()
