"""Who may look: the app's own answer, and without one this machine alone."""

import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final, cast

import attrs

from flovia.core.errors import CallerError, WiringError
from flovia.core.operator import Operator
from flovia.core.origin import host_without_port, is_loopback
from flovia.dashboard.http import in_thread

if TYPE_CHECKING:
    from starlette.types import Scope

    from flovia.api import Flovia

_PROXY_FIELDS: Final = frozenset(
    {"forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"}
)
WSGI: Final = "wsgi_environ"
"""Where a request that came by WSGI has its environ."""


@attrs.frozen(kw_only=True)
class Visitor:
    """Who asks for a page, as the app's ``authorize`` sees it.

    ``headers``: names in lower case, as they came. ``scope``: what servers and middleware around the dashboard know,
    such as ``session`` and ``user`` of Starlette; under WSGI its ``wsgi_environ`` is the environ.
    """

    http_method: str
    path: str
    headers: tuple[tuple[str, str], ...] = attrs.field(repr=False)
    client: str | None
    scope: Mapping[str, object] = attrs.field(repr=False)

    def header(self, name: str) -> str | None:
        """The value of a header that came once; None if it did not come, or came twice."""
        found = [value for one, value in self.headers if one == name.lower()]
        return found[0] if len(found) == 1 else None


Authorize = Callable[[Visitor], str | Awaitable[str | None] | None]
"""Returns the name of who is there, or None for nobody who may look. Blocking functions run in a thread."""
_log: Final = logging.getLogger("flovia")


def check_mounting(flovia: "Flovia", authorize: Authorize | None, is_open: bool) -> None:
    """Refuse what would show the books to anybody, and a ledger that has none.

    Raises:
        WiringError: neither authorize nor open=True on a public origin, or both; or the ledger lives in memory, or
            cannot be opened.
    """
    if authorize is not None and is_open:
        raise WiringError("give Dashboard either authorize=… or open=True, not both")
    origin = flovia.settings.origin
    if authorize is None and not is_open and origin is not None and not is_loopback(host_without_port(origin.host)):
        raise WiringError(
            f"the dashboard would be open to everybody who reaches {origin.host}: give Dashboard(flo, authorize=…), a"
            " function that returns the name of who is there, or None; or open=True, if something in front of it"
            " asks who is there"
        )
    if not hasattr(flovia.ledger, "database"):
        raise WiringError(
            "the dashboard needs a ledger in a database, this one lives in memory: FLOVIA_LEDGER=sqlite:///flovia.db"
        )


def check_switches(authorize: object, **switches: object) -> None:
    """Refuse what is no switch: a text such as ``"false"``, from a setting, would switch it on.

    Raises:
        WiringError: one of them is no bool, or ``authorize`` cannot be called.
    """
    for name, value in switches.items():
        if not isinstance(value, bool):
            raise WiringError(f"Dashboard({name}=…) is True or False, not {type(value).__name__}")
    if authorize is not None and not callable(authorize):
        raise WiringError(f"Dashboard(authorize=…) is a function or None, not {type(authorize).__name__}")


def visitor_of(scope: "Scope") -> Visitor:
    """The visitor of an ASGI scope."""
    headers = tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"])
    return Visitor(
        http_method=str(scope["method"]),
        path=str(scope["path"]),
        headers=headers,
        client=_peer(scope),
        scope=scope,
    )


async def name_of(visitor: Visitor, authorize: Authorize) -> str | None:
    """The name of who is there, as the app says; None if that is nobody.

    What is no name is nobody's: whoever works the queue is on record under it.
    """

    def ask() -> str | Awaitable[str | None] | None:
        return authorize(visitor)

    # An app need not keep to what it is told to return.
    found = cast("object", ask() if inspect.iscoroutinefunction(authorize) else await in_thread(ask))
    name: object = await found if inspect.isawaitable(found) else found
    if name is None or name is False or name == "":
        return None
    try:
        if isinstance(name, str):
            return Operator.checked(name).name
        why = f"a {type(name).__name__}"
    except CallerError as error:
        why = str(error)
    _log.warning("the dashboard's authorize returned what is no name, which was answered with 403: %s", why)
    return None


def is_from_here(visitor: Visitor) -> bool:
    """Whether a request came from this machine, under a name of this machine, with no proxy in between.

    A page of somebody else's in a browser here can make requests, too, under a name of its own that leads to this
    machine. So the Host counts as well as the peer.
    """
    host = visitor.header("host")
    if host is None or not is_loopback(host_without_port(host)):
        return False
    # A peer that nobody knows came over a Unix socket, and those are what proxies come by.
    if visitor.client is None or not is_loopback(visitor.client):
        return False
    return not any(name in _PROXY_FIELDS for name, _ in visitor.headers)


def _peer(scope: "Scope") -> str | None:
    environ: object = scope.get(WSGI)
    if isinstance(environ, Mapping):
        found: object = environ.get("REMOTE_ADDR")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - anybody's mapping
        return str(found) if found else None  # pyright: ignore[reportUnknownArgumentType] - the same
    client: object = scope.get("client")
    return str(client[0]) if isinstance(client, tuple | list) and client else None  # pyright: ignore[reportUnknownArgumentType] - the same
