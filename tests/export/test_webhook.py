"""Webhooks, to a real server that does everything wrong."""

import logging
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest

from flovia.core.errors import WiringError
from flovia.export.base import Sink, SinkError, SinkGone, SinkRefused
from flovia.export.exporter import Exporter
from flovia.export.webhook import ABOUT_THE_ENDPOINT, WebhookSink
from tests.export.endpoint import Answer, Endpoint, drip_body, drip_head, drop, endpoint, flood, garbage, hang, status
from tests.export.test_file import entries
from tests.export.world import WEBHOOK_SECRET, Waiting, filled, ids, parsed
from tests.ports import chosen_port


@pytest.fixture
def server() -> Iterator[Endpoint]:
    """A server that takes what is signed."""
    with endpoint() as found:
        yield found


@pytest.fixture
def sink(server: Endpoint) -> Iterator[WebhookSink]:
    """A sink for it."""
    with closing(WebhookSink(server.url, WEBHOOK_SECRET)) as found:
        yield found


def work(ledger: Any, sink: Sink, **options: Any) -> Exporter:
    """An exporter that does not really wait."""
    return Exporter(ledger, sink, "warehouse", wait=Waiting(), **options)


def test_everything_arrives_signed(server: Endpoint, sink: WebhookSink) -> None:
    """In order, in batches, over one connection; every batch has an id of its own."""
    ledger = filled(250)
    assert 250 == work(ledger, sink).drain()
    assert ids(ledger) == server.noted(ids(ledger))
    assert [100, 100, 50] == [len(parsed(one["body"])) for one in server.requests]
    assert {"application/cloudevents-batch+json"} == {one["headers"]["content-type"] for one in server.requests}
    assert 3 == len({one["headers"]["webhook-id"] for one in server.requests})
    assert 1 == len(server.connections)


def test_the_id_of_a_batch(server: Endpoint, sink: WebhookSink) -> None:
    """The same for the same events, however often they are sent; of a single event it is the event's own."""
    server.answers = [status(503)]
    with pytest.raises(SinkError):
        sink.deliver(entries(3))
    sink.deliver(entries(3))
    sink.deliver(entries(1))
    first, second, third = (one["headers"]["webhook-id"] for one in server.requests)
    assert (first, entries(1)[0].id) == (second, third)


@pytest.mark.parametrize("answer", [hang, drip_head], ids=["hang", "drip-head"])
def test_no_answer_in_time(server: Endpoint, answer: Answer) -> None:
    """The deadline is for the whole POST, however slowly something comes."""
    with closing(WebhookSink(server.url, WEBHOOK_SECRET, deadline_s=0.3)) as sink:
        server.answers = [answer]
        with pytest.raises(SinkError, match=r"no answer within 0\.3 s"):
            sink.deliver(entries(1))
    assert 1 == len(server.requests)


@pytest.mark.parametrize("answer", [drip_body, flood], ids=["drip-body", "flood"])
def test_the_status_is_the_answer(server: Endpoint, sink: WebhookSink, answer: Answer) -> None:
    """A body that never ends, or is huge, changes nothing about a 200."""
    server.answers = [answer]
    sink.deliver(entries(1))
    sink.deliver(entries(1))
    assert 2 == len(server.requests)


@pytest.mark.parametrize("answer", [drop, garbage, status(500), status(502), status(503), status(429), status(302)])
def test_it_comes_again_until_it_is_taken(server: Endpoint, sink: WebhookSink, answer: Answer) -> None:
    """Whatever goes wrong on the way: nothing is lost, nothing is a dead letter."""
    ledger = filled(250)
    exporter = work(ledger, sink)
    server.answers = [answer]
    for _ in range(3):
        assert "failed" == exporter.step().state
        server.answers = [answer]
    server.answers = []
    exporter.drain()
    assert ids(ledger) == server.noted(ids(ledger))
    assert [] == list(ledger.find_dead("warehouse"))


def test_redirects_are_not_followed(server: Endpoint, sink: WebhookSink) -> None:
    """Events go where they were meant to go and nowhere else."""
    with endpoint() as elsewhere:
        server.answers = [status(307, location=elsewhere.url)]
        with pytest.raises(SinkError, match="redirects are not followed"):
            sink.deliver(entries(1))
        assert [] == elsewhere.requests


