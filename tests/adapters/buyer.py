"""A buyer who pays the mock provider and looks at every byte of the answer; for tests over real sockets."""

import http.client
import itertools
import json
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

import attrs

import flovia
from flovia.core.challenge import parse_challenges
from flovia.core.credential import Credential, format_credential
from flovia.core.receipt import Receipt, parse_receipt
from tests.patience import PATIENT_S, eventually

SECRET = "test-secret-of-the-wsgi-and-hono-adapters-01"
Field = tuple[str, str]
_proofs = itertools.count()


def new_flovia(*, ledger: str = "memory://", public_origin: str | None = None) -> flovia.Flovia:
    """The shared settings of a test: the mock provider, one US dollar, a ledger of its own."""
    return flovia.Flovia(
        provider="mock",
        price="1.00 USD",
        ledger=ledger,
        secret=SECRET,
        realm="api.example.com",
        public_origin=public_origin,
    )


def event_types(settings: flovia.Flovia) -> list[str]:
    """The types of the events on record, in order."""
    settings.ledger.flush()
    return [event.type for _, event in settings.ledger.read_events()]


@attrs.frozen
class Answer:
    """What came back. ``complete`` is False if the server broke off."""

    status: int
    headers: tuple[Field, ...]
    body: bytes = b""
    complete: bool = True

    def all(self, name: str) -> list[str]:
        """Every value of a field."""
        return [value for key, value in self.headers if key.lower() == name]

    def get(self, name: str) -> str | None:
        """A field that may stand there once; None if it is absent."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} stands there {len(values)} times"
        return values[0] if values else None

    @property
    def problem(self) -> str:
        """The last part of the problem's type; "" if this is no problem."""
        if self.get("content-type") != "application/problem+json":
            return ""
        return str(json.loads(self.body)["type"]).replace(":", "/").rpartition("/")[2]

    @property
    def receipt(self) -> Receipt | None:
        """The receipt, parsed strictly."""
        value = self.get("payment-receipt")
        return None if value is None else parse_receipt(value)


def payment(answer: Answer, proof: str | None = None) -> Field:
    """The Authorization field that pays the challenge of a 402; every call is another payment."""
    (challenge, *_) = parse_challenges(answer.all("www-authenticate"))
    payload = {"proof": proof or f"ok-test-{next(_proofs)}"}
    return "Authorization", format_credential(Credential(challenge=challenge, payload=payload))


@attrs.frozen
class Buyer:
    """A client of one server. Every request has a connection of its own, and ends with it."""

    url: str

    def connection(self) -> http.client.HTTPConnection:
        """A connection that gives up only when all patience is gone."""
        return http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=PATIENT_S)

    def ask(
        self,
        path: str,
        headers: Sequence[Field] = (),
        *,
        method: str = "GET",
        body: bytes | Iterable[bytes] | None = None,
    ) -> Answer:
        """One request. ``body``: bytes are sent with their length, pieces are sent chunked."""
        connection = self.connection()
        try:
            connection.putrequest(method, path)
            for name, value in headers:
                connection.putheader(name, value)
            if body is not None:
                if isinstance(body, bytes):
                    connection.putheader("Content-Length", str(len(body)))
                else:
                    connection.putheader("Transfer-Encoding", "chunked")
                connection.endheaders(body, encode_chunked=not isinstance(body, bytes))
            else:
                connection.endheaders()
            response = connection.getresponse()
            try:
                content, complete = response.read(), True
            except http.client.IncompleteRead as error:
                content, complete = error.partial, False
            except ConnectionResetError:
                content, complete = b"", False
            return Answer(response.status, tuple(response.getheaders()), content, complete)
        finally:
            connection.close()

    def buy(self, path: str, *, method: str = "GET", body: bytes | None = None) -> tuple[Field, Answer]:
        """Ask, pay, ask again: the credential and the paid answer."""
        unpaid = self.ask(path, method=method, body=body)
        assert 402 == unpaid.status, unpaid
        credential = payment(unpaid)
        return credential, self.ask(path, [credential], method=method, body=body)

    def again(self, path: str, *fields: Field, method: str = "GET", body: bytes | None = None) -> Answer:
        """Use a credential once more, when the server has noted how the last delivery ended."""
        return eventually(
            lambda: self.ask(path, list(fields), method=method, body=body), lambda answer: answer.status != 409
        )
