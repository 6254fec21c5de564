"""What the ledger keeps of a paid call, so that a redelivery needs no second question to the provider."""

import json
from json.encoder import encode_basestring_ascii as _quote
from typing import Final

from flovia.core.passage import Settled
from flovia.core.provider import Paid
from flovia.core.receipt import receipt_text

_encode: Final = json.JSONEncoder(separators=(",", ":")).encode


def write_record(paid: Paid, payer: str | None, timestamp: str) -> str:
    """One text for the ledger: a JSON array of what a receipt and its company are made of.

    The receipt itself is a secret and not in it; method and reference stand in the ledger's other columns.
    """
    headers = _encode(paid.receipt_headers) if paid.receipt_headers else "[]"
    extra = _encode(paid.receipt_extra) if paid.receipt_extra else "{}"
    who = "null" if payer is None else _quote(payer)
    whom = "null" if paid.recipient is None else _quote(paid.recipient)
    return f'["{timestamp}",{who},{whom},{headers},{extra}]'


def read_record(record: str, method: str, reference: str) -> Settled:
    """What a text of :func:`write_record` stands for."""
    timestamp, payer, recipient, headers, extra = json.loads(record)
    return Settled(
        receipt_text(method, reference, timestamp, extra),
        tuple((name, value) for name, value in headers),
        payer,
        recipient,
    )
