"""What has to lie on the disk and may not lie there in the clear: AES-256-GCM under a key of the user's own.

The key is in ``FLOVIA_GRANT_KEY``, or in a key file of mode 0600 that is made on first use. What is sealed is bound to
its name, so that files cannot be swapped. Needs the package cryptography (extra ``wallet``).
"""

import os
import secrets
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from flovia.core.encoding import b64url_decode, b64url_encode
from flovia.core.errors import ParseError, WiringError

if TYPE_CHECKING:
    pass

KEY_VARIABLE: Final = "FLOVIA_GRANT_KEY"
"""The environment's name for the key: 32 random bytes as base64url, 43 characters."""

KEY_FILE: Final = "grants.key"

_NONCE: Final = 12
_KEY_BYTES: Final = 32


class Sealer:
    """Seals and opens under one key: ``key`` (32 bytes), else ``FLOVIA_GRANT_KEY``, else the key file in ``folder``.

    Raises:
        WiringError: cryptography is not installed, or the key is none, or others may read its file.
    """

    def __init__(self, folder: Path, *, key: bytes | None = None) -> None:
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError:
            raise WiringError("sealing needs cryptography: pip install 'flovia[wallet]'") from None
        found = _found_key(folder) if key is None else key
        if len(found) != _KEY_BYTES:
            raise WiringError(
                f"a grant key is 32 random bytes; for {KEY_VARIABLE} write them as base64url, 43 characters:"
                " python -c 'import secrets; print(secrets.token_urlsafe(32))'"
            )
        self._cipher: AESGCM = AESGCM(found)

    def seal(self, name: str, raw: bytes) -> bytes:
        """The bytes, unreadable without the key, and good under this name alone."""
        nonce = secrets.token_bytes(_NONCE)
        return nonce + self._cipher.encrypt(nonce, raw, _bound(name))

    def open(self, name: str, sealed: bytes) -> bytes | None:
        """What was sealed under this name; None if it was not, or with another key, or was changed."""
        from cryptography.exceptions import InvalidTag

        try:
            return self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], _bound(name))
        except (InvalidTag, ValueError):
            return None


def _found_key(folder: Path) -> bytes:
    text = os.environ.get(KEY_VARIABLE)
    if text is not None:
        try:
            return b64url_decode(text.strip())
        except ParseError:
            return b""
    path = folder / KEY_FILE
    try:
        with suppress(FileExistsError):  # another process was quicker
            if not path.exists():
                write_private(path, b64url_encode(secrets.token_bytes(32)).encode(), exclusive=True)
        if sys.platform != "win32" and stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise WiringError(f"others may read {path}, the key of your saved wallets: chmod 600 {path}")
        return b64url_decode(path.read_text(encoding="ascii").strip())
    except OSError as error:
        raise WiringError(
            f"cannot make or read the key file {path} ({error.strerror}): make the folder writable, or set"
            f" {KEY_VARIABLE}"
        ) from error
    except (ParseError, UnicodeDecodeError):
        return b""


def _bound(name: str) -> bytes:
    return f"flovia sealed 1 {name}".encode()


def write_private(path: Path, data: bytes, *, exclusive: bool = False) -> None:
    """Write a file of mode 0600 so that it survives a power cut; its folder gets mode 0700.

    ``exclusive``: raise FileExistsError rather than replace one.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
        with open(os.open(partial, flags, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if exclusive:
            os.link(partial, path)
            partial.unlink()
        else:
            partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise
