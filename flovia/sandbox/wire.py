"""What goes into the sandbox's pure core and what comes out: HTTP, time and webhooks as plain data."""

import json
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias, cast
from urllib.parse import parse_qsl, urlsplit

import attrs

Side = Literal["broker", "api"]
"""The two origins of the sandbox: the MPP broker, and HitPay's own API with its checkout pages."""

Json: TypeAlias = dict[str, object]
Ending = Literal["sent", "hang", "reset"]


def members(value: object) -> Json | None:
    """The members of a JSON object, or None if it is something else."""
    if not isinstance(value, dict):
        return None
    return {str(name): item for name, item in cast("dict[object, object]", value).items()}


LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "[::1]", "::1"})


@attrs.frozen(kw_only=True)
class Call:
    """An HTTP request to one of the two origins. ``path`` as received, without the query."""

    side: Side
    http_method: str
    path: str
    query: str = attrs.field(default="", repr=False)
    headers: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False)
    body: bytes = attrs.field(default=b"", repr=False)

    def header(self, name: str) -> str | None:
        """The first field of this name (lower case), or None."""
        return next((value for found, value in self.headers if found.lower() == name), None)

    def parameter(self, name: str) -> str | None:
        """The first query parameter of this name, percent-decoded, or None."""
        return next((value for found, value in parse_qsl(self.query, keep_blank_values=True) if found == name), None)


@attrs.frozen(kw_only=True)
class Advance:
    """The clock moves forward by ``ms`` milliseconds; whatever becomes due in between happens, in order."""

    ms: int


@attrs.frozen(kw_only=True)
class Answered:
    """The receiver of a webhook answered with ``status``; 0 if there was no answer."""

    delivery: str
    status: int


Request = Call | Advance | Answered


@attrs.frozen(kw_only=True)
class Reply:
    """The answer to a :class:`Call`.

    ``delay_ms``: wait that long first. ``ending``: ``hang`` sends nothing and keeps the connection open,
    ``reset`` sends nothing and resets it.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False)
    body: bytes = attrs.field(default=b"", repr=False)
    delay_ms: int = 0
    ending: Ending = "sent"

    def json(self) -> Json:
        """The body as a JSON object."""
        found = members(json.loads(self.body))
        if found is None:
            raise ValueError("not a JSON object")
        return found


@attrs.frozen(kw_only=True)
class Post:
    """A webhook to send now; tell the outcome with :class:`Answered`."""

    delivery: str
    url: str = attrs.field(repr=False)
    headers: tuple[tuple[str, str], ...] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)


Response = Reply | Post


class Refused(Exception):
    """A request is refused with this reply. Raised only before anything was changed."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


def json_reply(status: int, body: Mapping[str, object], *headers: tuple[str, str]) -> Reply:
    """A JSON answer that no cache keeps, unless ``headers`` say how long."""
    kept = any(name == "cache-control" for name, _ in headers)
    fields = [("content-type", "application/json"), *headers, *([] if kept else [("cache-control", "no-store")])]
    return Reply(status=status, headers=tuple(fields), body=json.dumps(body, separators=(",", ":")).encode())


def broker_error(status: int, code: str, message: str, *headers: tuple[str, str]) -> Refused:
    """An error of the broker. Its shape is our choice: HitPay documents none beyond the ``error`` member."""
    return Refused(json_reply(status, {"error": code, "message": message}, *headers))


def api_error(status: int, message: str, errors: Mapping[str, str] | None = None, *headers: tuple[str, str]) -> Refused:
    """An error of HitPay's own API: ``message``, and ``errors`` by field if one is to blame (HitPay docs: errors)."""
    body: Json = {"message": message}
    if errors:
        body["errors"] = {name: [text] for name, text in errors.items()}
    return Refused(json_reply(status, body, *headers))


def is_loopback(host: str) -> bool:
    """Whether a host (name or address, no port) means this machine and nothing else."""
    parts = host.split(".")
    return host in LOOPBACK or (
        len(parts) == 4 and parts[0] == "127" and all(part.isascii() and part.isdigit() for part in parts)
    )


def is_local(url: str) -> bool:
    """Whether a URL is plain HTTP(S) to a loopback host, without anything that could make it mean another."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    host = parts.hostname or ""
    return (
        parts.scheme in ("http", "https")
        and parts.username is None
        and port != 0
        and url.isascii()
        and url.isprintable()
        and "\\" not in url
        and is_loopback(host)
    )
