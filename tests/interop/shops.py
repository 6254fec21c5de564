"""pympp as a server: FastAPI routes gated with ``@pay(...)`` the way its documentation shows it, unmodified."""

from datetime import timedelta
from typing import cast

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from mpp.errors import VerificationFailedError

from tests.interop.pympp import (
    ComposedHandler,
    Credential,
    FrameworkRequest,
    ProofPayload,
    Receipt,
    Server,
    ServerMethod,
    VerifyContext,
    mock_method,
    pay,
)

REALM = "pympp.example.com"
SECRET = "test-secret-of-the-pympp-server-0001"
DESCRIPTION = 'Five “apples” 🍎, "fresh"'
"""Nothing between U+0080 and U+00FF: with that, pympp answers 500 (see test_peer_claims.py)."""


class Verifier:
    """The mock method on the server's side: takes every proof that starts with ``ok`` and counts what it took."""

    def __init__(self) -> None:
        self.proofs: list[str] = []
        self.sources: list[str | None] = []

    async def verify(self, context: VerifyContext) -> Receipt:
        """What pympp calls for an authentic credential."""
        # pympp hands over the parsed payload model in a field that it types as a dict.
        proof = cast(ProofPayload, context.credential.payload).proof
        if not proof.startswith("ok"):
            raise VerificationFailedError("not paid")
        self.proofs.append(proof)
        self.sources.append(context.credential.source)
        return Receipt.success(f"pympp-{proof}", method=context.challenge.method, external_id="order 7")

    def method(self, name: str = "mock") -> ServerMethod:
        """The server's half of a method that is paid like the mock provider."""
        return ServerMethod(method=mock_method(name), verify=self.verify)


def charge(server: Server, **options: object) -> ComposedHandler:
    """A gate of 1.00 usd; ``options`` as pympp's ``charge`` takes them."""
    return cast(ComposedHandler, server["charge"](amount="100", currency="usd", **options))


def whole_body(request: FrameworkRequest) -> bytes | None:
    """What pympp puts into the digest of a route that asks for one."""
    return request.body


def build(verifier: Verifier) -> FastAPI:
    """The app. Its views take the request alone: pympp passes nothing else on (see test_peer_claims.py)."""
    app = FastAPI()
    one = Server(verifier.method(), realm=REALM, secret_key=SECRET)
    two = Server([verifier.method("alt"), verifier.method("mock")], realm=REALM, secret_key=SECRET)
    with_login = Server(verifier.method(), realm=REALM, secret_key=SECRET, requires_auth=True)

    @app.get("/paid")
    @pay(charge(one))
    async def paid(request: Request, credential: Credential, receipt: Receipt) -> Response:
        return JSONResponse({"foo": "bar"})

    @app.get("/described")
    @pay(charge(one, description=DESCRIPTION, expires_in=timedelta(minutes=2), meta={"order": "ä 🍎"}))
    async def described(request: Request, credential: Credential, receipt: Receipt) -> Response:
        return JSONResponse({"foo": "bar"})

    @app.get("/expired")
    @pay(charge(one, expires_in=timedelta(minutes=-1)))
    async def expired(request: Request, credential: Credential, receipt: Receipt) -> Response:
        return JSONResponse({"foo": "bar"})

    @app.post("/echo")
    @pay(charge(one, body=whole_body))
    async def echo(request: Request, credential: Credential, receipt: Receipt) -> Response:
        return Response(await request.body(), media_type="application/octet-stream")

    @app.get("/two")
    @pay(charge(two))
    async def both(request: Request, credential: Credential, receipt: Receipt) -> Response:
        return JSONResponse({"method": receipt.method})

    @app.get("/with-login")
    @pay(charge(with_login))
    async def login(request: Request, credential: Credential, receipt: Receipt) -> Response:
        return JSONResponse({"login": request.headers["authorization"]})

    return app
