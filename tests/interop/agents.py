"""Foreign clients behind one face: pympp's httpx client and mppx's fetch, unmodified.

Both pay with a method of our own (neither SDK knows the mock provider), which is how their documentation says
to add one.
"""

import asyncio
import ssl
from collections.abc import Sequence
from typing import Any, Protocol, cast

import attrs
import httpx
from mpp.errors import PaymentError

from flovia.core.encoding import JsonObject, JsonValue
from tests.interop.javascript import Javascript
from tests.interop.pympp import (
    Challenge,
    ClientMethod,
    Credential,
    CredentialParams,
    PaymentTransport,
    Receipt,
    mock_method,
)
from tests.patience import PATIENT_S

TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Unused on loopback. Without it httpx would read the certificate store for every client it makes."""


@attrs.frozen(kw_only=True)
class Interlude:
    """A POST that the client sends between reading its first challenge and answering it."""

    url: str
    body: str


@attrs.frozen(kw_only=True)
class Answer:
    """What a client got, and what it did for it.

    ``receipt`` as the client's own parser reads it; ``challenges`` by the same, those it chose to answer;
    ``credentials`` the field values it sent.
    """

    status: int
    headers: httpx.Headers
    body: bytes
    receipt: JsonObject | None
    challenges: list[JsonObject]
    credentials: list[str] = attrs.field(repr=False)

    @property
    def challenge_ids(self) -> list[str]:
        """The ids of the challenges."""
        return [cast(str, challenge["id"]) for challenge in self.challenges]


class GaveUp(Exception):
    """The client raised instead of answering."""


class Agent(Protocol):
    """A client that pays."""

    def fetch(
        self,
        url: str,
        *,
        http_method: str = "GET",
        body: str | None = None,
        headers: dict[str, str] | None = None,
        methods: Sequence[str] = ("mock",),
        proof: str | None = None,
        interlude: Interlude | None = None,
    ) -> Answer:
        """Send one request and pay for it if asked; ``methods`` it has wallets for, best first.

        Raises:
            GaveUp: the client would not go on, so there is no answer.
        """
        ...


class PymppAgent:
    """pympp's client: its ``PaymentTransport`` in an ``httpx.AsyncClient``."""

    def __init__(self) -> None:
        self._paid = 0

    def fetch(
        self,
        url: str,
        *,
        http_method: str = "GET",
        body: str | None = None,
        headers: dict[str, str] | None = None,
        methods: Sequence[str] = ("mock",),
        proof: str | None = None,
        interlude: Interlude | None = None,
    ) -> Answer:
        """See :class:`Agent`."""
        challenges: list[Challenge] = []
        credentials: list[str] = []

        async def create(params: CredentialParams) -> str:
            challenges.append(params.challenge)
            if interlude is not None and not credentials:
                async with httpx.AsyncClient(timeout=PATIENT_S) as plain:
                    fields = {"content-type": "application/json"}
                    (await plain.post(interlude.url, content=interlude.body, headers=fields)).raise_for_status()
            self._paid += 1
            payload = {"proof": proof or f"ok-pympp-{id(self)}-{self._paid}"}
            credential = Credential(challenge=params.challenge.to_echo(), payload=payload, source="did:key:pympp")
            credentials.append(credential.to_authorization())
            return credentials[-1]

        async def go() -> httpx.Response:
            wallets = [ClientMethod(method=mock_method(name), create_credential=create) for name in methods]
            transport = PaymentTransport(wallets, inner=httpx.AsyncHTTPTransport(verify=TLS))
            async with httpx.AsyncClient(transport=transport, timeout=PATIENT_S) as client:
                return await client.request(http_method, url, content=body, headers=headers)

        try:
            response = asyncio.run(go())
        except PaymentError as error:
            raise GaveUp(str(error)) from error
        field = response.headers.get("payment-receipt")
        return Answer(
            status=response.status_code,
            headers=response.headers,
            body=response.content,
            receipt=None if field is None else read_receipt(Receipt.from_payment_receipt(field)),
            challenges=[read_challenge(challenge) for challenge in challenges],
            credentials=credentials,
        )


class MppxAgent:
    """mppx's fetch on Node."""

    def __init__(self, javascript: Javascript) -> None:
        self._javascript = javascript

    def fetch(
        self,
        url: str,
        *,
        http_method: str = "GET",
        body: str | None = None,
        headers: dict[str, str] | None = None,
        methods: Sequence[str] = ("mock",),
        proof: str | None = None,
        interlude: Interlude | None = None,
    ) -> Answer:
        """See :class:`Agent`."""
        given: dict[str, JsonValue] = {
            "url": url,
            "method": http_method,
            "body": body,
            "headers": headers,
            "methods": list(methods),
            "proof": proof,
            "interlude": None if interlude is None else {"url": interlude.url, "body": interlude.body},
        }
        answer = self._javascript.call("fetch", **{name: value for name, value in given.items() if value is not None})
        if "gaveUp" in answer:
            raise GaveUp(str(answer["gaveUp"]))
        return Answer(
            status=cast(int, answer["status"]),
            headers=httpx.Headers(cast("dict[str, str]", answer["headers"])),
            body=cast(str, answer["body"]).encode(),
            receipt=cast("JsonObject | None", answer["receipt"]),
            challenges=cast("list[JsonObject]", answer["challenges"]),
            credentials=cast("list[str]", answer["credentials"]),
        )


def read_receipt(receipt: Receipt) -> JsonObject:
    """pympp's receipt as the members of the wire."""
    members: dict[str, Any] = {
        "status": receipt.status,
        "method": receipt.method,
        "reference": receipt.reference,
        "timestamp": receipt.timestamp.isoformat().replace("+00:00", "Z"),
        "externalId": receipt.external_id,
        **(receipt.extensions or {}),
    }
    return {name: value for name, value in members.items() if value is not None}


def read_challenge(challenge: Challenge) -> JsonObject:
    """pympp's challenge as the members that mppx's has."""
    members: dict[str, Any] = {
        "id": challenge.id,
        "realm": challenge.realm,
        "method": challenge.method,
        "intent": challenge.intent,
        "request": challenge.request,
        "requestText": challenge.request_b64,
        "expires": challenge.expires,
        "digest": challenge.digest,
        "description": challenge.description,
        "header": challenge.header,
    }
    return {name: value for name, value in members.items() if value is not None}
