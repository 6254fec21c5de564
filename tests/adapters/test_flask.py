"""The Flask adapter, over every WSGI server we name: views, hooks and error handlers as people write them."""

import io
import json
import sys
from collections.abc import Iterator

import flask
import pytest
from werkzeug.test import TestResponse

import flovia
import flovia_flask
from flovia.testing.servers import WSGI_SERVERS, WsgiServer, serve_wsgi
from tests.adapters.buyer import Answer, Buyer, Field, event_types, new_flovia, payment
from tests.patience import eventually


@pytest.fixture(scope="module", params=WSGI_SERVERS)
def server(request: pytest.FixtureRequest) -> WsgiServer:
    """The server's name."""
    name: WsgiServer = request.param
    return name


@pytest.fixture(scope="module")
def buyer(server: WsgiServer) -> Iterator[Buyer]:
    """A client of the app on one server."""
    with serve_wsgi("tests.adapters.flask_apps:make_app()", server=server) as url:
        yield Buyer(url)


VIEWS = {
    "/plain": b"whole",
    "/dict": b'{"amount":100,"payer":null}\n',
    "/tuple": b'["a list"]\n',
    "/kept": b"kept",
    "/async": b"whole",
    "/generator": b"whole",
    "/context?rest=ole": b"whole",
    "/file": b"whole",
    "/items/7/a/b%20c": b'{"number":7,"rest":"a/b c"}\n',
    "/area/plain": b"whole",
    "/area/resource": b"whole",
    "/inner/plain": b"whole",
    "/inner/area/plain": b"whole",
}


@pytest.mark.parametrize("path", VIEWS)
def test_one_payment_buys_one_answer(buyer: Buyer, path: str) -> None:
    """Whatever a view returns: 402, then the answer with a receipt, private, then 402 again (S01 S04 S23-S27)."""
    unpaid = buyer.ask(path)
    assert (402, "payment-required", "no-store") == (unpaid.status, unpaid.problem, unpaid.get("cache-control"))
    credential = payment(unpaid)
    paid = buyer.ask(path, [credential])
    assert (201 if path == "/tuple" else 200, VIEWS[path]) == (paid.status, paid.body)
    assert paid.receipt is not None
    assert "private" in (paid.get("cache-control") or "")
    assert "public" not in (paid.get("cache-control") or "")
    assert (402, "invalid-challenge") == ((used := buyer.again(path, credential)).status, used.problem)


def test_hooks_see_both_answers(buyer: Buyer) -> None:
    """after_request functions (CORS and the like) work on the 402 as on the paid answer."""
    _, paid = buyer.buy("/plain")
    assert ["was here", "was here"] == [buyer.ask("/plain").get("x-hook"), paid.get("x-hook")]


def test_the_app_comes_first(buyer: Buyer) -> None:
    """404, 405, a login in before_request and Flask's own OPTIONS answer without asking for money (S08)."""
    assert [404, 404, 401] == [buyer.ask(path).status for path in ("/missing", "/items/x/y", "/plain?stranger=1")]
    assert 405 == buyer.ask("/plain", method="DELETE").status
    assert (200, "GET, HEAD, OPTIONS") == (
        (allowed := buyer.ask("/plain", method="OPTIONS")).status,
        ", ".join(sorted((allowed.get("allow") or "").split(", "))),
    )
    assert b"deleted" == buyer.ask("/area/resource", method="DELETE").body


def test_head_never_redeems(buyer: Buyer) -> None:
    """HEAD gets the 402 of a GET, with a credential too, which is still good for a GET."""
    unpaid = buyer.ask("/plain", method="HEAD")
    assert (402, b"") == (unpaid.status, unpaid.body)
    credential = payment(unpaid)
    assert 402 == buyer.ask("/plain", [credential], method="HEAD").status
    assert 200 == buyer.ask("/plain", [credential]).status


