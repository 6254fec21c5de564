"""``flovia pay``: against the sandbox with a hand-written shop, over real HTTP; its exit status and what it prints."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import cast

import attrs
import pytest

from flovia.cli.app import run
from flovia.cli.pay_wallets import Progress
from flovia.client import PendingFiles
from flovia.core.encoding import encode_param
from tests.client.hitpay.conftest import Street, street
from tests.client.server import Say, nobody_listens, sells, serving, unpaid
from tests.patience import PROGRAM_S

__all__ = ["street"]  # a fixture

SECRETS = re.compile(r"(?<![\w-])eyJ|mpp-receipt|Payment ey").search
"""How a JWS and base64url JSON begin; within a kept credential's random name the same letters are nothing."""


@attrs.frozen(kw_only=True)
class Done:
    """What one run left behind."""

    status: int
    out: str
    err: str


class Cli:
    """Runs the command in this process, with a state folder of its own."""

    def __init__(self, state: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.state = state
        self._capsys = capsys
        self.pending = PendingFiles(state)

    def __call__(self, *arguments: str) -> Done:
        """One run; it never shows a token."""
        self._capsys.readouterr()
        status = run(["pay", *arguments, "--state", str(self.state)])
        out, err = self._capsys.readouterr()
        assert SECRETS(out + err) is None
        return Done(status=status, out=out, err=err)


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The command."""
    monkeypatch.delenv("HITPAY_MPP_ENDPOINT", raising=False)
    return Cli(tmp_path / "state", capsys)


SGD = ("--budget", "5.00 SGD")


def test_the_sandbox_pays_and_the_body_is_the_output(cli: Cli, street: Street) -> None:
    """Standard output is the answer's body and nothing else; standard error says what was paid."""
    done = cli(street.server.url, *SGD, "--auto-pay")
    assert (0, "goods") == (done.status, done.out)
    assert f"200, 1.00 SGD paid to {street.server.url} by hitpay, receipt verified" in done.err
    assert [] == cli.pending.references()


def test_json(cli: Cli, street: Street) -> None:
    """One object: the answer, what was paid, and whether the receipt holds; no token in it."""
    done = cli(street.server.url, *SGD, "--auto-pay", "--json")
    found = json.loads(done.out)
    assert (0, 200, "goods") == (done.status, found["status"], found["body"])
    paid = found["paid"]
    assert (100, "sgd", "1.00 SGD", "hitpay", True) == (
        paid["amount"],
        paid["currency"],
        paid["price"],
        paid["method"],
        paid["receipt_verified"],
    )
    assert street.shop.charges == [paid["receipt"]["reference"]] == [paid["payment_id"]]


def test_a_person_is_shown_where_to_pay(cli: Cli, street: Street) -> None:
    """Amount, server, link and QR code on standard error, progress, then the goods."""
    street.sandbox.fault("payer", "auto_pay", delay=1)
    done = cli(street.server.url, *SGD)
    assert (0, "goods") == (done.status, done.out)
    assert f"Pay 1.00 SGD to {street.server.url}" in done.err
    assert street.sandbox.api_url in done.err
    assert "█" in done.err or "▀" in done.err or "▄" in done.err
    assert "waiting for the payment, " in done.err


def test_nobody_pays_in_time_and_resume_fetches_it_later(cli: Cli, street: Street) -> None:
    """Exit 3 with the line to type; resume shows the same checkout, waits, and pays nothing more."""
    done = cli(street.server.url, *SGD, "--timeout", "3")
    (reference,) = cli.pending.references()
    assert (3, "") == (done.status, done.out)
    assert 1 == done.err.count("flovia pay --resume")
    assert f"flovia pay --resume {reference} --state {cli.state}" in done.err
    still = cli("--resume", reference, "--timeout", "0.2")
    assert (3, True) == (still.status, "Pay 1.00 SGD" in still.err)
    street.sandbox.pay(street.shop.charges[0])
    late = cli("--resume", reference)
    assert (0, "goods", False) == (late.status, late.out, "Pay 1.00 SGD" in late.err)
    assert (1, []) == (len(street.shop.charges), cli.pending.references())
    assert 1 == cli("--resume", reference).status


def test_json_says_how_to_resume_with_the_folder(cli: Cli, street: Street) -> None:
    """The error's text and the member ``resume`` name the same command, with --state, as the line for people does."""
    cli.state = cli.state.parent / "kept here"
    cli.pending = PendingFiles(cli.state)
    done = cli(street.server.url, *SGD, "--timeout", "3", "--json")
    (reference,) = cli.pending.references()
    again = f"flovia pay --resume {reference} --state '{cli.state}'"
    found = json.loads(done.out)
    assert (3, reference, again) == (found["exit"], found["reference"], found["resume"])
    assert again in found["error"]
    assert 1 == done.err.count(again)
    refused = json.loads(cli(street.server.url, "--budget", "0.99 SGD", "--json").out)
    assert (4, None, None) == (refused["exit"], refused["reference"], refused["resume"])
    assert (cli.pending.load(reference).challenge_id, None) == (found["challenge_id"], refused["challenge_id"])


def test_expired_is_not_paid(cli: Cli, street: Street) -> None:
    """Exit 5, also when it expires between two runs."""
    cli(street.server.url, *SGD, "--timeout", "3")
    (reference,) = cli.pending.references()
    street.sandbox.expire(street.shop.charges[0])
    done = cli("--resume", reference, "--json")
    assert (5, 5) == (done.status, json.loads(done.out)["exit"])
    assert "expired" in done.err


def test_budget_and_policy(cli: Cli, street: Street) -> None:
    """Exit 4, and nothing was paid."""
    small = cli(street.server.url, "--budget", "0.99 SGD", "--auto-pay")
    assert (4, "") == (small.status, small.out)
    other = cli(street.server.url, "--budget", "5.00 USD", "--auto-pay")
    assert 4 == other.status
    wrong = cli(street.server.url, *SGD, "--wallet", "mock")
    assert (4, True) == (wrong.status, "--wallet" in wrong.err)
    assert {} == street.sandbox.money()


def test_dry_run_pays_nothing(cli: Cli, street: Street) -> None:
    """Everything is checked that a payment would check; then it stops."""
    done = cli(street.server.url, *SGD, "--dry-run", "--auto-pay")
    assert (0, f"1.00 SGD to {street.server.url} by hitpay: would be paid\n") == (done.status, done.out)
    assert "nothing was paid" in done.err
    found = json.loads(cli(street.server.url, *SGD, "--dry-run", "--json").out)
    assert ("1.00 SGD", True, None) == (found["would_pay"]["price"], found["would_pay"]["payable"], found["paid"])
    assert 4 == cli(street.server.url, "--budget", "0.50 SGD", "--dry-run").status
    street.shop.details = {"checkout_url": "https://evil.test/"}
    evil = cli(street.server.url, *SGD, "--dry-run")
    assert (5, True) == (evil.status, "would not be paid" in evil.out)
    assert {} == street.sandbox.money()
    assert [] == street.server.credentials
    assert [] == cli.pending.references()


def test_a_wrong_receipt(cli: Cli, street: Street) -> None:
    """Exit 6 with the goods on standard output: they were paid for."""
    street.sandbox.fault("jws", "wrong_amount", route="B3")
    done = cli(street.server.url, *SGD, "--auto-pay")
    assert (6, "goods") == (done.status, done.out)
    assert "RECEIPT WRONG" in done.err
    found = json.loads(cli(street.server.url, *SGD, "--auto-pay", "--json").out)
    assert ("goods", False) == (found["body"], found["paid"]["receipt_verified"])
    assert "another amount" in found["error"]


def test_a_refused_payment(cli: Cli, street: Street) -> None:
    """Exit 6: it was paid, and the server does not take it."""
    street.sandbox.fault("verify", "hash_mismatch")
    assert 6 == cli(street.server.url, *SGD, "--auto-pay").status
    assert "1.00" == cast("dict[str, str]", street.sandbox.money()["sgd"])["in"]


def test_the_broker_of_the_environment(cli: Cli, street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    """HITPAY_MPP_ENDPOINT names it, --broker wins, and what is no origin is refused by name."""
    monkeypatch.setenv("HITPAY_MPP_ENDPOINT", street.sandbox.broker_url)
    assert 0 == cli(street.server.url, *SGD, "--auto-pay").status
    done = cli(street.server.url, *SGD, "--broker", "http://mpp.hitpay.dev")
    assert (1, True) == (done.status, "https" in done.err)


def test_the_mock_wallet(cli: Cli) -> None:
    """For the demo and for tests: no person, no money."""
    with serving(sells()) as server:
        done = cli(server.url, *SGD, "--wallet", "mock")
        assert (0, "goods") == (done.status, done.out)
        assert "1.00 SGD paid" in done.err
        assert "with a receipt" in done.err
        assert 0 == cli(server.url, *SGD, "--wallet", "mock", "--dry-run").status
    with serving(sells(Say(status=503), Say(body=b"late"))) as server:
        assert 3 == cli(server.url, *SGD, "--wallet", "mock").status
        (reference,) = cli.pending.references()
        assert (0, "late") == ((done := cli("--resume", reference, "--wallet", "mock")).status, done.out)
    with serving(lambda seen: unpaid()) as server:
        assert 6 == cli(server.url, *SGD, "--wallet", "mock").status


@pytest.mark.parametrize("code", ["refund-due", "delivery-final", "delivery-exhausted"])
def test_paid_and_over(cli: Cli, code: str) -> None:
    """The server says that it took the payment and that nothing more comes: 6, and what the kept credential is for."""
    problem = json.dumps({"type": f"urn:flovia:problem:{code}"}).encode()
    with serving(sells(Say(status=500, body=problem))) as server:
        done = cli(server.url, *SGD, "--wallet", "mock")
        (reference,) = cli.pending.references()
        again = f"flovia pay --resume {reference} --wallet mock --state {cli.state}"
        assert (6, True, False) == (done.status, "it took the payment" in done.err, "resume it with" in done.err)
        assert (code != "delivery-final") == (f": {again}\n" in done.err)
    with serving(sells(Say(status=500, body=problem))) as server:
        found = json.loads(cli(server.url, *SGD, "--wallet", "mock", "--json").out)
    (reference,) = set(cli.pending.references()) - {reference}
    challenge = cli.pending.load(reference).challenge_id
    again = f"flovia pay --resume {reference} --wallet mock --state {cli.state}"
    assert (6, reference, again, challenge) == tuple(
        found[name] for name in ("exit", "reference", "resume", "challenge_id")
    )


def test_the_payment_went_back(cli: Cli) -> None:
    """A credential whose payment was refunded is told so in words, beside the server's own answer."""
    body = json.dumps({"type": "urn:flovia:problem:payment-refunded"}).encode()
    with serving(
        sells(Say(status=503), Say(status=403, body=body), Say(status=403, body=body), Say(status=403))
    ) as server:
        assert 3 == cli(server.url, *SGD, "--wallet", "mock").status
        (reference,) = cli.pending.references()
        resume = ("--resume", reference, "--wallet", "mock")
        done = cli(*resume)
        assert (7, body.decode(), True) == (done.status, done.out, "this payment was given back" in done.err)
        assert "this payment was given back" in json.loads(cli(*resume, "--json").out)["error"]
        assert "given back" not in cli(*resume).err


def test_any_request(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Method, body and fields as with curl: POST for a body, JSON where it looks like it, files and standard input."""
    body = tmp_path / "body.txt"
    body.write_bytes(b"a=1")
    with serving(lambda seen: Say(body=seen.body or b"none")) as server:
        url = server.url
        assert "none" == cli(url, *SGD).out
        assert '{"a":1}' == cli(url, *SGD, "-d", '{"a":1}', "-H", "X-Test: one", "--header", "X-More:two").out
        assert "a=1" == cli(url, *SGD, "--data", f"@{body}", "--method", "post").out
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"text")))
        assert "text" == cli(url, *SGD, "-d", "@-", "-H", "Content-Type: text/plain").out
        seen = server.seen
    assert ["GET", "POST", "POST", "POST"] == [request.http_method for request in seen]
    assert ["application/json", "application/x-www-form-urlencoded", "text/plain"] == [
        request.header("content-type") for request in seen[1:]
    ]
    assert ("one", "two") == (seen[1].header("x-test"), seen[1].header("x-more"))


def test_answers_that_cost_nothing(cli: Cli) -> None:
    """Free answers pass, errors of the service are exit 7, no answer is exit 1; bytes that are no text are kept."""
    with serving(lambda seen: Say(body=b"\xff\n")) as server:
        done = cli(server.url, *SGD, "--json")
        assert (0, "/wo=", None) == (done.status, (found := json.loads(done.out))["body_base64"], found["paid"])
        dry = cli(server.url, *SGD, "--dry-run")
        assert (0, True) == (dry.status, "asks for no payment" in dry.out)
    with serving(lambda seen: Say(status=404, body=b"no")) as server:
        assert (7, "no") == ((done := cli(server.url, *SGD)).status, done.out)
        assert 7 == cli(server.url, *SGD, "--dry-run").status
    with nobody_listens() as port:
        url = f"http://127.0.0.1:{port}/?token=test-secret"
        done = cli(url, *SGD)
        assert (1, False) == (done.status, "test-secret" in done.err)
        assert 1 == cli(url, *SGD, "--dry-run").status


def test_a_stuck_broker_and_a_short_timeout(cli: Cli, street: Street) -> None:
    """The server knows what the broker does not say: it is asked once before the command gives up."""
    street.sandbox.fault("broker_status_stuck")
    done = cli(street.server.url, *SGD, "--auto-pay", "--timeout", "1")
    assert (0, "goods", 1) == (done.status, done.out, len(street.shop.charges))


@pytest.mark.parametrize(
    ("headers", "told"),
    [((("Retry-After", "41"),), "wait 41 s, then ask again"), ((), "the server does not say how long")],
)
def test_too_many_requests(headers: tuple[tuple[str, str], ...], told: str, cli: Cli) -> None:
    """A 429 says how long to wait, and where to read why."""
    with serving(lambda seen: Say(status=429, headers=headers)) as server:
        done = cli(server.url, *SGD)
        assert (7, True, True) == (done.status, told in done.err, "docs/limits.md" in done.err)
        assert told in cli(server.url, *SGD, "--dry-run").err


@pytest.mark.parametrize("extra", [(), ("--dry-run",)])
def test_hitpays_own_402_is_named_and_not_paid(extra: tuple[str, ...], cli: Cli) -> None:
    """Exit 5, with what it asks and what to do, whether it has HitPay's header or none; nothing was paid."""
    asked = {"amount": "1.00", "currency": "sgd", "methodDetails": {}}
    body = json.dumps({"error": "payment_required", "challenge": asked}).encode()
    header = f'Payment method="hitpay", request="{encode_param(asked)}"'
    for answer in (unpaid(header, body=body), Say(status=402, body=body)):
        with serving(lambda seen, answer=answer: answer) as server:
            done = cli(server.url, *SGD, *extra)
        assert (5, "") == (done.status, done.out)
        assert "the server asks for 1.00 SGD, and nothing was paid: HitPay's own form of a 402" in done.err
    with serving(lambda seen: unpaid('Payment id="x"')) as server:
        done = cli(server.url, *SGD, *extra)
    assert (4, True) == (done.status, "flovia inspect" in done.err)


def test_errors_speak_of_commands(cli: Cli) -> None:
    """Python calls are told as commands; a body that was too long to be kept is given again."""
    wanted = b"x" * ((1 << 20) + 1)
    answers = iter([Say(status=500), Say(status=500), *[Say(body=b"late")] * 2])
    with serving(lambda seen: unpaid() if seen.credential is None else next(answers)) as server:
        body = cli.state.parent / "body.txt"
        body.write_bytes(wanted)
        send = ("-d", f"@{body}", "-H", "Content-Type: text/plain", "-H", "X-Api-Key: test-key")
        done = cli(server.url, "--budget", "5.00 SGD", "--wallet", "mock", *send)
        (reference,) = cli.pending.references()
        again = f"flovia pay --resume {reference} --wallet mock --state {cli.state}"
        assert (3, True) == (done.status, f"{again} sends the same one" in done.err)
        done = cli("--resume", reference, "--wallet", "mock")
        assert (1, True) == (done.status, f"{again} --data @FILE" in done.err)
        done = cli("--resume", reference, "--wallet", "mock", "-d", f"@{body}", "-H", "X-Api-Key: test-key")
        assert 3 == done.status
        done = cli("--resume", reference, "--wallet", "mock", "-d", f"@{body}", "-H", "X-Api-Key: test-key")
        assert (0, "late") == (done.status, done.out)
        assert (wanted, "test-key") == (server.seen[-1].body, server.seen[-1].header("x-api-key"))
        done = cli(server.url, "--budget", "0.50 SGD", "--wallet", "mock")
        assert "(0.50 SGD is left): nothing was paid. Raise --budget, or do without" in done.err
    for said in (done.err, cli("--resume", "no/reference").err):
        assert "error." not in said
        assert "(reference" not in said


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("https://a.test",),
        ("https://a.test", "--budget", "5 dollars"),
        ("https://a.test", "--budget", "5", "--dry-run"),
        ("a.test", *SGD),
        ("ftp://a.test", *SGD),
        ("https://a.test", *SGD, "-H", "no colon"),
        ("https://a.test", *SGD, "-H", ": x"),
        ("https://a.test", *SGD, "-d", "@/nowhere/at/all"),
        ("https://a.test", *SGD, "-X", "GET /"),
        ("https://a.test", "--resume", "test-reference"),
        ("--resume", "test-reference", "--dry-run"),
    ],
)
def test_misuse_is_exit_2(arguments: tuple[str, ...], cli: Cli) -> None:
    """The text says what to write."""
    done = cli(*arguments)
    assert (2, "") == (done.status, done.out)
    assert done.err.startswith("flovia: ")


def test_wrong_settings_are_exit_1(cli: Cli) -> None:
    """A reference that is none, a time-out of nothing."""
    assert 1 == cli("--resume", "..").status
    assert 1 == cli("https://a.test", *SGD, "--timeout", "0").status


def test_ctrl_c_says_how_to_go_on(cli: Cli, street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody may still pay: the credential is kept, and its reference is the last thing said."""

    def interrupt(self: Progress, left_s: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "tick", interrupt)
        done = cli(street.server.url, *SGD)
    (reference,) = cli.pending.references()
    assert (130, True) == (done.status, f"--resume {reference}" in done.err)
    street.sandbox.pay(street.shop.charges[0])
    assert "goods" == cli("--resume", reference).out


def test_a_terminal_shows_a_running_line(cli: Cli, street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal the seconds count down in one line, which ends before anything else is said."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    street.sandbox.fault("payer", "auto_pay", delay=1)
    done = cli(street.server.url, *SGD)
    assert (0, "goods\n") == (done.status, done.out)
    assert "\rwaiting for the payment, " in done.err
    assert "\n200, 1.00 SGD paid" in done.err


def test_a_kept_credential_of_another_wallet_is_presented_at_once(cli: Cli, street: Street) -> None:
    """Only HitPay's own are waited for: with another wallet the server decides."""
    cli(street.server.url, *SGD, "--timeout", "3")
    (reference,) = cli.pending.references()
    street.sandbox.pay(street.shop.charges[0])
    assert (0, "goods") == ((done := cli("--resume", reference, "--wallet", "mock")).status, done.out)
    with serving(sells(Say(status=503))) as server:
        cli(server.url, *SGD, "--wallet", "mock")
        (reference,) = cli.pending.references()
        assert 3 == cli("--resume", reference, "--json").status


def test_declined_for_good_is_not_on_the_wire(cli: Cli, street: Street) -> None:
    """The broker has no word for it, so it is waited out and can be resumed; once the charge has expired, exit 5."""
    street.sandbox.fault("payer", "decline", terminal=True)
    done = cli(street.server.url, *SGD, "--timeout", "3")
    assert (3, "") == (done.status, done.out)
    (reference,) = cli.pending.references()
    street.sandbox.expire(street.shop.charges[0])
    assert 5 == cli("--resume", reference).status


def test_the_last_line_of_a_body_is_a_line(tmp_path: Path) -> None:
    """With both streams in one place the note stands on a line of its own; the body alone has no more bytes."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", "flovia.cli", "pay", "--state", str(tmp_path), *SGD, "--wallet", "mock"]
    with serving(lambda seen: Say(status=500, body=b"broken")) as server:
        both = subprocess.run(
            [*command, server.url], env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        apart = subprocess.run([*command, server.url], env=environ, capture_output=True, check=False)
    assert b"broken" == apart.stdout
    assert ["broken", "500, nothing was paid"] == both.stdout.decode().splitlines()


def test_the_command_as_a_process(tmp_path: Path, street: Street) -> None:
    """The installed command, Ctrl-C while it waits, and another process that resumes."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", "flovia.cli", "pay", "--state", str(tmp_path)]
    waiting = subprocess.Popen(
        [*command, street.server.url, *SGD], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert waiting.stderr is not None
    said = ""
    for line in waiting.stderr:
        said += line
        if "waiting for" in line:
            break
    waiting.send_signal(signal.SIGINT)
    out, rest = waiting.communicate(timeout=PROGRAM_S)
    assert (130, "") == (waiting.returncode, out), said + rest
    street.sandbox.pay(street.shop.charges[0])
    reference = rest.split("--resume ")[1].split()[0]
    done = subprocess.run([*command, "--resume", reference], env=environ, capture_output=True, text=True, check=False)
    assert (0, "goods") == (done.returncode, done.stdout), done.stderr
