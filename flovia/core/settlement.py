"""What the ledger keeps of a paid call, so that a redelivery needs no second question to the provider."""

import json

import attrs


@attrs.frozen(kw_only=True)
class Settlement:
    """The receipt as it goes on the wire, the response headers that go with it, and who paid whom."""

    receipt: str = attrs.field(repr=False)
    headers: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False)
    payer: str | None = None
    recipient: str | None = None
    amount: int = 0
    currency: str = ""


def write_record(settlement: Settlement) -> str:
    """The settlement as one text for the ledger."""
    return json.dumps(
        [
            settlement.receipt,
            settlement.headers,
            settlement.payer,
            settlement.recipient,
            settlement.amount,
            settlement.currency,
        ],
        separators=(",", ":"),
    )


def read_record(record: str) -> Settlement:
    """The settlement of a text that :func:`write_record` made."""
    receipt, headers, payer, recipient, amount, currency = json.loads(record)
    return Settlement(
        receipt=receipt,
        headers=tuple((name, value) for name, value in headers),
        payer=payer,
        recipient=recipient,
        amount=amount,
        currency=currency,
    )