def test_a_payment_is_good_for_one_resource(buyer: Buyer) -> None:
    """Another view, parameter, query or mount of the same app refuses it."""
    credential = payment(buyer.ask("/items/7/a"))
    for path in ("/items/8/a", "/items/7/b", "/items/7/a?q=1", "/inner/items/7/a", "/plain"):
        assert (402, "invalid-challenge") == ((other := buyer.ask(path, [credential])).status, other.problem)
    assert 200 == buyer.ask("/items/7/a", [credential]).status


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/abort/403", 403),
        ("/abort/404", 404),
        ("/abort/418", 200),
        ("/status/404", 404),
        ("/status/503", 503),
        ("/handled", 200),
        ("/plain?hook-status=1", 503),
    ],
)
def test_an_error_page_is_no_delivery(buyer: Buyer, path: str, status: int) -> None:
    """A final status of 400 or more, and an exception behind any page: no receipt, redeemable (S07 S24)."""
    credential, paid = buyer.buy(path)
    assert (status, None) == (paid.status, paid.get("payment-receipt"))
    assert not paid.all("www-authenticate")
    assert status == buyer.again(path, credential).status


@pytest.mark.parametrize("path", ["/unhandled", "/abort/500", "/nothing", "/breaks-at-once"])
def test_an_exception_nobody_handles(buyer: Buyer, path: str) -> None:
    """The payer is told that the payment stands, instead of Flask's page that says nothing (S24)."""
    credential = payment(buyer.ask(path))
    for answer in (buyer.ask(path, [credential]), buyer.again(path, credential)):
        assert (500, "delivery-failed") == (answer.status, answer.problem)
        assert not answer.all("payment-receipt") + answer.all("www-authenticate")
        assert "no-store" == answer.get("cache-control")
        assert b"raised" not in answer.body


def test_a_redirect_is_a_delivery_without_a_receipt(buyer: Buyer) -> None:
    """3xx is what was bought, but has no receipt (S25)."""
    credential, paid = buyer.buy("/status/303")
    assert (303, None) == (paid.status, paid.get("payment-receipt"))
    assert "invalid-challenge" == buyer.again("/status/303", credential).problem


@pytest.mark.parametrize("query", ["", "?early=1"])
@pytest.mark.parametrize("path", ["/echo", "/form"])
def test_the_body_is_bound_and_reaches_the_view(buyer: Buyer, path: str, query: str) -> None:
    """Also where a before_request function has read it with get_data (S15 S17)."""
    form = ("Content-Type", "application/x-www-form-urlencoded")
    unpaid = buyer.ask(path + query, [form], method="POST", body=b"a=1&b=2")
    assert 'digest="sha-256=:' in unpaid.all("www-authenticate")[0]
    credential = payment(unpaid)
    refused = buyer.ask(path + query, [form, credential], method="POST", body=b"a=1&b=3")
    assert (402, "invalid-challenge") == (refused.status, refused.problem)
    paid = buyer.ask(path + query, [form, credential], method="POST", body=b"a=1&b=2")
    assert (b"a=1&b=2" if path == "/echo" else b'{"a":"1","b":"2"}\n') == paid.body


def test_a_form_parsed_too_early(buyer: Buyer) -> None:
    """Its bytes are gone, so no digest can be taken: 500 with the remedy in the log, and nobody is asked to pay."""
    form = ("Content-Type", "application/x-www-form-urlencoded")
    assert 500 == buyer.ask("/form?form=1", [form], method="POST", body=b"a=1").status
    # Without a body there is nothing that could be lost.
    assert 402 == buyer.ask("/echo?form=1", method="POST", body=b"").status


def test_a_chunked_body(buyer: Buyer, server: WsgiServer) -> None:
    """It is bound and reaches the view where the server marks its end; wsgiref gets 411."""
    if server == "wsgiref":
        unpaid = buyer.ask("/echo", [("Transfer-Encoding", "chunked")], method="POST")
        assert (411, "length-required") == (unpaid.status, unpaid.problem)
        return
    unpaid = buyer.ask("/echo", method="POST", body=[b"first ", b"words"])
    paid = buyer.ask("/echo", [payment(unpaid)], method="POST", body=[b"first words"])
    assert (200, b"first words") == (paid.status, paid.body)
    early = buyer.ask("/echo?form=1", [("Content-Type", "multipart/form-data")], method="POST", body=[b"x"])
    assert early.status in (402, 411)


