"""What no real server shows: the order of calls, interruptions, and how an environ is read."""

import io
from collections.abc import Callable, Iterable, Iterator
from typing import Literal
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.util import FileWrapper, setup_testing_defaults

import pytest

import flovia
import flovia_wsgi
from tests.adapters.buyer import Answer, Field, event_types, new_flovia, payment


def request(path: str = "/paid", *fields: Field, method: str = "GET", **more: object) -> WSGIEnvironment:
    """A request from this machine; ``more`` are keys of the environ, with ``wsgi_`` for ``wsgi.``."""
    environ: WSGIEnvironment = {"REQUEST_METHOD": method, "PATH_INFO": path, "REMOTE_ADDR": "127.0.0.1"}
    environ |= {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in fields}
    environ |= {name.replace("wsgi_", "wsgi."): value for name, value in more.items()}
    setup_testing_defaults(environ)
    return environ


class Client:
    """The server's side: calls an app, and keeps what it hands over."""

    def __init__(self, app: WSGIApplication) -> None:
        self.app = app
        self.head: tuple[str, list[Field]] | None = None
        self.written: list[bytes] = []

    def _start(self, status: str, headers: list[Field], exc_info: object = None, /) -> Callable[[bytes], object]:
        self.head = (status, headers)
        return self.written.append

    def open(self, environ: WSGIEnvironment) -> Iterable[bytes]:
        """Call the app and stop there."""
        self.head = None
        self.written.clear()
        return self.app(environ, self._start)

    def ask(self, environ: WSGIEnvironment) -> Answer:
        """Call the app and take all of it."""
        pieces = self.open(environ)
        try:
            body = b"".join(pieces)
        finally:
            close = getattr(pieces, "close", None)
            if close is not None:
                close()
        assert self.head is not None
        status, headers = self.head
        return Answer(int(status[:3]), tuple(headers), b"".join(self.written) + body)

    def pay(self, path: str = "/paid") -> Field:
        """A credential for a path."""
        return payment(self.ask(request(path)))


