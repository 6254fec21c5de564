"""A blocking call's deadline, against servers that take their time; over real sockets.

No time is measured. Where something drips, its whole would take ten times as long as any test waits: what counts is
that the other side hung up before the end.
"""

import socket
import ssl
from collections.abc import Generator

import httpx
import pytest

from flovia import backend_http
from flovia.core.effects import HttpCall, HttpReply
from flovia.core.errors import HttpError
from flovia.deadline_transport import DeadlineTransport, environment_proxies, within
from tests.patience import PATIENT_S
from tests.runtime.dripping import ENDLESS, Peer, deaf, serving

SOON_S = 0.5
"""A deadline that is run into on purpose."""

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
ANSWER = HEAD + b"\r\nok"
LAST = HEAD + b"Connection: close\r\n\r\nok"


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """No proxy of this machine, and no connection of another test."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    backend_http._clients.clear()
    yield
    if (client := backend_http._clients.pop("sync", None)) is not None:
        client.close()


def get(
    port: int, path: str = "", *, deadline_s: float = PATIENT_S, origin: str = "http://127.0.0.1", body: bytes = b""
) -> HttpReply:
    """One call of the kind that providers make."""
    return backend_http.send(
        HttpCall(http_method="POST", url=f"{origin}:{port}/{path}", headers=(), body=body, deadline_s=deadline_s)
    )


def drip_head(peer: Peer) -> None:
    """The status line, then one endless field."""
    peer.request()
    peer.say(HEAD + b"X-Test: ")
    peer.drip(b"a" * ENDLESS)


def drip_body(peer: Peer) -> None:
    """A body of known length that never gets there."""
    peer.request()
    peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % ENDLESS)
    peer.drip(b"a" * ENDLESS)


def drip_chunks(peer: Peer) -> None:
    """One small chunk after the other."""
    peer.request()
    peer.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    peer.drip(b"1\r\na\r\n" for _ in range(ENDLESS))


def drip_interim(peer: Peer) -> None:
    """Always another interim answer."""
    peer.request()
    peer.drip(b"HTTP/1.1 103 Early Hints\r\n\r\n" for _ in range(ENDLESS))


@pytest.mark.parametrize("talk", [drip_head, drip_body, drip_chunks, drip_interim])
def test_what_drips_is_cut_off(talk) -> None:
    """The connection is closed long before the answer is whole, and the outcome is unknown."""
    with serving(talk) as server:
        with pytest.raises(HttpError) as caught:
            get(server.port, deadline_s=SOON_S)
        assert server.peer.gone.wait(PATIENT_S)
        assert server.peer.dripped < ENDLESS
    assert caught.value.sent


def test_no_answer_at_all() -> None:
    """The request went out: nobody knows."""
    with serving(Peer.listen_only) as server:
        with pytest.raises(HttpError) as caught:
            get(server.port, deadline_s=SOON_S)
        assert server.peer.gone.wait(PATIENT_S)
    assert caught.value.sent


def test_a_server_that_does_not_read_the_request() -> None:
    """Part of it went out: nobody knows."""
    with serving(Peer.wait) as server, pytest.raises(HttpError) as caught:
        get(server.port, deadline_s=SOON_S, body=bytes(64 << 20))
    assert caught.value.sent


def test_a_server_that_reads_the_request_in_sips() -> None:
    """Every wait for room ends soon; all of them together have to as well."""
    taken: list[int] = []

    def sip(peer: Peer) -> None:
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with_pauses = iter(lambda: peer.sock.recv(512), b"")

        def sips() -> Generator[bytes]:
            for part in with_pauses:
                taken.append(len(part))
                yield b""  # nothing is sent, but it takes its time

        peer.drip(sips())
        peer.gone.set()

    size = 64 << 20
    with serving(sip) as server:
        with pytest.raises(HttpError) as caught:
            get(server.port, deadline_s=SOON_S, body=bytes(size))
        assert caught.value.sent
    assert sum(taken) < size


def test_no_connection() -> None:
    """Nobody accepts it, or TLS never comes about: certainly nothing was sent."""
    with deaf() as port, pytest.raises(HttpError) as caught:
        get(port, deadline_s=SOON_S)
    assert not caught.value.sent
    with serving(Peer.listen_only) as server:
        with pytest.raises(HttpError) as caught:
            get(server.port, deadline_s=SOON_S, origin="https://127.0.0.1")
        assert server.peer.gone.wait(PATIENT_S)
    assert not caught.value.sent


def test_a_tls_handshake_that_drips() -> None:
    """Neither does a handshake that goes on and on."""

    def talk(peer: Peer) -> None:
        peer.say(b"\x16\x03\x03\x40\x00")  # a handshake record of 16 KiB follows
        peer.drip(bytes(16 << 10))

    with serving(talk) as server:
        with pytest.raises(HttpError) as caught:
            get(server.port, deadline_s=SOON_S, origin="https://127.0.0.1")
        assert server.peer.gone.wait(PATIENT_S)
        assert server.peer.dripped < 16 << 10
    assert not caught.value.sent


def test_tls(certificate: ssl.SSLContext) -> None:
    """Over TLS the same: an answer arrives, over one connection if it can, and what drips is cut off."""

    def talk(peer: Peer) -> None:
        while peer.request():
            peer.say(ANSWER)

    with serving(talk, context=certificate) as server:
        for _ in range(2):
            assert b"ok" == get(server.port, origin="https://127.0.0.1").body
        assert 1 == len(server.peers)
    with serving(drip_head, context=certificate) as server:
        with pytest.raises(HttpError) as caught:
            get(server.port, deadline_s=SOON_S, origin="https://127.0.0.1")
        assert server.peer.gone.wait(PATIENT_S)
        assert server.peer.dripped < ENDLESS
    assert caught.value.sent


def test_connections_are_kept() -> None:
    """Calls share a connection; each has a deadline of its own; after one that was cut off there is a new one."""

    def talk(peer: Peer) -> None:
        while request := peer.request():
            if b"drip" in request:
                peer.say(HEAD + b"X-Test: ")
                peer.drip(b"a" * ENDLESS)
                return
            peer.say(ANSWER)

    with serving(talk) as server:
        for _ in range(2):
            assert b"ok" == get(server.port).body
        with pytest.raises(HttpError):
            get(server.port, "drip", deadline_s=SOON_S)
        assert b"ok" == get(server.port).body
        assert 2 == len(server.peers)


def test_a_connection_that_went_stale() -> None:
    """One that is seen to be closed is not used. One that closes on the request: nobody knows, it is not sent again."""
    requests: list[bytes] = []

    def once(peer: Peer) -> None:
        requests.append(peer.request())
        peer.say(ANSWER)

    with serving(once) as server:
        assert b"ok" == get(server.port).body
        assert server.peer.closed.wait(PATIENT_S)
        assert b"ok" == get(server.port).body
        assert 2 == len(server.peers)

    def twice(peer: Peer) -> None:
        requests.append(peer.request())
        peer.say(ANSWER)
        requests.append(peer.request())

    requests.clear()
    with serving(twice) as server:
        assert b"ok" == get(server.port).body
        with pytest.raises(HttpError) as caught:
            get(server.port)
    assert caught.value.sent
    assert 2 == len(requests)


def test_ipv6() -> None:
    """A literal address of version 6."""

    def talk(peer: Peer) -> None:
        peer.request()
        peer.say(ANSWER)

    with serving(talk, host="::1") as server:
        assert b"ok" == get(server.port, origin="http://[::1]").body


def test_a_dead_address_leaves_time_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with two addresses, the first of which swallows connections. The answers of the resolver are made up."""

    def talk(peer: Peer) -> None:
        peer.request()
        peer.say(ANSWER)

    with serving(talk) as server, deaf("127.0.0.2", server.port):
        dead, alive = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", address)
            for address in (("127.0.0.2", server.port), ("127.0.0.1", server.port))
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [dead, alive])
        assert b"ok" == get(server.port, origin="http://test.invalid", deadline_s=6.0).body