def test_a_body_over_the_limit(buyer: Buyer) -> None:
    """413, whether or not a hook has read it before."""
    for query in ("", "?early=1"):
        answer = buyer.ask("/echo" + query, method="POST", body=b"x" * 1001)
        assert (413, "body-too-large") == (answer.status, answer.problem)


def test_an_answer_that_breaks_off_is_no_delivery(buyer: Buyer) -> None:
    """A generator that fails after its first piece, and a client that leaves: redeemable."""
    credential, paid = buyer.buy("/breaks")
    assert (200, b"part", False) == (paid.status, paid.body, paid.complete)
    assert 200 == buyer.again("/breaks", credential).status

    credential = payment(buyer.ask("/endless"))
    for _ in range(2):
        connection = buyer.connection()
        while True:
            connection.request("GET", "/endless", headers=dict([credential]))
            response = connection.getresponse()
            if response.status != 409:
                break
            response.read()
        assert (200, b"x") == (response.status, response.read(1))
        response.close()
        connection.close()


def test_async_method_views(buyer: Buyer) -> None:
    """A class with ``decorators`` and async methods."""
    _, paid = buyer.buy("/area/decorated", method="POST", body=b"x")
    assert b"whole" == paid.body


def test_a_response_object_used_again(buyer: Buyer) -> None:
    """A view may return one object for ever: receipts never stick to it."""
    _, first = buyer.buy("/kept")
    _, second = buyer.buy("/kept")
    assert first.receipt != second.receipt
    free = buyer.ask("/kept-free")
    assert (b"kept", []) == (free.body, free.all("payment-receipt"))
    assert "private" != free.get("cache-control")


def test_an_observer(buyer: Buyer) -> None:
    """A success that nobody paid for is withheld; HEAD passes."""
    withheld = buyer.ask("/observed")
    assert (500, "internal-payment-error") == (withheld.status, withheld.problem)
    assert b"lunch" not in withheld.body
    assert 200 == buyer.ask("/observed", method="HEAD").status


# --- without a server: what the app object itself does -------------------------------------------------------


def payment_of(response: TestResponse) -> Field:
    """Pay for a response of Flask's test client."""
    return payment(Answer(response.status_code, tuple(response.headers.items())))


def test_the_guard_in_the_wrong_place_serves_nothing() -> None:
    """@paid above @app.get guards nothing, so the view it was meant for refuses to run."""
    app = flask.Flask(__name__)
    ran: list[int] = []

    @flovia_flask.paid(new_flovia().paid_api())
    @app.get("/wrong")
    def wrong() -> str:
        ran.append(1)
        return "for nothing"

    assert 500 == app.test_client().get("/wrong").status_code
    app.testing = True
    with pytest.raises(flovia.WiringError, match=r"below @app\.get"):
        app.test_client().get("/wrong")
    assert [] == ran
    assert callable(wrong)


def test_one_function_may_be_sold_and_given_away() -> None:
    """A view that is registered both with its guard and without is no mistake."""
    app = flask.Flask(__name__)

    def view() -> str:
        return "whole"

    app.add_url_rule("/free", "free", view)
    app.add_url_rule("/paid", "paid", flovia_flask.paid(new_flovia().paid_api())(view))
    assert [200, 402] == [app.test_client().get(path).status_code for path in ("/free", "/paid")]


def test_two_guards_on_one_view() -> None:
    """Refused at import: two guards would each ask for a credential in the same field."""
    gate = new_flovia().paid_api()
    with pytest.raises(flovia.CallerError, match="paid for already"):
        flovia_flask.paid(gate)(flovia_flask.paid(gate)(lambda: "whole"))


def test_views_of_any_kind() -> None:
    """A callable object works, also one that has no hash; free views of that kind are none of our business."""

    class Callable:
        """Equal to its like, so without a hash."""

        __name__ = "callable"

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Callable)

        __hash__ = None  # type: ignore[assignment]  # what this class is for

        def __call__(self) -> str:
            return "whole"

    app = flask.Flask(__name__)
    app.add_url_rule("/free", "free", Callable())
    app.add_url_rule("/paid", "paid", flovia_flask.paid(new_flovia().paid_api())(Callable()))
    client = app.test_client()
    assert "whole" == client.get("/free").text
    assert "whole" == client.get("/paid", headers=[payment_of(client.get("/paid"))]).text


