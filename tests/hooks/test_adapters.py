"""Webhooks over real servers: raw bytes, bounded reading, POST only, on every adapter, mounted or not."""

import os
import socket
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import cast
from wsgiref.types import WSGIApplication

import attrs
import pytest

from flovia.core.listening import TEXTS
from flovia.ledger.base import Ledger
from flovia.ledger.opening import open_ledger
from flovia.testing.fixture import WSGI_ADAPTERS
from flovia.testing.servers import AsgiApplication, AsgiServer, WsgiServer, serve_asgi, serve_wsgi
from tests.adapters.behaviour.wire import Reply, exchange, head
from tests.hooks.apps import BANK, HOOK, LEDGER, MAKERS, MOUNTED
from tests.hooks.bank import Bank, HookBankProvider, event, sign
from tests.patience import eventually

SERVERS = {
    **dict.fromkeys(WSGI_ADAPTERS, ("wsgiref", "waitress", "gunicorn", "gunicorn-gthread")),
    **dict.fromkeys(("asgi", "fastapi", "hono"), ("uvicorn", "uvicorn-h11", "hypercorn", "hypercorn-trio")),
}
QUICK = (
    ("wsgi", "wsgiref"),
    ("wsgi", "gunicorn"),
    ("flask", "waitress"),
    ("asgi", "uvicorn"),
    ("fastapi", "uvicorn-h11"),
    ("hono", "hypercorn-trio"),
    ("asgi", "hypercorn"),
)
ALL = [(adapter, server) for adapter, servers in SERVERS.items() for server in servers]
TERMINATED = {"gunicorn", "gunicorn-gthread", "waitress"}
"""WSGI servers that mark the end of a chunked body (waitress gives it a length)."""


@attrs.frozen
class Site:
    """A served shop and the ledger it writes."""

    adapter: str
    server: str
    url: str
    ledger: Ledger

    def post(
        self,
        body: bytes,
        *fields: tuple[str, str],
        path: str = HOOK,
        http_method: str = "POST",
        chunked: bool = False,
        length: int | None = None,
    ) -> Reply:
        """Send a webhook with its signature."""
        headers = [("Host", self.url.removeprefix("http://")), ("Connection", "close"), *fields]
        if "Bank-Signature" not in dict(fields):
            headers.append(("Bank-Signature", sign(body)))
        data = body
        if chunked:
            headers.append(("Transfer-Encoding", "chunked"))
            pieces = [body[at : at + 1000] for at in range(0, len(body), 1000)]
            data = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        else:
            headers.append(("Content-Length", str(len(body) if length is None else length)))
        return exchange(self.url, head(http_method, path, headers) + data, http_method)

    def late(self, payment: str) -> int:
        """How many events tell that the payment was late."""
        self.ledger.flush()
        events = [one for _, one in self.ledger.read_events(limit=10_000)]
        return sum(one.type == "payment.late" and one.payment_id == payment for one in events)


@pytest.fixture(scope="module", params=ALL if os.environ.get("CI") else QUICK, ids="@".join)
def site(request: pytest.FixtureRequest, bank_url: str, tmp_path_factory: pytest.TempPathFactory) -> Generator[Site]:
    """Every adapter on its servers, with a ledger in a file."""
    adapter, server = request.param
    ledger = f"sqlite:///{tmp_path_factory.mktemp('hooks') / 'hooks.db'}"
    os.environ[BANK], os.environ[LEDGER] = bank_url, ledger
    app: object = MAKERS[adapter]()
    if server.startswith("gunicorn"):
        app = f"tests.hooks.apps:{adapter}_app()"
    if adapter in WSGI_ADAPTERS:
        running = serve_wsgi(cast("WSGIApplication | str", app), server=cast("WsgiServer", server))
    else:
        running = serve_asgi(cast("AsgiApplication", app), server=cast("AsgiServer", server))
    with running as url:
        opened = open_ledger(ledger)
        yield Site(adapter, server, url, opened)
        opened.close()
    del os.environ[BANK], os.environ[LEDGER]


def check(reply: Reply, status: int, code: str) -> None:
    """The answer is small JSON with a fixed text."""
    assert (status, code) == (reply.status, reply.json.get("code")), reply
    assert TEXTS[code] == reply.json["detail"]
    assert ("application/json", "no-store") == (reply.one("content-type"), reply.one("cache-control"))