def test_names_nobody_knows() -> None:
    """No address, or no name at all: certainly nothing was sent."""
    for origin in ("http://test.invalid", "http://" + "a" * 64 + ".invalid"):
        with pytest.raises(HttpError) as caught:
            get(80, origin=origin)
        assert not caught.value.sent


# --- proxies -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"HTTP_PROXY": "http://127.0.0.1:1"},
        {"HTTP_PROXY": "127.0.0.1:1", "HTTPS_PROXY": "http://test-user:test-secret@127.0.0.1:2"},
        {"ALL_PROXY": "http://127.0.0.1:3", "NO_PROXY": "localhost,127.0.0.1, ::1 ,.a.test,b.test:8443,http://c.test"},
        {"HTTPS_PROXY": "http://127.0.0.1:1", "NO_PROXY": "10.0.0.0/8,LOCALHOST,,"},
        {"HTTPS_PROXY": "http://127.0.0.1:1", "NO_PROXY": "a.test,*"},
        {"NO_PROXY": "a.test"},
    ],
)
def test_proxies_of_the_environment(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every host goes where httpx on its own would send it."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with httpx.Client() as theirs, httpx.Client(transport=DeadlineTransport(), mounts=environment_proxies()) as ours:
        assert [p.pattern for p in theirs._mounts] == [p.pattern for p in ours._mounts]
        for pattern, transport in theirs._mounts.items():
            mine = ours._mounts[pattern]
            if transport is None:
                assert mine is None
                continue
            pool, wanted = mine._pool, transport._pool  # type: ignore[attr-defined]
            assert type(wanted) is type(pool)
            assert vars(wanted._proxy_url) == vars(pool._proxy_url)
            assert wanted._proxy_headers == pool._proxy_headers


def test_a_network_without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """httpx cannot express one, and fails on one of version 6. Here it stands for its first address."""
    monkeypatch.setenv("NO_PROXY", "fe80::/10")
    assert {"all://[fe80::]": None} == environment_proxies()


def test_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain call goes through it whole; a tunnel that never opens is cut off."""
    requests: list[bytes] = []

    def proxy(peer: Peer) -> None:
        requests.append(peer.request())
        if requests[-1].startswith(b"CONNECT"):
            drip_head(peer)
        peer.say(ANSWER)

    with serving(proxy) as server:
        monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{server.port}")
        assert b"ok" == get(80, origin="http://shop.test").body
        assert requests[0].startswith(b"POST http://shop.test")
        with pytest.raises(HttpError):
            get(443, origin="https://shop.test", deadline_s=SOON_S)
        assert server.peers[1].gone.wait(PATIENT_S)
        assert server.peers[1].dripped < ENDLESS


# --- the transport on its own --------------------------------------------------------------------------


def test_without_a_total_there_is_no_end_but_every_wait_has_one() -> None:
    """As with httpx's own transport: time-outs are for one wait, ``total_s`` is for requests that say nothing."""

    def slow(peer: Peer) -> None:
        peer.request()
        peer.drip(LAST)

    with serving(slow) as server, httpx.Client(transport=DeadlineTransport()) as client:
        url = f"http://127.0.0.1:{server.port}"
        assert "ok" == client.get(url, timeout=PATIENT_S).text
        assert "ok" == client.get(url, timeout=None).text
    with serving(Peer.listen_only) as server, httpx.Client(transport=DeadlineTransport()) as client:
        url = f"http://127.0.0.1:{server.port}"
        with pytest.raises(httpx.ReadTimeout):
            client.get(url, timeout=SOON_S)
        with pytest.raises(httpx.ReadTimeout):
            client.get(url, extensions=within(PATIENT_S, wait_s=SOON_S))
    with serving(drip_body) as server, httpx.Client(transport=DeadlineTransport(total_s=SOON_S)) as client:
        url = f"http://127.0.0.1:{server.port}"
        with pytest.raises(httpx.ReadTimeout):
            client.get(url, timeout=PATIENT_S)
        with pytest.raises(httpx.TimeoutException):
            client.get(url, extensions=within(0.0))


def test_a_reader_that_takes_its_time() -> None:
    """Reading the body is part of the exchange, and other exchanges of the same thread have time of their own."""

    def talk(peer: Peer) -> None:
        while request := peer.request():
            if b"drip" not in request:
                peer.say(ANSWER)
                continue
            peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % ENDLESS)
            peer.drip(b"a" * ENDLESS)
            return

    with serving(talk) as server, httpx.Client(transport=DeadlineTransport()) as client:
        url = f"http://127.0.0.1:{server.port}/"
        with client.stream("GET", url + "drip", extensions=within(SOON_S)) as response:
            assert "ok" == client.get(url, extensions=within(PATIENT_S)).text
            with pytest.raises(httpx.ReadTimeout):
                response.read()
