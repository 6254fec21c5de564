"""The agent of the demo: an ordinary httpx client that pays, and a record of what went over the wire."""

from pathlib import Path

import attrs
import httpx

from flovia.client import Budget, MockWallet, PendingFiles
from flovia.client.httpx import PayingTransport
from flovia.core.challenge import Challenge, parse_challenge
from flovia.core.credential import Credential, parse_credential
from flovia.core.errors import PeerError
from flovia.core.receipt import Receipt, parse_receipt


@attrs.frozen(kw_only=True)
class Exchange:
    """One paid call as it was seen on the wire: asked, refused, paid, answered."""

    challenge: Challenge
    credential: Credential
    receipt: Receipt
    status: int
    body: str


class _Recorder(httpx.BaseTransport):
    """Does the actual HTTP below the paying transport, and keeps both requests with their answers."""

    def __init__(self) -> None:
        self._transport = httpx.HTTPTransport()
        self.calls: list[tuple[httpx.Request, httpx.Response]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self._transport.handle_request(request)
        self.calls.append((request, response))
        return response

    def close(self) -> None:
        self._transport.close()


def pay_once(url: str, *, budget: str, pending: Path) -> Exchange:
    """Call ``url`` and pay what it asks, up to ``budget`` (``"1.00 USD"``). ``pending``: for the credential's file.

    Raises:
        PeerError: the route did not ask for a payment and then answer with a receipt.
    """
    recorder = _Recorder()
    transport = PayingTransport(MockWallet(), budget=Budget(budget), pending=PendingFiles(pending), transport=recorder)
    with httpx.Client(transport=transport, trust_env=False) as agent:
        answer = agent.get(url, headers={"Flovia-Workflow": "demo"})
    if len(recorder.calls) != 2 or answer.status_code != 200:
        raise PeerError(f"the paid route answered {answer.status_code}; run the demo with FLOVIA_ variables unset")
    (_, refused), (paid, _) = recorder.calls
    return Exchange(
        challenge=parse_challenge(refused.headers["www-authenticate"]),
        credential=parse_credential(paid.headers["authorization"]),
        receipt=parse_receipt(answer.headers["payment-receipt"]),
        status=answer.status_code,
        body=answer.text,
    )
