"""The protocol adapter for conformance suites that compare SDKs: JSON lines in, JSON lines out.

    python -m flovia.testing.conformance < requests.jsonl

Each line of standard input is ``{"schema": 1, "op": OP, "input": …}``, each line of standard output
``{"ok": true, "value": …}`` or ``{"ok": false, "error": {"type": T, "message": M}}``, in the same order.
``T`` is one of ``parse_error format_error encoding_error generation_error verification_error
unsupported_operation``. The program ends with its input.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import attrs

from flovia.core.binding import Keyring, slots
from flovia.core.challenge import Challenge, encode_opaque, format_challenge, parse_challenge, read_challenges
from flovia.core.credential import Credential, format_credential, parse_credential
from flovia.core.encoding import JsonObject, JsonValue, b64url_decode, b64url_encode, encode_param, loads, loads_object
from flovia.core.errors import FloviaError, ParseError, WiringError
from flovia.core.money import check_amount, to_base_units
from flovia.core.negotiation import rank
from flovia.core.receipt import Receipt, format_receipt, parse_receipt

MAX_LINE: Final = 1 << 20
"""Longest request line, in bytes."""


class _Refused(FloviaError):
    """An operation that ends in an error of a type of its own."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


# --- reading the input --------------------------------------------------------------------------------------


def _text(source: JsonObject, name: str) -> str:
    value = source.get(name)
    if not isinstance(value, str):
        raise _Refused("parse_error", f"input {name!r} has to be text")
    return value


def _optional_text(source: JsonObject, name: str) -> str | None:
    return None if source.get(name) is None else _text(source, name)


def _texts(source: JsonObject, name: str) -> list[str]:
    values = source.get(name)
    if not isinstance(values, list):
        raise _Refused("parse_error", f"input {name!r} has to be a list of texts")
    return [_text({name: value}, name) for value in values]


def _object(source: JsonObject, name: str) -> JsonObject:
    value = source.get(name)
    if not isinstance(value, dict):
        raise _Refused("parse_error", f"input {name!r} has to be an object")
    return value


def _member(source: JsonObject, name: str) -> JsonObject:
    """The object to format: the input itself, or its member of that name."""
    return _object(source, name) if isinstance(source.get(name), dict) else source


def _request(source: JsonObject) -> str:
    """The request parameter of a challenge object: as it was on the wire if given, else the JSON encoded."""
    for name in ("request_raw", "request_b64"):
        if isinstance(source.get(name), str):
            return _text(source, name)
    request = source.get("request", source.get("request_json"))
    if isinstance(request, str):
        # As text: JSON in request_json, the parameter itself in request.
        return request if "request" in source else encode_param(loads_object(request))
    if isinstance(request, dict):
        return encode_param(request)
    raise _Refused("parse_error", "input 'request' has to be an object")


def _opaque(source: JsonObject) -> str | None:
    """The opaque parameter: a text is taken as it stands, an object encoded."""
    if isinstance(source.get("opaque_raw"), str):
        return _text(source, "opaque_raw")
    opaque = source.get("opaque", source.get("opaque_json"))
    if isinstance(opaque, dict):
        members: dict[str, str] = {}
        for name in opaque:
            members[name] = _text(opaque, name)
        return encode_opaque(members)
    if opaque is None or isinstance(opaque, str):
        return opaque
    raise _Refused("parse_error", "input 'opaque' has to be text or an object of texts")


def _challenge(source: JsonObject) -> Challenge:
    return Challenge(
        id=_text(source, "id"),
        realm=_text(source, "realm"),
        method=_text(source, "method"),
        intent=_text(source, "intent"),
        request=_request(source),
        expires=_optional_text(source, "expires"),
        digest=_optional_text(source, "digest"),
        opaque=_opaque(source),
        description=_optional_text(source, "description"),
        header=_optional_text(source, "header"),
    )


# --- writing the value ------------------------------------------------------------------------------------


def _challenge_value(challenge: Challenge) -> dict[str, JsonValue]:
    """A challenge as JSON: its request decoded, absent members left out, the wire texts beside."""
    members: dict[str, JsonValue] = {
        field.name: getattr(challenge, field.name)
        for field in attrs.fields(Challenge)
        if field.init and getattr(challenge, field.name) is not None
    }
    members["request"] = challenge.request_json
    members["request_raw"] = challenge.request
    if challenge.opaque is not None:
        members["opaque_raw"] = challenge.opaque
    return members


# --- the operations --------------------------------------------------------------------------------------------


def _parse_challenge(source: JsonObject) -> JsonObject:
    if "headers" in source:
        found = read_challenges(_texts(source, "headers"))
        return {"challenges": [_challenge_value(one) for one in found if isinstance(one, Challenge)]}
    return _challenge_value(parse_challenge(_text(source, "header")))


def _format_challenge(source: JsonObject) -> JsonObject:
    return {"header": format_challenge(_challenge(_member(source, "challenge")))}


def _parse_credential(source: JsonObject) -> JsonObject:
    credential = parse_credential(_text(source, "header"))
    value: dict[str, JsonValue] = {
        "challenge": _challenge_value(credential.challenge),
        "payload": credential.payload,
    }
    if credential.source is not None:
        value["source"] = credential.source
    return value


