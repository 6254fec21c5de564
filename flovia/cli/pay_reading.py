"""Reading an answer in ``flovia pay``, in bounded memory whatever the server sends."""

import zlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import httpx

MIB: Final = 1 << 20
WHOLE: Final = MIB
"""Bytes of a body that are awaited before any of it is printed: most answers are whole by then, or broken."""
PIECE: Final = 1 << 16
"""Most bytes that are inflated at once: a thousandfold of what came may be in it."""
CODINGS: Final = "gzip, deflate"
"""What is asked for, and undone; a body in any other coding is printed as it comes."""


class CutOff(Exception):  # not an error of flovia's: it becomes an exit status
    """An answer is not read to its end; the text says why."""


def pieces(response: "httpx.Response", limit: int) -> Iterator[bytes]:
    """The body without gzip and deflate, in pieces of a bounded size.

    Raises:
        CutOff: there are more than ``limit`` bytes, which have been handed out then, or it is not in its own coding.
    """
    left = limit
    for piece in _decoded(response):
        if len(piece) > left:
            yield piece[:left]
            raise CutOff(f"the answer has more than {limit // MIB} MiB, which --max-body sets")
        left -= len(piece)
        yield piece


def begin(body: Iterator[bytes], most: int) -> bytes:
    """What comes first of a body: all of it, unless that is more than ``most`` bytes."""
    first = bytearray()
    for piece in body:
        first += piece
        if len(first) > most:
            break
    return bytes(first)


def _decoded(response: "httpx.Response") -> Iterator[bytes]:
    if response.is_stream_consumed:
        yield response.content  # the transport has read it, and how much it may be
        return
    raw = response.iter_raw()
    coding = response.headers.get("content-encoding", "").strip().lower()
    yield from _inflated(raw) if coding in ("gzip", "x-gzip", "deflate") else raw


def _inflated(raw: Iterable[bytes]) -> Iterator[bytes]:
    # 32: gzip or zlib by their own header.
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)
    for chunk in raw:
        left = chunk
        while left:
            try:
                piece = inflater.decompress(left, PIECE)
            except zlib.error:
                raise CutOff("the answer says that it is compressed, and it is not, or broken") from None
            left = inflater.unconsumed_tail
            if piece:
                yield piece
