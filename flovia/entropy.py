"""Random tokens, drawn in batches, because one system call a request is a tenth of a 402."""

import os
from base64 import urlsafe_b64encode
from typing import Final

_BATCH: Final = 64
_pool: list[str] = []


def token() -> str:
    """128 random bits from the operating system as 22 characters of base64url."""
    try:
        # list.pop is atomic, so two threads never get the same one.
        return _pool.pop()
    except IndexError:
        raw = os.urandom(16 * _BATCH)
        _pool.extend(urlsafe_b64encode(raw[i : i + 16])[:22].decode() for i in range(0, len(raw), 16))
        return _pool.pop()


# A forked worker must not hand out the tokens its parent holds.
os.register_at_fork(after_in_child=_pool.clear)
