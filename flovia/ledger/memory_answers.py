"""Stored answers of the memory ledger: a bounded number of bytes."""

from collections.abc import Iterator

from flovia.core.answers import StoredAnswer

_ROW_BYTES = 512
"""What an answer costs besides its body and header fields, about."""


class Answers:
    """Answers by payment; not safe for threads by itself.

    Args:
        max_bytes: above that the oldest are forgotten.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: dict[str, StoredAnswer] = {}
        self._bytes = 0

    def keep(self, key: str, answer: StoredAnswer, now: float) -> None:
        """Keep an answer, and forget those whose time is over or that there is no room for."""
        self._kept[key] = answer
        self._bytes += _size(answer)
        for oldest in list(self._kept):
            if self._bytes <= self._max_bytes and self._kept[oldest].until > now:
                break
            self._bytes -= _size(self._kept.pop(oldest))

    def __iter__(self) -> Iterator[str]:
        """The keys of what is kept, the oldest first."""
        return iter(self._kept)

    def find(self, key: str, now: float) -> StoredAnswer | None:
        """The answer, until its time is over."""
        found = self._kept.get(key)
        return found if found is not None and found.until > now else None


def _size(answer: StoredAnswer) -> int:
    return _ROW_BYTES + len(answer.body) + sum(len(name) + len(value) for name, value in answer.headers)
