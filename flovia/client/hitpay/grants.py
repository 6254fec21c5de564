"""Grants of saved wallets, encrypted on the disk. A grant is a bearer token: who has it can have the wallet charged.

Each grant is one file, mode 0600, sealed with AES-256-GCM under a key from ``FLOVIA_GRANT_KEY`` or from a key file
beside them. The file's name is bound into the seal, so files cannot be swapped. What is used up is counted here too,
to stop early; the broker counts for good.
"""

import json
import threading
from hashlib import sha256
from pathlib import Path
from typing import Final

import attrs

from flovia.client.pending import default_folder
from flovia.client.sealing import Sealer, write_private
from flovia.core.encoding import loads_object
from flovia.core.errors import ParseError, WiringError
from flovia.core.money import Price

_SUFFIX: Final = ".grant"


@attrs.frozen(kw_only=True)
class GrantInfo:
    """What may be shown of a kept grant. Amounts in base units of ``currency``, times in Unix seconds.

    ``origin``: the server it was set up with; ``issuer``: the broker that signed it. ``spent`` and ``uses``: what this
    wallet presented it for.
    """

    name: str
    origin: str
    issuer: str
    currency: str
    payment_method: str | None
    saved_method_id: str
    max_amount_per_charge: int
    total_amount_cap: int | None
    max_uses: int | None
    expires_at: float
    spent: int = 0
    uses: int = 0

    def refusal(self, price: Price, now: float) -> str | None:
        """Why the grant does not cover one more charge of ``price``, or None if it does."""
        if price.currency != self.currency:
            return f"the grant is for {self.currency.upper()}"
        if now >= self.expires_at:
            return "the grant has expired"
        if price.amount > self.max_amount_per_charge:
            return "the charge is over the grant's cap for one charge"
        if self.total_amount_cap is not None and self.spent + price.amount > self.total_amount_cap:
            return "the charge would go over the grant's cap for all charges together"
        if self.max_uses is not None and self.uses >= self.max_uses:
            return "the grant has been used as often as it allows"
        return None


@attrs.frozen(kw_only=True)
class Grant:
    """A kept grant with its token."""

    info: GrantInfo
    jws: str = attrs.field(repr=False)


class GrantFiles:
    """A folder of grants. Processes may share it; the count of what was spent is then only nearly right.

    ``key``: 32 bytes; without it ``FLOVIA_GRANT_KEY``, and without that a key file in the folder, made with mode 0600.

    Raises:
        WiringError: cryptography is not installed, or the key is none, or others may read its file.
    """

    def __init__(self, folder: str | Path | None = None, *, key: bytes | None = None) -> None:
        self.folder = default_folder().parent / "grants" if folder is None else Path(folder)
        self._lock = threading.Lock()
        self._sealer = Sealer(self.folder, key=key)

    def __repr__(self) -> str:
        return f"GrantFiles({str(self.folder)!r})"

    # --- what is kept ------------------------------------------------------------------------------------

    @staticmethod
    def name_of(origin: str, realm: str, currency: str) -> str:
        """The name of the grant for one server, realm and currency."""
        return sha256(f"{origin}\n{realm}\n{currency}".encode()).hexdigest()[:32]

    def keep(self, grant: Grant) -> None:
        """Write a grant so that it survives a power cut; replaces the one of the same name.

        Raises:
            WiringError: it cannot be written.
        """
        with self._lock:
            self._write(grant)

    def load(self, name: str) -> Grant | None:
        """The grant of this name; None if there is none, or it was sealed with another key or damaged."""
        try:
            sealed = self._path(name).read_bytes()
        except OSError:
            return None
        return self._open(name, sealed)

    def spend(self, name: str, price: Price) -> None:
        """Count one charge."""
        with self._lock:
            grant = self.load(name)
            if grant is not None:
                info = grant.info
                self._write(
                    attrs.evolve(grant, info=attrs.evolve(info, spent=info.spent + price.amount, uses=info.uses + 1))
                )

    def revoke(self, name: str) -> bool:
        """Forget a grant; True if there was one. The broker still honours it: revoke it in the wallet's own app too."""
        try:
            self._path(name).unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise WiringError(f"cannot remove a grant from {self.folder}: {error.strerror}") from error
        return True

    def all(self) -> list[GrantInfo]:
        """What is kept, without the tokens."""
        found = [self.load(path.stem) for path in sorted(self.folder.glob(f"*{_SUFFIX}"))]
        return [grant.info for grant in found if grant is not None]

    # --- inside ------------------------------------------------------------------------------------------

    def _write(self, grant: Grant) -> None:
        name = grant.info.name
        members = {**attrs.asdict(grant.info), "jws": grant.jws}
        sealed = self._sealer.seal(name, json.dumps(members).encode())
        try:
            write_private(self._path(name), sealed)
        except OSError as error:
            raise WiringError(
                f"cannot keep a grant in {self.folder} ({error.strerror}): make the folder writable"
            ) from error

    def _open(self, name: str, sealed: bytes) -> Grant | None:
        raw = self._sealer.open(name, sealed)
        if raw is None:
            return None
        try:
            members = dict(loads_object(raw))
            jws = str(members.pop("jws"))
            return Grant(info=GrantInfo(**members), jws=jws)  # type: ignore[arg-type]  # sealed by us, as we wrote it
        except (ParseError, KeyError, TypeError):
            return None  # by another version of flovia

    def _path(self, name: str) -> Path:
        if not (name.isascii() and name.isalnum()):
            raise WiringError("that is no grant's name: take it from GrantFiles.all()")
        return self.folder / f"{name}{_SUFFIX}"
