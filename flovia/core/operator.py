"""Who does something about a payment, and why: on record with what was done, so that others can see it later."""

from typing import Final

import attrs

from flovia.core.errors import CallerError

MAX_NAME: Final = 128
MAX_NOTE: Final = 2000


@attrs.frozen(kw_only=True)
class Operator:
    """A person, or a program, that works on the ledger: ``name``, and a ``note`` of what this is about, "" for none.

    Both go into events, and with them to whoever gets these: no secrets, and nothing about a payer that is to be
    forgotten one day.
    """

    name: str
    note: str = ""

    @classmethod
    def checked(cls, name: str, note: str = "") -> "Operator":
        """The same from what somebody typed, without space around it.

        Raises:
            CallerError: the name is empty, or one of them is too long or has invisible characters in it.
        """
        name, note = name.strip(), note.replace("\r\n", "\n").strip()
        if not name:
            raise CallerError("who does this? the name is empty")
        if len(name) > MAX_NAME or not name.isprintable():
            raise CallerError(f"a name is at most {MAX_NAME} printable characters")
        if len(note) > MAX_NOTE:
            raise CallerError(f"a note is at most {MAX_NOTE} characters; this one has {len(note)}")
        if not all(one.isprintable() or one in "\n\t" for one in note):
            raise CallerError("a note is text: this one has invisible characters in it")
        return cls(name=name, note=note)
