"""Many requests with one credential at the same time: one delivery, over real servers and processes (S42 to S44)."""

import os
import threading
from collections import Counter
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flovia.core.challenge import parse_challenges
from flovia.testing.fixture import ADAPTERS, WSGI_ADAPTERS, serve
from tests.adapters.behaviour.runner import parameters
from tests.adapters.behaviour.table import Pay
from tests.adapters.behaviour.wire import Reply, control, exchange, head
from tests.patience import eventually

AT_ONCE = 50
CHALLENGES = 20
PROCESSES = 4
IN_PROCESSES = ADAPTERS if os.environ.get("CI") else ("wsgi", "fastapi")
"""Starting four processes of everything takes a minute: where nobody asks for all, one adapter of each kind."""


def get(url: str, path: str, authorization: str | None = None) -> Reply:
    """One GET on a connection of its own."""
    fields = [("Host", url.removeprefix("http://")), ("Connection", "close")]
    if authorization is not None:
        fields.append(("Authorization", authorization))
    return exchange(url, head("GET", path, fields), "GET")


def credential(url: str, path: str, proof: str) -> str:
    """A credential for a fresh challenge."""
    (challenge,) = parse_challenges(get(url, path).all("www-authenticate"))
    return "Payment " + Pay(proof=proof).make(parameters(challenge))


def at_once(credentials: list[str], url: str, path: str) -> list[Reply]:
    """Present every credential, all let go at the same moment."""
    barrier = threading.Barrier(len(credentials))

    def start(authorization: str) -> Reply:
        barrier.wait()
        return get(url, path, authorization)

    with ThreadPoolExecutor(len(credentials)) as threads:
        return list(threads.map(start, credentials))


def outcomes(replies: list[Reply]) -> Counter[str]:
    """How often each outcome: a status, or the problem of a refusal."""
    return Counter(
        str(reply.status) if reply.status < 400 else str(reply.json["type"]).rpartition("/")[2].rpartition(":")[2]
        for reply in replies
    )


def used_again(url: str, path: str, authorization: str) -> Counter[str]:
    """What a credential gets once its delivery is on record, which is after its last byte was sent."""
    return eventually(lambda: outcomes([get(url, path, authorization)]), lambda found: "in-flight" not in found)


def race_one_credential(url: str) -> None:
    """One credential, fifty requests, three times."""
    for number in range(3):
        control(url, "POST", "reset")
        authorization = credential(url, "/slow", f"ok-{number}")
        found = outcomes(at_once([authorization] * AT_ONCE, url, "/slow"))
        assert 1 == found.pop("200", 0), found
        assert AT_ONCE - 1 == found.pop("in-flight", 0) + found.pop("invalid-challenge", 0)
        assert not found
        counted = control(url, "GET", "counters")
        assert (1, 1, 1) == (counted["handler_calls"], counted["settlements"], counted["backend_calls"])
        assert {"invalid-challenge": 1} == used_again(url, "/slow", authorization)


def race_one_proof(url: str) -> None:
    """One proof under twenty challenges."""
    control(url, "POST", "reset")
    credentials = [credential(url, "/paid", "ok-the-same") for _ in range(CHALLENGES)]
    found = outcomes(at_once(credentials, url, "/paid"))
    assert {"200": 1, "verification-failed": CHALLENGES - 1} == found
    counted = control(url, "GET", "counters")
    assert (1, 1, CHALLENGES) == (counted["handler_calls"], counted["settlements"], counted["backend_calls"])


@pytest.fixture(scope="module", params=ADAPTERS)
def one_process(request: pytest.FixtureRequest) -> Generator[str]:
    """Each adapter in one process, payments in memory."""
    with serve(request.param) as url:
        yield url


@pytest.fixture(scope="module", params=IN_PROCESSES)
def four_processes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """Four processes that share a SQLite file."""
    ledger: Path = tmp_path_factory.mktemp("ledger") / f"{request.param}.db"
    server = "gunicorn-gthread" if request.param in WSGI_ADAPTERS else "uvicorn"
    with serve(request.param, server=server, ledger=f"sqlite:///{ledger}", workers=PROCESSES) as url:
        yield url


def test_one_credential_in_one_process(one_process: str) -> None:
    """One of fifty uses at once is answered, the rest get 409 in flight or 402 afterwards, never 5xx (S42 S43)."""
    race_one_credential(one_process)


def test_one_proof_in_one_process(one_process: str) -> None:
    """A proof that twenty challenges are paid with at once pays one of them (S44)."""
    race_one_proof(one_process)


def test_one_credential_in_four_processes(four_processes: str) -> None:
    """Four processes that share a SQLite file deliver once, too (S42 S43)."""
    race_one_credential(four_processes)


def test_one_proof_in_four_processes(four_processes: str) -> None:
    """Four processes that share a SQLite file take a proof once (S44)."""
    race_one_proof(four_processes)
