"""The raw WSGI adapter, over every WSGI server we name, with apps that use all that PEP 3333 allows."""

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from flovia.testing.servers import WSGI_SERVERS, WsgiServer, serve_wsgi
from tests.adapters.buyer import Buyer, payment
from tests.adapters.wsgi_apps import STRICT
from tests.patience import PATIENT_S, eventually


@pytest.fixture(scope="module", params=WSGI_SERVERS)
def server(request: pytest.FixtureRequest) -> WsgiServer:
    """The server's name."""
    name: WsgiServer = request.param
    return name


@pytest.fixture(scope="module")
def buyer(server: WsgiServer) -> Iterator[Buyer]:
    """A client of the apps on one server."""
    with serve_wsgi("tests.adapters.wsgi_apps:make_app()", server=server) as url:
        yield Buyer(url)


def count_closed(buyer: Buyer, path: str, at_least: int = 0) -> int:
    """How often the app's iterable was closed, once it is ``at_least`` so often: servers close after sending."""
    return eventually(lambda: buyer.ask("/closed").body.count(path.encode()), lambda found: found >= at_least)


def test_one_payment_buys_one_answer(buyer: Buyer) -> None:
    """Unpaid: 402 with a fresh challenge. Paid: the answer, a receipt, private. Used: 402 (S01 S04 S23 S26 S27)."""
    first, second = buyer.ask("/plain"), buyer.ask("/plain")
    assert (402, "payment-required", "no-store") == (first.status, first.problem, first.get("cache-control"))
    assert first.get("www-authenticate") != second.get("www-authenticate")

    credential = payment(first)
    paid = buyer.ask("/plain", [credential])
    assert (200, b"whole", "private") == (paid.status, paid.body, paid.get("cache-control"))
    assert paid.receipt is not None
    assert "success" == paid.receipt.status

    used = buyer.again("/plain", credential)
    assert (402, "invalid-challenge") == (used.status, used.problem)
    assert used.all("www-authenticate")


@pytest.mark.parametrize("path", ["/plain", "/several", "/late", "/unstarted", "/written", "/filed"])
def test_every_way_to_answer_is_delivered_whole(buyer: Buyer, path: str) -> None:
    """Lists, generators, a late start, write() and files arrive as the app made them, and count as delivered."""
    credential, paid = buyer.buy(path)
    assert (201 if path == "/unstarted" else 200, b"whole", True) == (paid.status, paid.body, paid.complete)
    assert paid.receipt is not None
    assert "invalid-challenge" == buyer.again(path, credential).problem


@pytest.mark.parametrize("path", STRICT)
def test_both_sides_keep_to_pep_3333(buyer: Buyer, path: str) -> None:
    """The validator of the standard library finds no fault with us, as an app nor as a server."""
    method, body = ("POST", b"whole") if path == "/echo" else ("GET", None)
    _, paid = buyer.buy("/strict" + path, method=method, body=body)
    assert (b"denied" if path == "/denied" else b"whole", True) == (paid.body, paid.complete)
    assert paid.status < 500


def test_a_list_of_one_piece_keeps_its_length(buyer: Buyer, server: WsgiServer) -> None:
    """Where the server works out Content-Length for a short list it still can."""
    _, paid = buyer.buy("/plain")
    assert ("5" if server in ("wsgiref", "waitress") else None) == paid.get("content-length")


def test_an_answer_without_a_body(buyer: Buyer) -> None:
    """A 204 carries its receipt and is delivered when the server has asked for all of its nothing."""
    credential, paid = buyer.buy("/empty")
    assert (204, b"") == (paid.status, paid.body)
    assert paid.receipt is not None
    assert "invalid-challenge" == buyer.again("/empty", credential).problem


@pytest.mark.parametrize(
    ("path", "status"), [("/denied", 403), ("/corrected", 500), ("/excused", 200)], ids=lambda value: str(value)
)
def test_an_error_page_is_no_delivery(buyer: Buyer, path: str, status: int) -> None:
    """Below 400 or not: what the app presents as an error has no receipt and leaves the payment (S07 S24)."""
    credential, paid = buyer.buy(path)
    assert (status, None) == (paid.status, paid.get("payment-receipt"))
    assert not paid.all("www-authenticate")
    assert status == buyer.again(path, credential).status


@pytest.mark.parametrize("path", ["/raising", "/raising_late", "/silent", "/twice", "/nameless"])
def test_an_app_that_fails_before_its_first_byte(buyer: Buyer, path: str) -> None:
    """The client gets our 500, which says that it has paid, without a receipt; it can come back (S24)."""
    credential, paid = buyer.buy(path)
    assert (500, "delivery-failed", None) == (paid.status, paid.problem, paid.get("payment-receipt"))
    assert not paid.all("www-authenticate")
    assert b"raised" not in paid.body
    assert (500, "delivery-failed") == ((again := buyer.again(path, credential)).status, again.problem)


@pytest.mark.parametrize("path", ["/breaking", "/breaking_write"])
def test_an_answer_that_breaks_off_is_no_delivery(buyer: Buyer, path: str) -> None:
    """After the first byte the answer is cut short, as it would be without flovia, and stays redeemable."""
    credential, paid = buyer.buy(path)
    assert (200, b"part", False) == (paid.status, paid.body, paid.complete)
    assert 200 == buyer.again(path, credential).status


