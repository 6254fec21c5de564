"""Credentials that may still be worth something, kept in files until the server has delivered.

A file is made before the wallet is asked, filled before the credential is sent, and removed when the
answer has been read to its end. What remains after a crash, a time-out or a 5xx is what ``resume`` needs: the
same credential for the same request (C14).

The files hold credentials: the folder has mode 0700, the files 0600, and nothing else ever shows them. A wallet whose
proof is good for more than one payment wants them sealed as well.
"""

import json
import os
import re
import sys
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import attrs

from flovia.client.errors import CannotResume
from flovia.client.policy import Ask
from flovia.client.sealing import Sealer
from flovia.core.encoding import JsonObject, loads_object
from flovia.core.errors import WiringError
from flovia.core.money import Price

KEEP_S: Final = 8 * 86400.0
"""Older files are removed: a flovia server redeems for 7 days."""

MAX_BODY: Final = 1 << 20
"""Longest request body that is kept; a longer one has to be given again to resume."""

KEPT_FIELDS: Final = frozenset(
    {
        "accept",
        "accept-language",
        "content-encoding",
        "content-language",
        "content-type",
        "flovia-workflow",
        "idempotency-key",
    }
)
"""The request's header fields that are kept. Others may be secrets: give them again to resume."""

_VERSION: Final = 1
_REFERENCE: Final = re.compile("[A-Za-z0-9_-]{8,64}").fullmatch
# Names of our own: old files of this kind are removed, nobody else's.
_SUFFIX: Final = ".flovia"
_PARTIAL: Final = ".flovia-partial"


@attrs.frozen(kw_only=True)
class Pending:
    """One paid request whose answer is not known to be complete.

    ``field`` and ``credential``: the header field to send again; the credential is None as long as the
    wallet has not answered. ``body`` is None if it was too long to keep; ``body_sha256`` (hex) stands.
    ``created_at``: Unix seconds.
    """

    reference: str
    created_at: float
    http_method: str
    origin: str
    host: str
    target: str = attrs.field(repr=False)
    headers: tuple[tuple[str, str], ...] = attrs.field(repr=False)
    body: bytes | None = attrs.field(repr=False)
    body_sha256: str
    challenge_id: str
    realm: str
    method: str
    price: Price
    recipient: str | None
    field: str
    credential: str | None = attrs.field(default=None, repr=False)

    def to_json(self) -> str:
        """The record as JSON text. Holds the credential."""
        body = None if self.body is None else b64encode(self.body).decode("ascii")
        members = attrs.asdict(self, recurse=False) | {
            "version": _VERSION,
            "body": body,
            "headers": dict(self.headers),
            "price": None,
            "amount": self.price.amount,
            "currency": self.price.currency,
        }
        return json.dumps(members)

    @classmethod
    def from_json(cls, text: str) -> "Pending":
        """The record in JSON text.

        Raises:
            ValueError: it is not such a record.
        """
        members = loads_object(text)
        if members.get("version") != _VERSION:
            raise ValueError("written by another version of flovia")
        body, headers = _optional(members, "body"), members.get("headers")
        created_at, amount = members.get("created_at"), members.get("amount")
        if not isinstance(headers, Mapping) or not isinstance(created_at, int | float) or not isinstance(amount, int):
            raise ValueError("not a pending payment")
        return cls(
            reference=_text(members, "reference"),
            created_at=created_at,
            http_method=_text(members, "http_method"),
            origin=_text(members, "origin"),
            host=_text(members, "host"),
            target=_text(members, "target"),
            headers=tuple((name, _text(headers, name)) for name in headers),
            body=None if body is None else b64decode(body, validate=True),
            body_sha256=_text(members, "body_sha256"),
            challenge_id=_text(members, "challenge_id"),
            realm=_text(members, "realm"),
            method=_text(members, "method"),
            price=Price(amount=amount, currency=_text(members, "currency")),
            recipient=_optional(members, "recipient"),
            field=_text(members, "field"),
            credential=_optional(members, "credential"),
        )


def _optional(members: JsonObject, name: str) -> str | None:
    value = members.get(name)
    if value is None or isinstance(value, str):
        return value
    raise ValueError("not a pending payment")


def _text(members: JsonObject, name: str) -> str:
    value = _optional(members, name)
    if value is None:
        raise ValueError("not a pending payment")
    return value


def kept_headers(ask: Ask) -> tuple[tuple[str, str], ...]:
    """The header fields of a request that are kept with its credential."""
    found = ((name, ask.headers.get(name)) for name in sorted(KEPT_FIELDS))
    return tuple((name, value) for name, value in found if value is not None)


