"""What the ledger keeps of a paid call, so that a redelivery needs no second question to the provider."""

import json
from json.encoder import encode_basestring_ascii as _quote
from typing import Final

from flovia.core.encoding import JsonObject
from flovia.core.passage import Settled
from flovia.core.provider import Paid
from flovia.core.receipt import receipt_text

_encode: Final = json.JSONEncoder(separators=(",", ":")).encode


def write_record(paid: Paid, payer: str | None, timestamp: str) -> str:
    """One text for the ledger: a JSON array of what a receipt and its company are made of.

    The receipt itself is a secret and not in it, unless the provider gave it a form of its own; method and reference
    stand in the ledger's other columns.
    """
    headers = _encode(paid.receipt_headers) if paid.receipt_headers else "[]"
    extra = _encode(paid.receipt_extra) if paid.receipt_extra else "{}"
    who = "null" if payer is None else _quote(payer)
    whom = "null" if paid.recipient is None else _quote(paid.recipient)
    if paid.receipt is None and not paid.data:
        return f'["{timestamp}",{who},{whom},{headers},{extra}]'
    own = "null" if paid.receipt is None else _quote(paid.receipt)
    return f'["{timestamp}",{who},{whom},{headers},{extra},{own},{_encode(dict(paid.data))}]'


def read_record(record: str, method: str, reference: str) -> Settled:
    """What a text of :func:`write_record` stands for."""
    timestamp, payer, recipient, headers, extra, *more = json.loads(record)
    own = more[0] if more else None
    return Settled(
        receipt_text(method, reference, timestamp, extra) if own is None else own,
        tuple((name, value) for name, value in headers),
        payer,
        recipient,
    )


def read_data(record: str) -> JsonObject:
    """What the provider wanted to find again with the payment (:attr:`~flovia.core.provider.Paid.data`)."""
    fields = json.loads(record)
    data: JsonObject = fields[6] if len(fields) > 6 else {}
    return data
