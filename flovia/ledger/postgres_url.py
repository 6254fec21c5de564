"""The URL of a ledger in PostgreSQL, read.

libpq reads it, so everything that libpq knows is passed on: several hosts, ``sslmode`` and its like, ``options``,
services and password files. Two members are flovia's own, ``pool_size`` and ``schema``.
"""

import os
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

import attrs
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from flovia.core.errors import WiringError

POOL_SIZE: Final = 5
"""Connections of a process. 16 processes of it fit into a server with its default of 100."""
LARGEST_POOL: Final = 100
IDLE_S: Final = 5.0
"""After this the server ends a transaction whose process has gone silent, and with it the locks it holds."""

_SCHEMES: Final = re.compile(r"(postgres|postgresql|postgresql\+psycopg)://", re.ASCII)
_DRIVER: Final = re.compile(r"(postgres(?:ql)?\+[a-z0-9]{1,20})://", re.ASCII)
# What may be said of a host and a database; libpq takes a password with an unescaped @ or / for a part of them.
_HOSTS: Final = re.compile(r"[A-Za-z0-9._:,/\[\]-]*", re.ASCII)
_DATABASE: Final = re.compile(r"[\w. -]*")
_OWN: Final = ("pool_size", "schema")
_WRITABLE: Final = ("read-write", "primary")
_FORM: Final = "FLOVIA_LEDGER is postgresql://user:password@host:5432/database"


@attrs.frozen(kw_only=True)
class Target:
    """Where a ledger is in PostgreSQL.

    ``name`` is what messages call it: host and database, never a user or a password. ``parameters`` are libpq's.
    """

    name: str
    parameters: Mapping[str, str] = attrs.field(repr=False)
    pool_size: int = POOL_SIZE
    schema: str | None = None


def read_url(url: str) -> Target:
    """Read the URL of a PostgreSQL database.

    Raises:
        WiringError: it is none, or asks for what a ledger cannot do; the message never shows it.
    """
    if _SCHEMES.match(url) is None:
        driver = _DRIVER.match(url)
        raise WiringError(
            f"{driver[1]}: is a driver that flovia does not use for PostgreSQL; {_FORM}"
            if driver
            else f"that is no PostgreSQL URL; {_FORM}"
        )
    head, _, query = url.partition("?")
    user, at, place = head.partition("://")[2].partition("@")
    if "@" in place or (at and "/" in user):
        raise WiringError(_UNREADABLE)  # libpq would take a part of the password for the host or the database
    members = query.split("&") if query else []
    own: dict[str, str] = {}
    others: list[str] = []
    for member in members:
        name, _, value = member.partition("=")
        if name in _OWN:
            own[name] = unquote(value)
        else:
            others.append(member)
    rest = "&".join(others)
    plain = "postgresql://" + _SCHEMES.sub("", head, count=1) + (f"?{rest}" if rest else "")
    try:
        found = {name: str(value) for name, value in conninfo_to_dict(plain).items()}
    except ProgrammingError as error:
        raise WiringError(_UNREADABLE if "@" in query else _unreadable(str(error))) from None
    target = found.setdefault("target_session_attrs", "read-write")
    if target not in _WRITABLE:
        raise WiringError(f"target_session_attrs={target} finds a server that may not write; leave it out")
    schema = own.get("schema")
    if schema is not None and not (schema and schema.isprintable()):
        raise WiringError("schema is the name of a schema of that database")
    found.setdefault("application_name", "flovia")
    found.setdefault("connect_timeout", "2")  # libpq's shortest; a call's own time is over before
    found.setdefault("tcp_user_timeout", "2000")
    found.setdefault("keepalives_idle", "30")
    if "PGGSSENCMODE" not in os.environ:
        found.setdefault("gssencmode", "disable")  # else each connection first looks for Kerberos
    return Target(name=_name(found), parameters=found, pool_size=_pool_size(own), schema=schema)


def _pool_size(own: Mapping[str, str]) -> int:
    given = own.get("pool_size", str(POOL_SIZE))
    if not (given.isascii() and given.isdigit() and len(given) <= len(str(LARGEST_POOL))):
        raise WiringError(f"pool_size is a number of connections, 1 to {LARGEST_POOL}")
    size = int(given)
    if not 1 <= size <= LARGEST_POOL:
        raise WiringError(f"pool_size={size}: a process may have 1 to {LARGEST_POOL} connections to its ledger")
    return size


def with_session(target: Target, statement_s: float) -> dict[str, str]:
    """libpq's parameters with what every session starts with, and goes back to.

    Args:
        target: where the ledger is.
        statement_s: after this the server itself gives up a statement, or waiting for a lock.
    """
    limit = str(max(1, round(statement_s * 1000)))
    settings = {
        "statement_timeout": limit,
        "lock_timeout": limit,
        "idle_in_transaction_session_timeout": str(round((IDLE_S + statement_s) * 1000)),
        # Each statement sees what is committed when it begins; what must stay true meanwhile is locked.
        "default_transaction_isolation": "read committed",
    }
    if target.schema is not None:
        settings["search_path"] = '"{}"'.format(target.schema.replace('"', '""'))
    ours = " ".join(f"-c {name}={_escaped(value)}" for name, value in settings.items())
    options = f"{target.parameters.get('options', '')} {ours}".strip()
    # Texts would come as bytes from a database that is SQL_ASCII, and that gives what it was given.
    return {**target.parameters, "options": options, "client_encoding": "UTF8"}


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(" ", "\\ ")


def _name(found: Mapping[str, str]) -> str:
    hosts = found.get("host") or found.get("hostaddr") or os.environ.get("PGHOST", "")
    database = found.get("dbname") or os.environ.get("PGDATABASE", "")
    hosts = hosts if _HOSTS.fullmatch(hosts) else "…"
    return f"postgresql://{hosts}/{database if _DATABASE.fullmatch(database) else '…'}"


_UNREADABLE: Final = (
    f"the PostgreSQL URL cannot be read: {_FORM}; in a user's name or password write each of @ : / ? # % as"
    " %40 %3A %2F %3F %23 %25"
)


def _unreadable(words: str) -> str:
    """Of libpq's words only those that tell a parameter's name: others may show a part of the password."""
    unknown = re.search(r'invalid URI query parameter: "([a-z_]{1,40})"', words)
    if unknown is not None:
        return f"the PostgreSQL URL has a parameter that libpq does not know: {unknown[1]}"
    return _UNREADABLE