def test_an_async_view_that_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Flask's async extra the view fails before anybody is asked to pay."""
    monkeypatch.setitem(sys.modules, "asgiref.sync", None)
    app = flask.Flask(__name__)

    @app.get("/paid")
    @flovia_flask.paid(new_flovia().paid_api())
    async def view() -> str:
        return "whole"

    assert 500 == app.test_client().get("/paid").status_code


def test_debug_mode_passes_exceptions_on() -> None:
    """Where Flask shows exceptions itself it still does; the payment is left redeemable."""
    app = flask.Flask(__name__)
    settings = new_flovia()

    @app.get("/raises")
    @flovia_flask.paid(settings.paid_api())
    def raises() -> str:
        raise RuntimeError("seen by the debugger")

    app.testing = True
    client = app.test_client()
    credential = payment_of(client.get("/raises"))
    with pytest.raises(RuntimeError, match="seen by the debugger"):
        client.get("/raises", headers=[credential])
    assert 1 == event_types(settings).count("payment.delivery_failed")


@pytest.mark.parametrize("page", ["none", "by type", "for 500"])
def test_the_page_of_an_app_for_its_errors_stays(page: str) -> None:
    """Only Flask's own page gives way to ours; an app's handlers are respected, and see the exception."""
    app = flask.Flask(__name__)
    settings = new_flovia()

    @app.get("/raises")
    @flovia_flask.paid(settings.paid_api())
    def raises() -> str:
        raise ZeroDivisionError

    if page != "none":
        app.register_error_handler(
            ZeroDivisionError if page == "by type" else 500, lambda error: (f"own page: {type(error).__name__}", 200)
        )
    client = app.test_client()
    answer = client.get("/raises", headers=[payment_of(client.get("/raises"))])
    expected = {"none": 500, "by type": 200, "for 500": 200}[page]
    assert expected == answer.status_code
    assert (page == "none") == (answer.mimetype == "application/problem+json")
    assert "Payment-Receipt" not in answer.headers
    answer.close()
    assert 1 == event_types(settings).count("payment.delivery_failed")


@pytest.mark.parametrize("hook", ["replaces", "raises"])
def test_after_request_has_the_last_word(hook: str) -> None:
    """A hook that replaces a paid response delivers its own; one that raises delivers nothing."""
    app = flask.Flask(__name__)
    settings = new_flovia()

    @app.get("/paid")
    @flovia_flask.paid(settings.paid_api())
    def view() -> str:
        return "whole"

    @app.after_request
    def after(response: flask.Response) -> flask.Response:
        if response.status_code == 402:
            return response
        if hook == "raises":
            raise RuntimeError("in the hook")
        return flask.Response(b"replaced")

    client = app.test_client()
    answer = client.get("/paid", headers=[payment_of(client.get("/paid"))])
    if hook == "replaces":
        assert (b"replaced", True) == (answer.data, "Payment-Receipt" in answer.headers)
    else:
        assert (500, False) == (answer.status_code, "Payment-Receipt" in answer.headers)
        assert b"whole" not in answer.data
    answer.close()
    wanted, other = ("delivered", "delivery_failed") if hook == "replaces" else ("delivery_failed", "delivered")
    types = event_types(settings)
    assert (1, 0) == (types.count(f"payment.{wanted}"), types.count(f"payment.{other}"))


def test_flasks_own_limit_counts_too() -> None:
    """A body that Flask would refuse after the payment is refused before it."""
    app = flask.Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = 10

    @app.post("/paid")
    @flovia_flask.paid(new_flovia().paid_api())
    def view() -> bytes:
        return flask.request.get_data()

    client = app.test_client()
    assert [402, 413] == [client.post("/paid", data=b"x" * size).status_code for size in (10, 11)]