def _format_credential(source: JsonObject) -> JsonObject:
    source = _member(source, "credential")
    credential = Credential(
        challenge=_challenge(_object(source, "challenge")),
        payload=_object(source, "payload"),
        source=_optional_text(source, "source"),
    )
    return {"header": format_credential(credential)}


def _parse_receipt(source: JsonObject) -> JsonObject:
    receipt = parse_receipt(_text(source, "header"))
    return {
        **receipt.extra,
        "status": receipt.status,
        "method": receipt.method,
        "timestamp": receipt.timestamp,
        "reference": receipt.reference,
    }


def _format_receipt(source: JsonObject) -> JsonObject:
    source = _member(source, "receipt")
    own = ("status", "method", "timestamp", "reference")
    if _text(source, "status") != "success":
        raise ParseError("only a payment that succeeded has a receipt", "format_error")
    receipt = Receipt(
        method=_text(source, "method"),
        timestamp=_text(source, "timestamp"),
        reference=_text(source, "reference"),
        extra={name: value for name, value in source.items() if name not in own},
    )
    return {"header": format_receipt(receipt)}


def _encode(source: JsonObject) -> JsonObject:
    return {"text": b64url_encode(_text(source, "text").encode())}


def _decode(source: JsonObject) -> JsonObject:
    try:
        return {"text": b64url_decode(_text(source, "text")).decode()}
    except UnicodeDecodeError:
        raise ParseError("the decoded bytes are not UTF-8", "encoding_error") from None


def _challenge_id(source: JsonObject) -> JsonObject:
    request = _request(source)
    header = _optional_text(source, "header")
    message = slots(
        _text(source, "realm"),
        _text(source, "method"),
        _text(source, "intent"),
        request,
        _optional_text(source, "expires"),
        _optional_text(source, "digest"),
        _opaque(source),
        # "Authorization" is where credentials go anyway: as a parameter it is the same as none.
        None if header == "Authorization" else header,
    )
    try:
        keyring = Keyring([_text(source, "secretKey")])
    except WiringError as error:
        raise _Refused("generation_error", str(error)) from None
    return {"id": keyring.sign(message), "request_b64": request}


def _rank(source: JsonObject) -> JsonObject:
    offers = _texts(source, "offers")
    return {"order": [offers[index] for index in rank(_optional_text(source, "header"), offers)]}


def _to_base_units(source: JsonObject) -> JsonObject:
    amount = source.get("amount")
    if not isinstance(amount, str):
        raise _Refused("parse_error", "an amount is text: a number could already be rounded")
    try:
        return {"amount": str(to_base_units(amount, _text(source, "currency")))}
    except WiringError as error:
        raise _Refused("parse_error", str(error)) from None


def _check_amount(source: JsonObject) -> JsonObject:
    return {"amount": str(check_amount(source.get("amount")))}


OPERATIONS: Final[Mapping[str, Callable[[JsonObject], JsonObject]]] = {
    "accept_payment.rank": _rank,
    "amount.check": _check_amount,
    "amount.to_base_units": _to_base_units,
    "base64url.decode": _decode,
    "base64url.encode": _encode,
    "challenge.format": _format_challenge,
    "challenge.id": _challenge_id,
    "challenge.parse": _parse_challenge,
    "credential.format": _format_credential,
    "credential.parse": _parse_credential,
    "receipt.format": _format_receipt,
    "receipt.parse": _parse_receipt,
}
"""Every operation by name: from its input to its value."""


def answer(request: JsonObject) -> JsonObject:
    """The response to one request."""
    operation = request.get("op")
    try:
        if request.get("schema") != 1 or not isinstance(operation, str) or operation not in OPERATIONS:
            raise _Refused("unsupported_operation", "unknown schema or operation")
        return {"ok": True, "value": OPERATIONS[operation](_object(request, "input"))}
    except (_Refused, ParseError) as error:
        kind = error.kind
        # To the suite, a header that does not decode is one that does not parse.
        if kind == "encoding_error" and not str(operation).startswith("base64url."):
            kind = "parse_error"
        if kind == "parse_error" and str(operation).endswith(".format"):
            kind = "format_error"
        return {"ok": False, "error": {"type": kind, "message": str(error)}}


def respond(lines: Iterable[bytes]) -> Iterator[str]:
    """The response line to each request line."""
    for line in lines:
        try:
            if len(line) > MAX_LINE:
                raise ParseError(f"line longer than {MAX_LINE} bytes")
            request = loads(line, max_depth=64)
            if not isinstance(request, dict):
                raise ParseError("a request is a JSON object")
            response = answer(request)
        except ParseError as error:
            response = {"ok": False, "error": {"type": "parse_error", "message": str(error)}}
        yield json.dumps(response)


def main() -> None:
    """Answer standard input line by line; ``--help`` says what a line is."""
    argparse.ArgumentParser(
        prog="python -m flovia.testing.conformance",
        usage="%(prog)s [-h] < requests.jsonl",
        description=__doc__,
        epilog=f"Operations: {' '.join(OPERATIONS)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()
    for response in respond(sys.stdin.buffer):
        print(response, flush=True)


if __name__ == "__main__":
    main()
