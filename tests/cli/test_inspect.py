"""``flovia inspect`` shows what a wire value says, and never a proof."""

import io
import json

import attrs
import pytest

import flovia
from flovia.cli.app import run
from flovia.cli.inspect import findings
from flovia.core.challenge import Challenge, format_challenge
from flovia.core.credential import Credential, format_credential, parse_credential
from flovia.core.encoding import JsonValue, encode_param
from flovia.core.receipt import Receipt, format_receipt

NOW = 1_900_000_000.0
CHALLENGE = Challenge(
    id="test-challenge-id",
    realm="api.example.com",
    method="mock",
    intent="charge",
    request=encode_param({"amount": "100", "currency": "usd"}),
    expires="2030-03-17T17:47:00Z",
    digest="sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:",
    opaque=encode_param({"n": "test"}),
    description="one report",
)
PROOF = "ok-test-proof-that-nobody-may-see"
CREDENTIAL = format_credential(
    Credential(challenge=CHALLENGE, payload={"proof": PROOF, "n": [1], "m": 2}, source="mock:agent")
)
RECEIPT = format_receipt(
    Receipt(
        method="mock",
        timestamp="2030-03-17T17:46:40Z",
        reference="mock_1",
        extra={"jws": "eyJ-test-signed-receipt"},
    )
)
RESPONSE = (
    "HTTP/1.1 402 Payment Required\r\nwww-authenticate: "
    + format_challenge(CHALLENGE)
    + '\r\ncontent-type: application/problem+json\r\n\r\n{"type":"urn:x:test","status":402,"title":"Pay"}\r\n'
)


def shown(text: str) -> list[tuple[str, dict[str, JsonValue]]]:
    """Kind and members of everything found."""
    return [(finding.kind, finding.shown) for finding in findings(text, NOW)]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What somebody pipes into the command."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stdin", stream)
    return stream


def test_a_challenge_is_decoded() -> None:
    """A header value that is a challenge shows its members, its price and how long it is good."""
    ((kind, members),) = shown(format_challenge(CHALLENGE))
    assert "challenge" == kind
    assert {"amount": "100", "currency": "usd"} == members["request"]
    assert "1.00 USD" == members["price"]
    assert "for 20 s" == members["valid"]
    assert {"n": "test"} == members["opaque"]
    assert "one report" == members["description"]


def test_an_expired_challenge_says_so() -> None:
    """The same challenge later is shown as expired, exactly from its instant on."""
    text = format_challenge(CHALLENGE)
    assert ["no, expired 0 s ago", "no, expired 5 s ago"] == [
        next(findings(text, NOW + later)).shown["valid"] for later in (20, 25)
    ]


def test_an_amount_of_an_unknown_currency_has_no_price() -> None:
    """A currency without a known base unit is shown as it is on the wire."""
    foreign = attrs.evolve(
        CHALLENGE, request=encode_param({"amount": "5", "currency": "0xabc"}), header="Payment-Authorization"
    )
    ((_, members),) = shown(format_challenge(foreign))
    assert "price" not in members
    assert "Payment-Authorization" == members["header"]


@pytest.mark.parametrize(
    "text",
    [
        CREDENTIAL,
        CREDENTIAL.removeprefix("Payment "),
        f"Authorization: {CREDENTIAL}",
        f"> authorization: {CREDENTIAL}",
        f"Authorization: Bearer test, {CREDENTIAL}",
    ],
    ids=["value", "token", "header", "curl -v", "beside another"],
)
def test_a_credential_is_shown_without_its_proof(text: str) -> None:
    """A credential, however it is pasted, shows whom it answers; of the payload only names and lengths (S37)."""
    ((kind, members),) = shown(text)
    assert "credential" == kind
    assert "test-challenge-id" == members["challenge"]
    assert {"proof": f"({len(PROOF)} characters, not shown)", "n": "(1 item, not shown)", "m": "(not shown)"} == (
        members["payload"]
    )
    assert PROOF not in repr(members)


@pytest.mark.parametrize("text", [RECEIPT, f"payment-receipt: {RECEIPT}"], ids=["token", "header"])
def test_a_receipt_is_shown_without_what_may_be_signed(text: str) -> None:
    """A receipt shows reference, method and time; further members may be tokens and are not shown (S37)."""
    ((kind, members),) = shown(text)
    assert "receipt" == kind
    assert "mock_1" == members["reference"]
    assert {"jws": "(23 characters, not shown)"} == members["extra"]