def test_a_client_that_leaves_can_come_back(buyer: Buyer) -> None:
    """Going away in the middle of a stream closes the app's iterable, and the payment can be redeemed."""
    credential = payment(buyer.ask("/endless"))
    before = count_closed(buyer, "/endless")
    for closed in (1, 2):
        connection = buyer.connection()
        connection.request("GET", "/endless", headers=dict([credential]))
        response = connection.getresponse()
        assert 200 == response.status
        assert b"x" == response.read(1)
        response.close()
        connection.close()
        assert before + closed == count_closed(buyer, "/endless", before + closed)


def test_every_iterable_is_closed(buyer: Buyer) -> None:
    """The app's close() is called after the last piece, and when its answer was replaced."""
    for path in ("/unstarted", "/silent"):
        before = count_closed(buyer, path)
        buyer.buy(path)
        assert before + 1 == count_closed(buyer, path, before + 1)


def test_the_body_is_bound_and_reaches_the_app(buyer: Buyer) -> None:
    """The digest of the body stands in the challenge; another body is refused, the same one echoed (S15 S17)."""
    unpaid = buyer.ask("/echo", method="POST", body=b"first words")
    assert 'digest="sha-256=:' in unpaid.all("www-authenticate")[0]
    credential = payment(unpaid)
    for other in (b"other words", b"", None):
        refused = buyer.ask("/echo", [credential], method="POST", body=other)
        assert (402, "invalid-challenge") == (refused.status, refused.problem)
    paid = buyer.ask("/echo", [credential], method="POST", body=b"first words")
    assert (200, b"first words") == (paid.status, paid.body)


def test_a_chunked_body(buyer: Buyer, server: WsgiServer) -> None:
    """It is read where the server marks its end; on wsgiref, which does not, the answer is 411."""
    if server == "wsgiref":
        unpaid = buyer.ask("/echo", [("Transfer-Encoding", "chunked")], method="POST")
        assert (411, "length-required") == (unpaid.status, unpaid.problem)
        return
    unpaid = buyer.ask("/echo", method="POST", body=[b"first ", b"words"])
    credential = payment(unpaid)
    paid = buyer.ask("/echo", [credential], method="POST", body=[b"fir", b"st words"])
    assert (200, b"first words") == (paid.status, paid.body)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit(buyer: Buyer, server: WsgiServer, chunked: bool) -> None:
    """One byte more than ``max_body`` is 413; the limit itself is served."""
    if not (chunked and server == "wsgiref"):
        assert 402 == buyer.ask("/echo", method="POST", body=b"x" * 1000).status
        over = b"x" * 1001
        answer = buyer.ask("/echo", method="POST", body=[over] if chunked else over)
        assert (413, "body-too-large") == (answer.status, answer.problem)


def test_head_and_options(buyer: Buyer) -> None:
    """HEAD gets the 402 of a GET without its body, credential or not; OPTIONS gets 204 and pays nothing."""
    unpaid = buyer.ask("/plain", method="HEAD")
    assert (402, b"") == (unpaid.status, unpaid.body)
    credential = payment(unpaid)
    assert 402 == buyer.ask("/plain", [credential], method="HEAD").status
    assert (204, b"") == ((allowed := buyer.ask("/plain", [credential], method="OPTIONS")).status, allowed.body)
    assert 200 == buyer.ask("/plain", [credential]).status


def test_several_authorization_fields(buyer: Buyer) -> None:
    """Servers join the fields with a comma: one Payment among others works, two are 400 (S48)."""
    credential = payment(buyer.ask("/plain"))
    two = buyer.ask("/plain", [credential, payment(buyer.ask("/plain"))])
    assert (400, "bad-request") == (two.status, two.problem)
    assert 200 == buyer.ask("/plain", [("Authorization", "Bearer test-token"), credential]).status


@pytest.mark.parametrize(
    "field",
    [
        b"Authorization: Payment\r\n e30",
        b"Authorization: Payment e\x0030",
        b"Authorization: Payment \x0be30\x7f",
        b"Authorization: Payment \xc3\xa9\xff",
        b"Authorization: Payment",
        b"Authorization: Payment " + b"A" * 60_000,
        b"Content-Length: 12abc",
        b"Content-Length: " + b"9" * 4_400,
        b"Transfer-Encoding: chunked\r\nContent-Length: 3",
    ],
    ids=["folded", "nul", "control", "not-ascii", "nothing", "huge", "no-number", "many-digits", "two-lengths"],
)
def test_bytes_no_honest_client_sends(buyer: Buyer, field: bytes) -> None:
    """Folded lines, control characters and absurd lengths are refused, by the server or by us; never a 5xx."""
    host = urlsplit(buyer.url)
    with socket.create_connection((host.hostname or "", host.port or 0), timeout=PATIENT_S) as wire:
        wire.sendall(b"POST /plain HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + field + b"\r\n\r\n")
        wire.shutdown(socket.SHUT_WR)
        first = wire.recv(65536).split(b" ", 2)
    assert len(first) < 2 or first[1][:1] == b"4"