def test_gone(server: Endpoint, sink: WebhookSink) -> None:
    """410 ends it with a clear word."""
    server.answers = [status(410)]
    with pytest.raises(SinkGone, match="410 Gone: it wants no more events"):
        work(filled(1), sink).run()


@pytest.mark.parametrize("code", [400, 409, 413, 415, 422, 451])
def test_what_is_about_the_events_is_refused(server: Endpoint, sink: WebhookSink, code: int) -> None:
    """And counts towards the dead letters."""
    server.answers = [status(code)]
    with pytest.raises(SinkRefused, match=str(code)):
        sink.deliver(entries(1))


@pytest.mark.parametrize("code", sorted(ABOUT_THE_ENDPOINT))
def test_what_is_about_the_endpoint_is_not(server: Endpoint, sink: WebhookSink, code: int) -> None:
    """A wrong secret or path there must not turn the whole stream into dead letters."""
    server.answers = [status(code)]
    with pytest.raises(SinkError) as caught:
        sink.deliver(entries(1))
    assert not isinstance(caught.value, SinkRefused)


def test_a_poison_event_ends_as_a_dead_letter(server: Endpoint, sink: WebhookSink) -> None:
    """Alone; everything else arrives."""
    ledger = filled(250)
    bad = ids(ledger)[123]

    def picky(found: Endpoint, request: Any) -> None:
        ids_there = [one["id"] for one in parsed(found.requests[-1]["body"])]
        if bad in ids_there:
            status(422, connection="close")(found, request)
            raise ConnectionError  # so that nothing of it counts as taken
        status(204)(found, request)

    server.always = picky
    assert 249 == work(ledger, sink, refusals=3).drain()
    expected = [one for one in ids(ledger) if one != bad]
    assert expected == server.noted(expected)
    assert [bad] == [letter.event_id for letter in ledger.find_dead("warehouse")]


@pytest.mark.parametrize(
    ("field", "wait_s"),
    [
        ("120", 120.0),
        (format_datetime(datetime(2023, 11, 14, 22, 15, 20, tzinfo=UTC), usegmt=True), 120.0),
        ("Tue, 14 Nov 2023 22:15:20 -0000", 120.0),
        (format_datetime(datetime(2023, 11, 14, tzinfo=UTC), usegmt=True), 0.0),
        ("soon", None),
        ("-1", None),
    ],
)
def test_retry_after(server: Endpoint, field: str, wait_s: float | None) -> None:
    """Seconds or a date; anything else says nothing."""
    server.now = lambda: 1_700_000_000.0
    server.answers = [status(503, retry_after=field)]
    sink = WebhookSink(server.url, WEBHOOK_SECRET, clock=server.now)
    with closing(sink), pytest.raises(SinkError) as caught:
        sink.deliver(entries(1))
    assert wait_s == caught.value.retry_after_s


def test_nobody_is_there() -> None:
    """No server, no answer; the sink can be tried again and closed."""
    with closing(WebhookSink(f"http://127.0.0.1:{chosen_port()}/", WEBHOOK_SECRET)) as sink:
        for _ in range(2):
            with pytest.raises(SinkError, match="no answer: ConnectError"):
                sink.deliver(entries(1))
    sink.close()


def test_the_address_is_not_said(server: Endpoint, caplog: pytest.LogCaptureFixture) -> None:
    """Neither in a log nor in a repr, error or record; and no secret either."""
    with caplog.at_level(logging.DEBUG), closing(WebhookSink(server.url, WEBHOOK_SECRET)) as sink:
        server.answers = [status(500), status(422), drop, garbage]
        exporter = work(filled(1), sink)
        said = [repr(sink), repr(exporter), *(str(exporter.step()) for _ in range(5))]
    for text in (caplog.text, *said):
        for hidden in ("test-part-of-the-address", WEBHOOK_SECRET[6:20], "did:example:payer"):
            assert hidden not in text


@pytest.mark.parametrize(
    "url",
    [
        "http://collector.example.com/events",
        "ftp://127.0.0.1/",
        "https://",
        "https://user@example.com/",
        "https://example.com/#part",
        "https://[::1",
        "https://example.com:port/",
    ],
)
def test_addresses_that_cannot_work(url: str) -> None:
    """Are refused when it is made, without being repeated."""
    with pytest.raises(WiringError) as caught:
        WebhookSink(url, WEBHOOK_SECRET)
    assert url.partition("://")[2] not in str(caught.value) or url == "https://"
