"""Joined events as a Parquet file, by DuckDB: the members of their schema as typed columns."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from flovia.core.encoding import JsonObject
from flovia.core.errors import CallerError, WiringError
from flovia.insights.joined import schema

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MEMORY: Final = "512MB"
"""What DuckDB may use at once, in one thread; the rest waits on disk."""
_TYPES: Final = {"string": "VARCHAR", "number": "DOUBLE", "integer": "BIGINT", "boolean": "BOOLEAN"}
_AMOUNT: Final = "DECIMAL(38, 0)"


def connect() -> "DuckDBPyConnection":
    """A database of DuckDB in memory, that reaches for nothing else.

    Raises:
        WiringError: DuckDB is not installed.
    """
    try:
        import duckdb
    except ModuleNotFoundError:
        raise WiringError("Parquet needs DuckDB: pip install 'flovia[warehouse]'") from None
    return duckdb.connect(config={"memory_limit": MEMORY, "threads": "1", "autoinstall_known_extensions": "false"})


def columns() -> dict[str, str]:
    """The columns of the file, with DuckDB's types: the members of the published schema."""
    found = cast("Mapping[str, JsonObject]", schema()["properties"])
    return {name: _type(member) for name, member in found.items()}


def write_parquet(rows: Path, target: Path) -> None:
    """Make a Parquet file of joined events in NDJSON, in the same order.

    Args:
        rows: the NDJSON file; its folder takes what does not fit into memory.
        target: the file to make.

    Raises:
        CallerError: an amount has more than 38 digits, or the disk is full.
        WiringError: DuckDB is not installed.
    """
    connection = connect()
    import duckdb

    try:
        connection.execute("SET temp_directory = ?", [str(rows.parent / "spilled")])
        found = connection.read_json(str(rows), columns=columns(), format="newline_delimited")
        found.write_parquet(str(target), compression="zstd")
    except (duckdb.ConversionException, duckdb.InvalidInputException) as error:
        raise CallerError(
            f"these events do not fit into a Parquet file (amounts have 38 digits at most): {error}; --format ndjson"
            " takes them"
        ) from None
    except duckdb.Error as error:
        raise CallerError(f"the Parquet file cannot be written: {error}") from None
    finally:
        connection.close()


def _type(member: JsonObject) -> str:
    if "enum" in member:
        return "VARCHAR"
    if member.get("pattern") == "^[0-9]+$":
        return _AMOUNT
    kinds = member["type"]
    kind = kinds if isinstance(kinds, str) else str(cast("list[str]", kinds)[0])
    if kind == "array":
        return f"{_type(cast('JsonObject', member['items']))}[]"
    if kind == "object":
        inner = cast("Mapping[str, JsonObject]", member["properties"])
        return f"STRUCT({', '.join(f'{name} {_type(one)}' for name, one in inner.items())})"
    return _TYPES[kind]
