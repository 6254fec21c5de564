"""The credential: ``Authorization: Payment <base64url>``, the echo of a challenge and the proof that it was paid.

The echo's ``request`` and ``opaque`` stay the texts from the wire, undecoded: the issuer's MAC over them
is what makes them trustworthy, and it is checked before anything reads them.
"""

from json.encoder import encode_basestring
from typing import Final

import attrs

from flovia.core.challenge import Challenge
from flovia.core.encoding import JsonObject, b64url_encode, canonical_text, decode_param
from flovia.core.errors import ParseError
from flovia.core.fields import payment_credentials

MAX_TOKEN: Final = 16384
"""Longest credential token we read, in characters (S34)."""


@attrs.define
class Credential:
    """What a payer presents. ``challenge`` is the echo, unverified until its id is authenticated.

    ``payload`` is the payment method's proof, a secret: it is in no repr. ``source`` names the payer
    (a DID, say), only if the payer chose to; nobody has verified it. Read-only by agreement, like the challenge.
    """

    challenge: Challenge
    payload: JsonObject = attrs.field(repr=False)
    source: str | None = None


def parse_credential(value: str) -> Credential:
    """Read an ``Authorization`` value that holds exactly one Payment credential (other schemes may stand beside).

    Raises:
        ParseError: none, more than one, or a malformed one.
    """
    found = payment_credentials((value,))
    if len(found) != 1:
        raise ParseError(f"{len(found)} Payment credentials where one was expected")
    return parse_token(found[0])


def parse_token(token: str) -> Credential:
    """Read the token68 of a Payment credential.

    Members we do not know are ignored, at the top and in the echo: the MAC does not cover them, so nothing
    may depend on them. Known members have to be text (``payload`` an object). An optional member that is
    null counts as absent, because peers write it so; one that is "" does not.

    Raises:
        ParseError: longer than 16 KiB, not base64url, not strict JSON, a member missing or of the wrong type.
    """
    if len(token) > MAX_TOKEN:
        raise ParseError(f"credential longer than {MAX_TOKEN} characters")
    members = decode_param(token)
    echo, payload = members.get("challenge"), members.get("payload")
    if not isinstance(echo, dict) or not isinstance(payload, dict):
        raise ParseError("credential without a challenge object and a payload object")
    get = echo.get
    ident, realm, method, intent, request = (
        get("id"),
        get("realm"),
        get("method"),
        get("intent"),
        get("request"),
    )
    if not (
        ident
        and isinstance(ident, str)
        and isinstance(realm, str)
        and isinstance(method, str)
        and isinstance(intent, str)
        and isinstance(request, str)
    ):
        raise ParseError("credential whose challenge lacks one of the texts id, realm, method, intent, request")
    expires, digest, opaque = get("expires"), get("digest"), get("opaque")
    description, header, source = get("description"), get("header"), members.get("source")
    if not (
        (expires is None or isinstance(expires, str))
        and (digest is None or isinstance(digest, str))
        and (opaque is None or isinstance(opaque, str))
        and (description is None or isinstance(description, str))
        and (header is None or isinstance(header, str))
        and (source is None or isinstance(source, str))
    ):
        raise ParseError("credential with an optional member that is not text")
    # Positional, as keywords would double the cost of making it.
    challenge = Challenge(ident, realm, method, intent, request, expires, digest, opaque, description, header)
    return Credential(challenge, payload, source)


def format_credential(credential: Credential) -> str:
    """The credential as an ``Authorization`` value; the challenge is echoed as received (C03).

    Raises:
        ParseError: of kind ``format_error``: the payload is not JSON.
    """
    c = credential.challenge
    quote = encode_basestring
    parts = [f'"id":{quote(c.id)},"intent":{quote(c.intent)},"method":{quote(c.method)}']
    if c.opaque is not None:
        parts.append(f'"opaque":{quote(c.opaque)}')
    parts.append(f'"realm":{quote(c.realm)},"request":{quote(c.request)}')
    # Members in JCS order, so that equal credentials are equal texts.
    before = [
        f'"{name}":{quote(text)},'
        for name, text in (
            ("description", c.description),
            ("digest", c.digest),
            ("expires", c.expires),
            ("header", c.header),
        )
        if text is not None
    ]
    payload = canonical_text(credential.payload)[0]
    source = "" if credential.source is None else f',"source":{quote(credential.source)}'
    text = f'{{"challenge":{{{"".join(before)}{",".join(parts)}}},"payload":{payload}{source}}}'
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        raw = None
    if raw is None:
        raise ParseError("credential not emitted: its texts have to be well-formed Unicode", "format_error")
    return f"Payment {b64url_encode(raw)}"