def default_folder() -> Path:
    """``$XDG_STATE_HOME/flovia/pending``, by default ``~/.local/state/flovia/pending``."""
    state = os.environ.get("XDG_STATE_HOME", "")
    return (Path(state) if os.path.isabs(state) else Path.home() / ".local" / "state") / "flovia" / "pending"


class PendingFiles:
    """A folder of :class:`Pending` records, one file per reference. Processes may share it.

    ``sealed``: encrypt them, under the key of saved grants (:mod:`flovia.client.sealing`). For wallets whose proof is
    good for more than one payment; files that were written otherwise can still be read.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        *,
        keep_s: float = KEEP_S,
        clock: Callable[[], float] = time.time,
        sealed: bool = False,
    ) -> None:
        self.folder = default_folder() if folder is None else Path(folder)
        self._sealer = Sealer(self.folder) if sealed else None
        self._keep_s = keep_s
        self._clock = clock

    def keep(self, pending: Pending) -> None:
        """Write a record so that it survives a power cut; replaces the one with the same reference.

        With every new record those that are too old go.

        Raises:
            WiringError: the file cannot be written; an earlier one is unchanged.
        """
        path = self._path(pending.reference)
        partial = path.with_suffix(_PARTIAL)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(os.open(partial, flags, 0o600), "w", encoding="utf-8") as file:
                file.write(self._written(pending))
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
            self._sync_folder()
            if pending.credential is None:
                self.purge()
        except OSError as error:
            with suppress(OSError):
                partial.unlink()
            raise WiringError(
                f"cannot keep a payment's credential in {self.folder} ({error.strerror}), and without that no"
                " payment is safe: make the folder writable, or name another with PendingFiles(folder)"
            ) from error

    def load(self, reference: str) -> Pending:
        """The record with this reference.

        Raises:
            CannotResume: there is none, or its file is damaged.
        """
        try:
            return Pending.from_json(self._read(reference, self._path(reference).read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise CannotResume(
                f"no credential is kept under {reference} in {self.folder}: it was answered, is older than"
                f" {self._keep_s / 86400:g} days, or belongs to another folder"
            ) from None
        except (OSError, ValueError, WiringError) as error:
            # Without the cause: its text or its locals could hold the credential.
            raise CannotResume(f"the file of {reference} in {self.folder} is damaged: {type(error).__name__}") from None

    def _written(self, pending: Pending) -> str:
        text = pending.to_json()
        if self._sealer is None:
            return text
        sealed = self._sealer.seal(pending.reference, text.encode())
        return json.dumps({"sealed": b64encode(sealed).decode("ascii")})

    def _read(self, reference: str, text: str) -> str:
        sealed = loads_object(text).get("sealed")
        if not isinstance(sealed, str):
            return text
        raw = (self._sealer or Sealer(self.folder)).open(reference, b64decode(sealed, validate=True))
        if raw is None:
            raise ValueError("sealed with another key")
        return raw.decode()

    def forget(self, reference: str) -> None:
        """Remove a record; nothing happens if there is none."""
        try:
            self._path(reference).unlink(missing_ok=True)
        except OSError as error:
            raise WiringError(f"cannot remove {reference} from {self.folder}: {error.strerror}") from error

    def references(self) -> list[str]:
        """Every reference that is kept, oldest first."""
        return [path.stem for _, path in sorted(self._files(_SUFFIX))]

    def purge(self) -> None:
        """Remove records that nobody will redeem any more, and what crashes left behind."""
        oldest = self._clock() - self._keep_s
        for written_at, path in self._files(_SUFFIX) + self._files(_PARTIAL):
            if written_at < oldest:
                with suppress(OSError):
                    path.unlink()

    def _files(self, suffix: str) -> list[tuple[float, Path]]:
        found: list[tuple[float, Path]] = []
        for path in self.folder.glob(f"*{suffix}"):
            with suppress(OSError):  # another process removed it meanwhile
                found.append((path.stat().st_mtime, path))
        return found

    def _path(self, reference: str) -> Path:
        if not _REFERENCE(reference):
            raise CannotResume("that is no reference: pass error.reference, or one of PendingFiles.references()")
        return self.folder / f"{reference}{_SUFFIX}"

    def _sync_folder(self) -> None:
        """Make the new name durable as well. Windows has no such call and needs none."""
        if sys.platform != "win32":
            folder = os.open(self.folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