@pytest.mark.parametrize("path", [HOOK, MOUNTED])
@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded", "text/plain"])
def test_the_very_bytes(site: Site, bank: Bank, path: str, kind: str) -> None:
    """The signature is checked over the bytes as they came, whatever the framework would make of them."""
    payment = bank.pay(f"late-{path[1:4]}-{kind[-4:]}", "challenge", state="late")
    check(site.post(event(payment), ("Content-Type", kind), path=path), 200, "accepted")
    assert 1 == site.late(payment)
    check(site.post(event(payment).strip(), ("Bank-Signature", sign(event(payment))), path=path), 401, "bad-signature")
    check(site.post(b"\xff\x00\xfe", ("Content-Type", kind), path=path), 400, "malformed")


def test_no_body(site: Site) -> None:
    """Nothing is something to check, too."""
    check(site.post(b""), 400, "malformed")
    check(site.post(b"", ("Bank-Signature", "test")), 401, "bad-signature")


def test_too_large(site: Site) -> None:
    """A body above the limit is 413, whether its length was announced or not, and is not waited for."""
    largest = event("nobody").ljust(HookBankProvider.max_webhook)
    check(site.post(largest), 200, "ignored")
    check(site.post(largest + b" "), 413, "body-too-large")
    if site.server == "waitress":  # it keeps whole bodies before it asks anybody, up to a limit of its own
        assert 413 == site.post(b"{", length=1 << 40).status
    else:
        check(site.post(b"{", length=1 << 40), 413, "body-too-large")
    chunked = site.post(largest + b" ", chunked=True)
    if site.server == "wsgiref":
        check(chunked, 411, "length-required")
    elif chunked.status:  # a server may cut off who goes on sending
        check(chunked, 413, "body-too-large")


def test_chunked(site: Site, bank: Bank) -> None:
    """A chunked body is read where its end can be seen; elsewhere it is 411."""
    payment = bank.pay("late-chunked", "challenge", state="late")
    reply = site.post(event(payment).ljust(2500), chunked=True)
    if site.adapter in WSGI_ADAPTERS and site.server not in TERMINATED:
        check(reply, 411, "length-required")
        assert 0 == site.late(payment)
    else:
        check(reply, 200, "accepted")
        assert 1 == site.late(payment)


@pytest.mark.parametrize("http_method", ["GET", "PUT"])
def test_post_only(site: Site, http_method: str) -> None:
    """Another HTTP method is 405 and names the right one; the router says so, or the receiver."""
    reply = site.post(b"", path=HOOK, http_method=http_method)
    assert 405 == reply.status
    assert "POST" in (reply.one("allow") or "")
    reply = site.post(b"", path=MOUNTED, http_method=http_method)
    check(reply, 405, "method-not-allowed")
    assert "POST" == reply.one("allow")


def test_all_at_once(site: Site, bank: Bank) -> None:
    """Twenty duplicates in parallel, each sent again as long as it is asked for: 200 in the end, and one record."""
    payment = bank.pay("late-twenty", "challenge", state="late")

    def insist() -> Reply:
        # On a busy machine the bank's answer to one of them can come after its deadline.
        return eventually(lambda: site.post(event(payment)), lambda reply: reply.status != 503)

    with ThreadPoolExecutor(20) as pool:
        replies = [pool.submit(insist) for _ in range(20)]
        for reply in replies:
            check(reply.result(), 200, "accepted")
    assert 1 == site.late(payment)


def test_again_later(site: Site, bank: Bank) -> None:
    """While the bank does not answer: 503 and when to come back."""
    payment = bank.pay("late-again", "challenge", state="late")
    bank.faults.append("503")
    reply = site.post(event(payment))
    check(reply, 503, "try-again")
    assert "30" == reply.one("retry-after")
    check(site.post(event(payment)), 200, "accepted")


def test_a_client_that_goes_away(site: Site, bank: Bank) -> None:
    """Half a body is no webhook, and the next one is served as ever."""
    payment = bank.pay("late-half", "challenge", state="late")
    body = event(payment)
    host, _, port = site.url.removeprefix("http://").partition(":")
    fields = [("Host", host), ("Content-Length", str(len(body) + 100)), ("Bank-Signature", sign(body))]
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(head("POST", HOOK, fields) + body)
    check(site.post(event("nobody")), 200, "ignored")
    assert 0 == site.late(payment)
