"""Misspelt names of settings: they change nothing, which nobody would notice."""

from collections.abc import Collection, Iterable, Iterator


def slips(names: Iterable[str], prefix: str, known: Collection[str]) -> Iterator[tuple[str, str]]:
    """Each of ``names`` with this prefix that is not known but close to a known one, and that one.

    Programs of other people may use the prefix, so what is close to nothing is left alone.
    """
    strange = [name for name in names if name.startswith(prefix) and name not in known]
    if not strange:
        return
    from difflib import get_close_matches  # here, because almost nobody needs it

    for name in strange:
        for meant in get_close_matches(name, known, n=1, cutoff=0.85):
            yield name, meant
