"""Random tokens, drawn in batches, because one system call a request is a tenth of a 402."""

import os
from base64 import urlsafe_b64encode
from typing import Final

_BATCH: Final = 128
_LENGTH: Final = 22
_pool: list[str] = []


def token() -> str:
    """At least 128 random bits from the operating system as 22 characters of base64url."""
    try:
        # list.pop is atomic, so two threads never get the same one.
        return _pool.pop()
    except IndexError:
        # Three bytes are four characters, so 22 characters of one long text are 132 bits of their own.
        text = urlsafe_b64encode(os.urandom(_BATCH * _LENGTH * 3 // 4)).decode()
        _pool.extend([text[i : i + _LENGTH] for i in range(0, len(text), _LENGTH)])
        return _pool.pop()


# A forked worker must not hand out the tokens its parent holds.
if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(after_in_child=_pool.clear)
