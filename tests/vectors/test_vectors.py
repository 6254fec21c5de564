"""The public conformance vectors, through the conformance program's own entry point."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flovia.core.binding import challenge_id
from flovia.core.challenge import Challenge
from flovia.core.encoding import decode_param, encode_param
from flovia.core.http import Headers, HttpRequest
from flovia.core.provider import NotPaid, Paid, Presented
from flovia.providers.mock import MockProvider
from flovia.testing.conformance import OPERATIONS, respond
from tests.adapters.behaviour.table import CASES
from tests.patience import PROGRAM_S
from tests.require import vectors
from tests.vectors.mapping import CONTESTED, DEFERRED, SHOWN

Case = dict[str, Any]
CHECKOUT = Path(__file__).resolve().parents[2]
FILES = ("authorization", "base64url", "challenge-id", "receipt", "www-authenticate")


def load(file: str) -> list[Case]:
    """The cases of one file of vectors."""
    cases: list[Case] = json.loads((vectors() / f"{file}.json").read_text(encoding="utf-8"))["cases"]
    return cases


def ask(op: str, given: object) -> Case:
    """One answer of the conformance program."""
    line = json.dumps({"schema": 1, "op": op, "input": given}).encode()
    (response,) = respond([line])
    answer: Case = json.loads(response)
    return answer


def check_refusal(case: Case, answer: Case) -> None:
    """A vector that is to be rejected is, with the type of error it names."""
    assert answer["ok"] is False
    expected = case["expect"].get("error_type")
    if expected is not None:
        assert expected == answer["error"]["type"]


def check(file: str, case: Case) -> None:
    """One vector: parse, format and round trip as far as its ``tests`` say."""
    kind, given, expect = case["kind"], case["input"], case["expect"]
    if kind == "base64url":
        if expect.get("reject"):
            check_refusal(case, ask("base64url.decode", {"text": given["encoded"]}))
        else:
            assert given["encoded"] == ask("base64url.encode", {"text": given["decoded"]})["value"]["text"]
            assert given["decoded"] == ask("base64url.decode", {"text": given["encoded"]})["value"]["text"]
        return
    assert kind in OPERATIONS
    answer = ask(kind, given)
    if expect.get("reject"):
        check_refusal(case, answer)
        return
    assert answer["ok"] is True, answer
    value = answer["value"]
    if kind == "challenge.id":
        assert (expect["id"] == value["id"]) is (f"{file}/{case['name']}" not in CONTESTED)
        return
    noun = kind.removesuffix(".parse")
    assert contains(expect[noun], value)
    if case.get("tests", {}).get("format"):
        # From the vector's object alone, and from what we parsed: both come back as the same value.
        for source in (expect[noun], value):
            header = ask(f"{noun}.format", source)["value"]["header"]
            assert contains(expect[noun], ask(kind, {"header": header})["value"])


def contains(expected: Case, value: Case) -> bool:
    """Whether the value is the expected object; flovia adds only the wire texts ``*_raw``."""
    return expected == {
        name: contains(expected[name], item) and expected[name] if name == "challenge" else item
        for name, item in value.items()
        if not name.endswith("_raw")
    }


@pytest.mark.parametrize("file", FILES)
def test_every_vector_with_an_operation_passes(file: str) -> None:
    """All cases of the file that our program has an operation for are answered as the suite expects."""
    for case in load(file):
        check(file, case)


def test_85_vectors_have_an_operation_and_the_rest_is_accounted_for() -> None:
    """No vector is forgotten: each has an operation, or is mapped to a behaviour, or is deferred with a reason."""
    every = {
        f"{path.stem}/{case['name']}": case["kind"] for path in vectors().glob("*.json") for case in load(path.stem)
    }
    assert 125 == len(every)
    operated = {name for name in every if name.partition("/")[0] in FILES}
    assert 85 == len(operated)
    assert set(every) - operated == set(SHOWN) | set(DEFERRED)
    assert set(CONTESTED) <= operated


def test_what_is_shown_elsewhere_is_there() -> None:
    """Every row and test function that a vector is mapped to exists."""
    for module in ("bodies", "challenges", "credentials", "deliveries", "failures", "hostile"):
        importlib.import_module(f"tests.adapters.behaviour.{module}")
    rows = {f"row:{row.name}" for row in CASES}
    for places in SHOWN.values():
        for place in places:
            path, _, function = place.partition("::")
            assert place in rows or f"def {function}(" in (CHECKOUT / path).read_text(encoding="utf-8")


def test_external_ids() -> None:
    """S25: the receipt's external id is the challenge's; one that only the payload names is not attributed."""
    for case in load("external-id-binding"):
        bound, claimed = case["input"]["request_externalId"], case["input"]["payload_externalId"]
        provider = MockProvider(external_id=bound)
        payload = {"proof": "ok-test"} | ({} if claimed is None else {"externalId": claimed})
        presented = Presented(
            challenge=Challenge(id="x", realm="r", method="mock", intent="charge", request="e30"),
            charge={"amount": "100", "currency": "usd"},
            payload=payload,
            source=None,
            opaque={},
            nonce="n",
            attempt=1,
            request=HttpRequest("GET", "/paid", "", Headers.of(())),
        )
        with pytest.raises(StopIteration) as stopped:
            next(provider.verify(presented))
        verdict = stopped.value.value
        if case["expect"]["ok"]:
            assert isinstance(verdict, Paid)
            assert case["expect"]["receipt_externalId"] == verdict.receipt_extra.get("externalId")
        else:
            assert NotPaid(problem=case["expect"]["errorType"].replace("_", "-")) == verdict


def test_the_contested_vector_is_the_other_slot_order() -> None:
    """The contested id differs from ours by nothing but the place of ``header`` (mpp-specs#357)."""
    case = next(c for c in load("challenge-id") if c["name"] == "with_payment_authorization_header")
    given = case["input"]
    # Their order puts the header into our slot of opaque, and an empty opaque behind it.
    theirs = challenge_id(
        given["secretKey"].encode(),
        realm=given["realm"],
        method=given["method"],
        intent=given["intent"],
        request=encode_param(given["request"]),
        opaque=given["header"] + "|",
    )
    assert case["expect"]["id"] == theirs


def test_server_verification_ids_are_ours() -> None:
    """The ids in the server-verification vectors that are valid are the ones our binding computes."""
    for case in load("server-verification"):
        given, echo = case["input"], case["input"]["credential"]["challenge"]
        ours = challenge_id(
            given["secretKey"].encode(),
            realm=echo["realm"],
            method=echo["method"],
            intent=echo["intent"],
            request=encode_param(echo["request"]),
            expires=echo.get("expires"),
        )
        assert case["id_is_valid_hmac"] is (ours == echo["id"])


def test_requests_in_the_vectors_survive_our_encoder() -> None:
    """S14: encoding a vector's request and decoding it again gives the same object."""
    for case in load("challenge-id"):
        request = case["input"]["request"]
        assert request == decode_param(encode_param(request))


def test_the_program_answers_on_its_streams() -> None:
    """``python -m flovia.testing.conformance`` answers each line, bad ones included, and ends with its input."""
    lines = [
        b'{"schema":1,"op":"base64url.encode","input":{"text":"ab"}}',
        b"\xff\xfe not UTF-8",
        b'{"schema":2,"op":"base64url.encode","input":{"text":"ab"}}',
    ]
    done = subprocess.run(
        [sys.executable, "-m", "flovia.testing.conformance"],
        input=b"\n".join(lines) + b"\n",
        capture_output=True,
        timeout=PROGRAM_S,
        check=True,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [{"ok": True, "value": {"text": "YWI"}}, "parse_error", "unsupported_operation"] == [
        answers[0],
        *(answer["error"]["type"] for answer in answers[1:]),
    ]
