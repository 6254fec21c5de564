"""``flovia events export --joined``: every joined event, once, as NDJSON, in CloudEvents envelopes, or as Parquet."""

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Literal
from urllib.parse import quote

from flovia.cli.console import complain, console, hint
from flovia.cli.ending import interruptible
from flovia.cli.ledger_files import refuse_ledger
from flovia.cli.ledger_opening import opened
from flovia.cli.misuse import Misused
from flovia.cli.moments import moment_of
from flovia.cli.parquet import connect, write_parquet
from flovia.cli.report_options import PATIENCE_S, tell_of_many
from flovia.cli.whole_file import whole_file
from flovia.reports.reading import catch_up, rest
from flovia.reports.tables import left_out_words
from flovia.settings import read_settings
from flovia.words import counted, safe

if TYPE_CHECKING:
    from flovia.insights.joined import Kept

Format = Literal["ndjson", "parquet", "cloudevents"]
STDOUT: Final = "-"
INTERRUPTED: Final = 130
"""Exit status after Ctrl-C: nothing was written."""
Pages = Iterable["Sequence[Kept]"]


def export_joined(
    target: str,
    *,
    ledger: str | None,
    format: Format | None,
    source: str | None,
    since: str | None,
    until: str | None,
    endpoint: str | None,
) -> int:
    """Write joined events to a file, or to standard output. See :func:`flovia.cli.export.export`.

    Raises:
        Misused: the options contradict each other; nothing has changed.
        CallerError: the file cannot be written; nothing has changed.
        WiringError: there is no such ledger, or DuckDB is missing.
        LedgerError: the database does not answer.
    """
    from flovia.insights.keeping_sessions import keep_sessions
    from flovia.insights.sql_joined import began

    chosen = format or ("parquet" if target.endswith(".parquet") else "ndjson")
    if target == STDOUT and chosen == "parquet":
        raise Misused("a Parquet file is not written in one go: name a file, --joined calls.parquet")
    if source is not None and chosen != "cloudevents":
        raise Misused("--source is for envelopes: --format cloudevents")
    origin = _origin(source) if chosen == "cloudevents" else None
    if chosen == "parquet":
        connect().close()  # to learn before a long reading that DuckDB is missing
    with interruptible(), opened(ledger, patience_s=PATIENCE_S) as found:
        now = found.now()
        first, end = moment_of(since, now), moment_of(until, now)
        if first is not None and end is not None and end <= first:
            raise Misused(f"--until {until} is not after --since {since}: no time is between them")
        if target != STDOUT:
            refuse_ledger(Path(target), found.database, "nothing was exported")
        known, _ = catch_up(found, lambda cursor: tell_of_many(found, cursor))
        keep_sessions(found.database, between=rest)
        pages = began(found.database, first, end, endpoint=endpoint)
        try:
            status = _export(target, chosen, pages, origin)
        except KeyboardInterrupt:
            complain("ended before it was whole" if target == STDOUT else f"ended; {target} is as it was")
            return INTERRUPTED
    if left_out := left_out_words(known):
        hint(f"left out: {'; '.join(left_out)}")
    return status


def _export(target: str, chosen: Format, pages: Pages, origin: str | None) -> int:
    if target == STDOUT:
        return _to_stdout(pages, origin)
    with whole_file(Path(target)) as new:
        if chosen == "parquet":
            rows = new.with_name("rows.ndjson")
            count = _to_file(rows, pages, origin)
            write_parquet(rows, new)
        else:
            count = _to_file(new, pages, origin)
    console().print(f"{counted(count, 'joined event')} in {safe(target)}")
    return 0


def _origin(source: str | None) -> str:
    """Whose events they are: what was said, else the realm, else anybody."""
    from flovia.export.envelope import DEFAULT_SOURCE, checked_source

    named = source or os.environ.get("FLOVIA_EXPORT_SOURCE", "").strip()
    realm = read_settings().realm if any(map(os.environ.get, ("FLOVIA_REALM", "FLOVIA_PUBLIC_ORIGIN"))) else ""
    return checked_source(named or quote(realm) or DEFAULT_SOURCE)


def _to_file(path: Path, pages: Pages, origin: str | None) -> int:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        return _write(file, pages, origin)


def _to_stdout(pages: Pages, origin: str | None) -> int:
    try:
        _write(sys.stdout, pages, origin)
        sys.stdout.flush()
    except BrokenPipeError:
        # Nobody reads any more. Python would try to write what is left when it ends, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def _write(file: IO[str], pages: Pages, origin: str | None) -> int:
    from flovia.insights.joined import envelope, line

    count = 0
    for page in pages:
        for one in page:
            event = one.to_json()
            file.write(line(event if origin is None else envelope(event, one.position, origin)) + "\n")
        count += len(page)
    return count