def test_a_whole_response_shows_everything_in_it(typed: io.StringIO, capsys: pytest.CaptureFixture[str]) -> None:
    """What ``curl -i`` prints can be piped in: status, challenge and problem are decoded."""
    typed.write(RESPONSE)
    typed.seek(0)
    assert 0 == run(["inspect", "--json"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert ["response", "challenge", "problem"] == [line["kind"] for line in lines]
    assert 402 == lines[0]["status"]
    assert "urn:x:test" == lines[2]["type"]


def test_people_get_one_line_per_member(capsys: pytest.CaptureFixture[str]) -> None:
    """Long values stay on one line, and what could steer a terminal is written out."""
    hostile = attrs.evolve(CHALLENGE, request=encode_param({"amount": "1", "note": "\x1b[31m\x07" + "x" * 500}))
    assert 0 == run(["inspect", format_challenge(hostile)])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert any("x" * 500 in line for line in out.splitlines())


def test_a_parameter_is_decoded() -> None:
    """A bare base64url object that is neither credential nor receipt is shown as it is."""
    assert [("parameter", {"amount": "100", "currency": "usd"})] == shown(CHALLENGE.request)


@pytest.mark.parametrize("token", ["-abc_-x", "--abc", "-5"])
@pytest.mark.parametrize("options", [[], ["--json"]], ids=str)
def test_a_token_that_begins_with_a_hyphen(capsys: pytest.CaptureFixture[str], token: str, options: list[str]) -> None:
    """An id or token that begins with a hyphen, as one in 64 does, is no option: it is read like any other."""
    found = []
    for text in (token, "x" + token[1:]):
        assert 1 == run(["inspect", *options, text])
        found.append(capsys.readouterr().err.partition(":")[0])
    assert found[0] == found[1] == "flovia"


HITPAY = {
    "amount": "1.00",
    "currency": "sgd",
    "description": "Forecast",
    "methodDetails": {
        "checkout_url": "http://127.0.0.1:4011/payment-request/@hitpay/1/checkout",
        "expires_at": "2030-01-01T00:15:00Z",
        "polling_url": "http://127.0.0.1:4010/v1/charges/mpp_ch_1",
    },
}
BODY = json.dumps({"error": "payment_required", "challenge": HITPAY})


def test_hitpays_own_402_is_explained(typed: io.StringIO, capsys: pytest.CaptureFixture[str]) -> None:
    """Its header and its body, alone or in a response: what it asks, and that no other client can pay it.

    What both say alike is told once.
    """
    other = f'Payment method="hitpay", request="{encode_param({**HITPAY, "amount": "2.00"})}"'
    response = "HTTP/1.1 402 Payment Required\nwww-authenticate: "
    kinds = [kind for kind, _ in shown(f"{response}{other}\n\n{BODY}")]
    assert ["response", "hitpay challenge", "hitpay 402"] == kinds
    field = f'Payment method="hitpay", request="{encode_param(HITPAY)}"'
    typed.write(f"HTTP/1.1 402 Payment Required\r\nwww-authenticate: {field}\r\n\r\n{BODY}")
    typed.seek(0)
    assert 0 == run(["inspect", "--json"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert ["response", "hitpay 402"] == [line["kind"] for line in lines]
    assert ["hitpay challenge"] == [kind for kind, _ in shown(field)]
    for line in lines[1:]:
        assert ("1.00 SGD", "Forecast") == (line["price"], line["description"])
        assert "has not published what pays it" in line["note"]
    assert [("hitpay 402", "1.00 SGD")] == [(kind, found["price"]) for kind, found in shown(BODY)]
    ((_, odd),) = shown(json.dumps({"error": "payment_required", "mode": "x", "challenge": {"amount": 1}}))
    assert ("x", 1, None, True) == (odd["mode"], odd["amount"], odd["currency"], "price" not in odd)
    ((_, unknown),) = shown(json.dumps({"error": "payment_required", "challenge": {"amount": "1", "currency": "zzz"}}))
    assert "price" not in unknown
    for broken in (
        'Payment method="hitpay"',
        'Payment method="hitpay", request="!"',
        'Payment method="x", request="e30"',
    ):
        assert ["challenge"] == [kind for kind, _ in shown(broken)]


def jws(typ: str, **claims: JsonValue) -> str:
    """A token that nobody signed."""
    parts = ({"alg": "EdDSA", "typ": typ, "kid": "k1"}, claims)
    return ".".join([*(encode_param(part) for part in parts), "dGVzdC1zaWduYXR1cmU"])


def test_a_signed_receipt_is_shown_as_claims() -> None:
    """Nothing is said to hold, and nothing that works as a secret is shown: no signature, no nonce, no method's id."""
    token = jws("mpp-receipt+jwt", amount="1.00", currency="sgd", nonce="test-nonce", saved_method_id="mpp_spm_test")
    for text in (token, f"mpp-receipt: {token}", f"Payment-Receipt: {token}", f"Authorization: Payment {token}"):
        ((kind, found),) = shown(text)
        assert "signed token" == kind
        assert str(found["verified"]).startswith("no: ")
        assert ("mpp-receipt+jwt", "EdDSA", "k1") == (found["typ"], found["alg"], found["kid"])
        assert isinstance(claims := found["claims"], dict)
        assert ("1.00", "sgd") == (claims["amount"], claims["currency"])
        for secret in ("test-nonce", "mpp_spm_test", "dGVzdC1zaWduYXR1cmU", token):
            assert secret not in json.dumps(found)
    ((_, grant),) = shown(f"Payment {jws('mpp-spm+jwt', sub='mpp_spm_test', max_amount_per_charge='10.00')}")
    assert "mpp_spm_test" not in json.dumps(grant)
    for broken in ("a.b.c", "e30..x", "mpp-receipt: e30.e30"):
        (finding,) = findings(broken, NOW)
        assert ("signed token", True) == (finding.kind, finding.error is not None)


@pytest.mark.parametrize(
    "text",
    ['Payment id="x"', "Payment !!!", "Payment abc", "hello", "", "www-authenticate: Bearer", "payment-receipt: eyJ"],
)
def test_what_cannot_be_read_is_said(text: str, typed: io.StringIO, capsys: pytest.CaptureFixture[str]) -> None:
    """Something malformed, or nothing of ours, is exit status 1 with one line on standard error."""
    typed.write(text)
    typed.seek(0)
    assert 1 == run(["inspect"])
    captured = capsys.readouterr()
    assert "" == captured.out.strip()
    assert captured.err.startswith("flovia: ")


@pytest.mark.parametrize("text", ["hello", "", "hello there"])
def test_what_was_expected_is_said(text: str, typed: io.StringIO, capsys: pytest.CaptureFixture[str]) -> None:
    """Who gives something else altogether is told what the command reads."""
    typed.write(text)
    typed.seek(0)
    assert 1 == run(["inspect"])
    assert (
        "expected a WWW-Authenticate, Authorization, Payment-Receipt or mpp-receipt value, a token,"
        in capsys.readouterr().err
    )


def test_a_body_that_is_no_problem_is_left_alone() -> None:
    """The body of a response is shown only if it is problem details."""
    assert ["response"] == [kind for kind, _ in shown('HTTP/1.1 200 OK\n\n{"foo":"bar"}')]
    assert ["response"] == [kind for kind, _ in shown("HTTP/1.1 200 OK\n\n{broken")]
    assert ["problem"] == [kind for kind, _ in shown('{"type":"urn:x:test","status":500}')]


def test_a_mock_payment_pays_the_challenge(capsys: pytest.CaptureFixture[str]) -> None:
    """``--mock-payment`` prints a credential for the challenge, with a proof of its own each time."""
    printed: list[Credential] = []
    for _ in range(2):
        assert 0 == run(["inspect", "--mock-payment", RESPONSE.replace("\r", "")])
        printed.append(parse_credential(capsys.readouterr().out.strip()))
    assert CHALLENGE.id == printed[0].challenge.id
    assert str(printed[0].payload["proof"]).startswith("ok-")
    assert printed[0].payload != printed[1].payload


def test_a_mock_payment_is_for_the_mock_provider_only(capsys: pytest.CaptureFixture[str]) -> None:
    """Another method's challenge is not answered with a made-up proof."""
    assert 1 == run(["inspect", "--mock-payment", format_challenge(CHALLENGE).replace("mock", "bank")])
    assert "mock provider" in capsys.readouterr().err


def test_a_terminal_is_asked_for_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without an argument and without a pipe, the command says what it waits for."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal(CREDENTIAL))
    assert 0 == run(["inspect"])
    captured = capsys.readouterr()
    assert "Ctrl-D" in captured.err
    assert "credential" in captured.out


def test_a_refusal_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A setting that cannot work ends a command with its message and status 1, without a traceback."""
    monkeypatch.delenv("FLOVIA_LEDGER", raising=False)
    assert 1 == run(["events", "--ledger", "nothing://"])
    assert "flovia: " in capsys.readouterr().err


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    """``flovia --version`` prints the version of the package."""
    run(["--version"])
    assert flovia.__version__ == capsys.readouterr().out.strip()