def test_the_same_path_under_another_name_is_another_route() -> None:
    """Where Flask routes by host, what was paid for a cheap host's path does not open a dear one's (S04)."""
    app = flask.Flask(__name__, subdomain_matching=True)
    app.config["SERVER_NAME"] = "127.0.0.1:80"
    settings = new_flovia(public_origin="https://api.example.com")

    for name, price in (("cheap", "1.00 USD"), ("dear", "50.00 USD")):
        guard = settings.paid_api(price=price)
        app.add_url_rule("/paid", name, flovia_flask.paid(guard)(lambda: "whole"), subdomain=name)

    client = app.test_client()
    cheap, dear = "http://cheap.127.0.0.1:80", "http://dear.127.0.0.1:80"
    credential = payment_of(client.get("/paid", base_url=cheap))
    assert 402 == client.get("/paid", base_url=dear, headers=[credential]).status_code
    assert 200 == client.get("/paid", base_url=cheap, headers=[credential]).status_code


def test_chunks_that_a_form_parser_swallowed() -> None:
    """Whether there was anything is unknown, so the length has to be stated: 411."""
    app = flask.Flask(__name__)
    app.before_request(lambda: flask.request.form and None)

    @app.post("/paid")
    @flovia_flask.paid(new_flovia().paid_api())
    def view() -> bytes:
        return flask.request.get_data()

    client = app.test_client()
    chunked = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True, "wsgi.input": io.BytesIO(b"a=1")}
    answer = client.post("/paid", environ_overrides=chunked, content_type="application/x-www-form-urlencoded")
    assert 411 == answer.status_code


def test_what_an_app_logs(caplog: pytest.LogCaptureFixture) -> None:
    """An exception of a view is logged by Flask, once, and without the credential (S37)."""
    app = flask.Flask("test_what_an_app_logs")

    @app.get("/raises")
    @flovia_flask.paid(new_flovia().paid_api())
    def raises() -> str:
        raise RuntimeError("look here")

    client = app.test_client()
    credential = payment_of(client.get("/raises"))
    caplog.clear()
    client.get("/raises", headers=[credential])
    assert ["test_what_an_app_logs"] == [record.name for record in caplog.records if record.exc_info]
    assert "look here" in caplog.text
    assert credential[1].split()[1] not in caplog.text


def test_problem_bodies_are_json() -> None:
    """Also after Flask has turned them into its own response class."""
    app = flask.Flask(__name__)

    @app.get("/paid")
    @flovia_flask.paid(new_flovia().paid_api())
    def view() -> str:
        return "whole"

    response = app.test_client().get("/paid")
    assert "application/problem+json" == response.headers["Content-Type"]
    assert "https://paymentauth.org/problems/payment-required" == json.loads(response.data)["type"]


def test_s41_hooks_do_not_change_what_comes_again(buyer: Buyer) -> None:
    """An answer comes again as it left the app the first time: ``after_request`` functions had their say then (S41)."""
    key: Field = ("Idempotency-Key", "key-1")
    path = "/tuple?hook-replaces=1"
    credential = payment(buyer.ask(path))
    sent = buyer.ask(path, [credential, key])
    assert b"wrapped" in sent.body
    # The hook replaces a 409 as well, so its status does not tell that the first delivery is still being recorded.
    again = eventually(lambda: buyer.ask(path, [credential, key]), lambda answer: b"in-flight" not in answer.body)
    assert sent.body == again.body
    mine = {"content-type", "content-length", "payment-receipt", "cache-control", "x-hook"}
    first, second = (
        [(name.lower(), value) for name, value in answer.headers if name.lower() in mine] for answer in (sent, again)
    )
    assert first == second


def test_an_answer_shorter_than_its_content_length_is_no_delivery() -> None:
    """As when a file shrinks while it is sent: the same credential gets the whole one."""
    app = flask.Flask(__name__)
    pieces = [b"whole", b"who"]

    @app.get("/paid")
    @flovia_flask.paid(new_flovia().paid_api())
    def view() -> flask.Response:
        return flask.Response(iter([pieces.pop()]), headers={"Content-Length": "5"})

    client = app.test_client()
    credential = payment_of(client.get("/paid"))
    bodies = [client.get("/paid", headers=[credential], buffered=True).data for _ in range(2)]
    assert [b"who", b"whole"] == bodies
    assert 402 == client.get("/paid", headers=[credential]).status_code