def streaming(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Three pieces."""
    start_response("200 OK", [])
    yield b"one"
    yield b"two"
    yield b"three"


def test_nothing_is_buffered() -> None:
    """Each piece is handed over before the app makes the next, the head before the first."""
    made: list[str] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [])
        for piece in ("one", "two"):
            made.append(piece)
            yield piece.encode()

    client = Client(flovia_wsgi.paid(new_flovia().paid_api(), app))
    pieces = iter(client.open(request("/paid", client.pay())))
    assert ([], None) == (made, client.head)
    assert b"one" == next(pieces)
    assert ["one"] == made
    assert client.head is not None
    assert b"two" == next(pieces)


def test_a_delivery_is_noted_when_the_server_has_written_everything() -> None:
    """Not with the last piece, nor when the server comes back for more: it may still have to mark the end of the body.

    A process that dies before that mark is out has not delivered, and the credential has to buy the answer again.
    """
    settings = new_flovia()
    client = Client(flovia_wsgi.paid(settings.paid_api(), streaming))
    pieces = iter(client.open(request("/paid", client.pay())))
    assert [b"one", b"two", b"three"] == [next(pieces) for _ in range(3)]
    assert "payment.delivered" not in event_types(settings)
    assert [] == list(pieces)
    assert "payment.delivered" not in event_types(settings)
    for _ in range(2):
        pieces.close()  # type: ignore[attr-defined]  # an Iterator with close(), as WSGI has it
        assert 1 == event_types(settings).count("payment.delivered")
    assert "payment.delivery_failed" not in event_types(settings)


def test_a_server_that_closes_early_did_not_deliver() -> None:
    """close() before the end means that the client went away: noted once, and the app's generator is closed."""
    settings = new_flovia()
    client = Client(flovia_wsgi.paid(settings.paid_api(), streaming))
    credential = client.pay()
    pieces = client.open(request("/paid", credential))
    assert b"one" == next(iter(pieces))
    for _ in range(2):
        pieces.close()  # type: ignore[attr-defined]  # as above
    assert 1 == event_types(settings).count("payment.delivery_failed")
    assert b"onetwothree" == client.ask(request("/paid", credential)).body
    assert "payment.redelivered" in event_types(settings)


@pytest.mark.parametrize("interruption", [SystemExit, KeyboardInterrupt, GeneratorExit])
@pytest.mark.parametrize("when", ["called", "iterated"])
def test_an_interruption_is_passed_on(interruption: type[BaseException], when: str) -> None:
    """A worker told to stop stops; the payment is left redeemable, not answered with a page."""

    def pieces() -> Iterator[bytes]:
        yield b""
        raise interruption

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        if when == "called":
            raise interruption
        return pieces()

    settings = new_flovia()
    client = Client(flovia_wsgi.paid(settings.paid_api(), app))
    with pytest.raises(interruption):
        client.ask(request("/paid", client.pay()))
    assert None is client.head
    assert 1 == event_types(settings).count("payment.delivery_failed")


def test_a_long_stream_keeps_its_lease() -> None:
    """While pieces flow the lease is renewed: after more than its length nobody else may redeem."""
    now = [1_700_000_000.0]
    settings = flovia.Flovia(
        provider="mock", price="1.00 USD", ledger="memory://", secret="test-secret-" * 4, clock=lambda: now[0]
    )
    client = Client(flovia_wsgi.paid(settings.paid_api(deliver_within=60), streaming))
    credential = client.pay()
    pieces = iter(client.open(request("/paid", credential)))
    for _ in range(3):
        next(pieces)
        now[0] += 40
        assert 409 == Client(client.app).ask(request("/paid", credential)).status


def test_an_answer_the_server_refuses_is_no_delivery() -> None:
    """The server may raise in start_response, for a header it will not send."""
    settings = new_flovia()
    client = Client(flovia_wsgi.paid(settings.paid_api(), streaming))
    credential = client.pay()

    def refuse(status: str, headers: list[Field], exc_info: object = None, /) -> Callable[[bytes], object]:
        raise ValueError("invalid header")

    pieces = client.app(request("/paid", credential), refuse)
    with pytest.raises(ValueError, match="invalid header"):
        list(pieces)
    assert 1 == event_types(settings).count("payment.delivery_failed")


def test_start_response_after_the_first_byte_raises_what_went_wrong() -> None:
    """PEP 3333: exc_info of an answer that has begun is raised again."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        yield b"begun"
        error = RuntimeError("too late")
        start_response("500 Sorry", [], (RuntimeError, error, error.__traceback__))  # type: ignore[arg-type]  # None until raised

    client = Client(flovia_wsgi.paid(new_flovia().paid_api(), app))
    pieces = iter(client.open(request("/paid", client.pay())))
    assert b"begun" == next(pieces)
    with pytest.raises(RuntimeError, match="too late"):
        next(pieces)


def test_an_observer_withholds_what_nobody_paid_for() -> None:
    """Behind an observer a success without a receipt is replaced, however it is sent; the app's body goes nowhere."""

    def writing(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        assert None is environ["flovia.payment"]
        start_response("200 OK", [])(b"free")
        return [b" lunch"]

    for app in (streaming, writing):
        answer = Client(flovia_wsgi.paid(new_flovia().observe(), app)).ask(request())
        assert (500, "internal-payment-error") == (answer.status, answer.problem)
        assert b"lunch" not in answer.body
        assert b"one" not in answer.body


def test_a_402_of_the_app_itself_is_replaced() -> None:
    """A paid app that answers 402 would ask twice: 500, and the payment stays (S02)."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("402 Payment Required", [])(b"once")
        return [b" more"]

    client = Client(flovia_wsgi.paid(new_flovia().paid_api(), app))
    answer = client.ask(request("/paid", client.pay()))
    assert (500, "delivery-failed") == (answer.status, answer.problem)
    assert b"once" not in answer.body
    assert b"more" not in answer.body


def test_the_app_knows_who_paid(monkeypatch: pytest.MonkeyPatch) -> None:
    """The grant is in the environ; ``paid`` takes the keywords of paid_api in place of a gate."""
    monkeypatch.setenv("FLOVIA_LEDGER", "memory://")
    monkeypatch.setattr("flovia.api._default", None)
    grants: list[flovia.Grant] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        grants.append(environ["flovia.payment"])
        start_response("200 OK", [])
        return []

    client = Client(flovia_wsgi.paid(app, provider="mock", price="2.50 USD"))
    client.ask(request("/paid", client.pay()))
    assert [(250, "usd", "mock", False)] == [(g.amount, g.currency, g.method, g.redelivery) for g in grants]


@pytest.mark.parametrize(
    "other",
    [
        request("/other"),
        request("/paid/"),
        request("/paid", QUERY_STRING="day=1"),
        request("/paid", method="POST"),
        request("/paid", SCRIPT_NAME="/b"),
        request("/p\xc3\xa4id"),
        request("/p\xe4id"),
        request("/p\xe5id"),
    ],
    ids=["path", "slash", "query", "method", "mount", "utf-8", "latin-1", "latin-1 too"],
)
def test_a_payment_is_good_for_one_resource(other: WSGIEnvironment) -> None:
    """Method, mount prefix, path (byte for byte) and query are bound (S04)."""
    client = Client(flovia_wsgi.paid(new_flovia().paid_api(), streaming))
    other = dict(other)
    mine = client.pay("/p\xe6id") if "id" in other["PATH_INFO"] and not other["PATH_INFO"].isascii() else client.pay()
    other["HTTP_AUTHORIZATION"] = mine[1]
    assert (402, "invalid-challenge") == ((answer := client.ask(other)).status, answer.problem)


def test_a_path_reads_as_text() -> None:
    """UTF-8 becomes text; other bytes are escaped, so that two paths never look the same."""
    gate = new_flovia().paid_api()
    assert "/mount/p\u00e4id" == flovia.wsgi_request(request("/p\xc3\xa4id", SCRIPT_NAME="/mount"), gate).path
    assert "/p\\xe4id" == flovia.wsgi_request(request("/p\xe4id"), gate).path


def test_an_environ_becomes_a_request() -> None:
    """Method, query, addresses and whether other processes serve the app."""
    environ = request(
        "/paid",
        ("X-Test", "1"),
        method="post",
        QUERY_STRING="a=b",
        SERVER_NAME="127.0.0.1",
        REMOTE_ADDR="127.0.0.9",
        wsgi_multiprocess=True,
    )
    found = flovia.wsgi_request(environ, new_flovia().observe(), route="/pattern")
    assert ("POST", "a=b", "1") == (found.http_method, found.query, found.headers.get("x-test"))
    assert ("/pattern", "127.0.0.9", "127.0.0.1", True) == (found.route, found.client, found.server, found.multiprocess)
    assert flovia.UNREAD_BODY == found.body


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, flovia.NO_BODY),
        ({"CONTENT_LENGTH": ""}, flovia.NO_BODY),
        ({"CONTENT_LENGTH": "0"}, flovia.NO_BODY),
        ({"wsgi.input_terminated": True}, flovia.BODY_TOO_LARGE),
        ({"CONTENT_LENGTH": "11"}, flovia.BODY_TOO_LARGE),
        ({"CONTENT_LENGTH": "9" * 5000}, flovia.BODY_TOO_LARGE),
        ({"CONTENT_LENGTH": "1e1"}, flovia.BODY_UNTERMINATED),
        ({"CONTENT_LENGTH": "-1"}, flovia.BODY_UNTERMINATED),
        ({"CONTENT_LENGTH": "\u0663"}, flovia.BODY_UNTERMINATED),
        ({"HTTP_TRANSFER_ENCODING": "chunked"}, flovia.BODY_UNTERMINATED),
        ({"HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_LENGTH": "3"}, flovia.BODY_UNTERMINATED),
    ],
)
def test_a_body_is_read_only_to_a_known_end(environ: WSGIEnvironment, expected: flovia.Body) -> None:
    """No length: no body. A length that is none, or chunks whose end nobody marks: 411. Beyond the limit: 413."""
    environ = {**environ, "wsgi.input": io.BytesIO(b"more than ten bytes")}
    assert expected == flovia.wsgi_body(environ, 10)


def test_a_body_is_put_back() -> None:
    """The app finds what was read, with its length, and no trace of the chunks."""
    environ: WSGIEnvironment = {
        "HTTP_TRANSFER_ENCODING": "chunked",
        "wsgi.input_terminated": True,
        "wsgi.input": io.BytesIO(b"ten bytes."),
    }
    assert 10 == flovia.wsgi_body(environ, 10).size
    assert ("10", None) == (environ["CONTENT_LENGTH"], environ.get("HTTP_TRANSFER_ENCODING"))
    found: io.BytesIO = environ["wsgi.input"]
    assert (b"ten bytes.", b"") == (found.read(), found.read())


def test_a_body_that_ends_early() -> None:
    """The client announced more than it sent: what there is counts, and its length is what there is."""
    environ: WSGIEnvironment = {"CONTENT_LENGTH": "9", "wsgi.input": io.BytesIO(b"part")}
    assert 4 == flovia.wsgi_body(environ, 10).size
    assert "4" == environ["CONTENT_LENGTH"]


def test_wrong_calls_say_what_to_write() -> None:
    """No app, the arguments the wrong way round, a guard and settings at once."""
    gate = new_flovia().paid_api()
    with pytest.raises(flovia.CallerError, match=r"paid\(gate, app\)"):
        flovia_wsgi.paid(gate)  # type: ignore[arg-type]  # what the test is about
    with pytest.raises(flovia.CallerError, match=r"paid\(gate, app\)"):
        flovia_wsgi.paid(streaming, gate)  # type: ignore[call-overload]  # what the test is about
    with pytest.raises(flovia.WiringError, match="not both"):
        flovia_wsgi.paid(gate, streaming, price="1.00 USD")  # type: ignore[call-overload]  # what the test is about


# --- answers that are too short --------------------------------------------------------------------------


def announcing(length: str, *pieces: bytes, status: str = "200 OK", written: bytes = b"") -> WSGIApplication:
    """An app that says how long its answer will be."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response(status, [("Content-Length", length)])
        if written:
            write(written)
        return pieces

    return app


@pytest.mark.parametrize("on_failure", ["redeem", "refund", "keep"])
def test_an_answer_shorter_than_its_content_length_is_cut_off(on_failure: Literal["redeem", "refund", "keep"]) -> None:
    """Its client waits for the rest: redeemable, whatever the policy, and not kept for an Idempotency-Key."""
    settings = new_flovia()
    gate = settings.paid_api(delivery=flovia.Delivery(on_failure=on_failure))
    client = Client(flovia_wsgi.paid(gate, announcing("9", b"half", written=b"one ")))
    paid = client.pay()
    for _ in range(2):
        assert (200, b"one half") == ((answer := client.ask(request("/paid", paid, KEY))).status, answer.body)
    assert 2 == event_types(settings).count("payment.delivery_failed")
    assert [] == settings.refunds_due()
    client.app = flovia_wsgi.paid(gate, announcing("9", b"whole", written=b"one "))
    assert b"one whole" == client.ask(request("/paid", paid, KEY)).body
    assert "payment.redelivered" in event_types(settings)
    assert b"one whole" == client.ask(request("/paid", paid, KEY)).body


@pytest.mark.parametrize(
    "app",
    [
        announcing("7", status="204 No Content"),
        announcing("7", status="304 Not Modified"),
        announcing("0"),
        announcing("seven", b"half"),
        announcing("\u0667", b"half"),
        announcing("9" * 19, b"half"),
        announcing("3", b"longer"),
        streaming,
    ],
    ids=["204", "304", "nothing", "no number", "not ascii", "too large", "longer", "no length"],
)
def test_only_a_length_that_announces_content_is_counted(app: WSGIApplication) -> None:
    """204 and 304 have no content, whatever they say; what is no length is the server's business."""
    settings = new_flovia()
    client = Client(flovia_wsgi.paid(settings.paid_api(), app))
    client.ask(request("/paid", client.pay()))
    assert "payment.delivered" in event_types(settings)


def test_the_answer_to_head_announces_what_is_not_sent() -> None:
    """Behind an observer HEAD gets to the app: an answer without its content is whole."""
    settings = new_flovia()
    client = Client(flovia_wsgi.paid(settings.observe(), announcing("7", status="404 Not Found")))
    client.ask(request(method="HEAD"))
    assert "paid_api.request_completed" in event_types(settings)


def test_a_file_of_the_server_is_counted() -> None:
    """``wsgi.file_wrapper``: whole it is delivered, shrunk meanwhile it is not."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", "5")])
        wrapper: type[FileWrapper] = environ["wsgi.file_wrapper"]
        return wrapper(io.BytesIO(files.pop()))

    files = [b"whole", b"who"]
    client = Client(flovia_wsgi.paid(new_flovia().paid_api(), app))
    paid = client.pay()
    answers = [client.ask(request("/paid", paid, wsgi_file_wrapper=FileWrapper)) for _ in range(3)]
    assert [b"who", b"whole"] == [answer.body for answer in answers[:2]]
    assert "invalid-challenge" == answers[2].problem


# --- stored answers ------------------------------------------------------------------------------------------

KEY: Field = ("Idempotency-Key", '"key-1"')


def test_s41_an_answer_comes_again() -> None:
    """Whether it was written, returned or both: as it went out, but for the cookie (S41)."""
    calls: list[int] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        calls.append(1)
        write = start_response("200 OK", [("X-Call", str(len(calls))), ("Set-Cookie", "session=test")])
        write(b"written, ")
        write(b"")
        return [b"", b"returned, ", b"done"]

    client = Client(flovia_wsgi.paid(new_flovia().paid_api(), app))
    paid = client.pay()
    sent, again = (client.ask(request("/paid", paid, KEY)) for _ in range(2))
    assert b"written, returned, done" == sent.body == again.body
    assert [(n.lower(), v) for n, v in sent.headers if n != "Set-Cookie"] == list(again.headers)
    assert [1] == calls


def test_a_page_in_place_of_an_answer_is_kept_where_it_is_the_delivery() -> None:
    """A handler that raises, and one that answers 402: the problem that was sent comes again."""

    def raises(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        raise ZeroDivisionError

    def asks(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("402 Payment Required", [])
        return [b"pay me"]

    policy = flovia.Delivery(on_failure="keep")
    for app in (raises, asks):
        client = Client(flovia_wsgi.paid(new_flovia().paid_api(delivery=policy), app))
        paid = client.pay()
        sent, again = (client.ask(request("/paid", paid, KEY)) for _ in range(2))
        assert (500, "delivery-final") == (sent.status, sent.problem)
        assert sent == again
