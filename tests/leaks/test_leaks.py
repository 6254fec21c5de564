"""The search finds what it is there to find: planted leaks, one of each way out."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tests
from flovia.core.challenge import Challenge
from flovia.core.credential import Credential, format_credential
from flovia.core.encoding import b64url_encode
from tests.leaks.allowed import ALLOWED
from tests.leaks.search import Known, forms, shown
from tests.patience import PROGRAM_S
from tests.tree import ROOT

SECRET = "test-secret-that-is-planted-0001"
PARTS = (b'{"alg":"none"}', b'{"sub":"mpp_spm_demo0001"}', b"a test's signature")

# Each of these shows the secret of its keyring, and nothing else is wrong with it.
PLANTED = """
import logging, sqlite3, subprocess, sys
import attrs, pytest
from flovia.core import binding, errors, passage, provider, refund

SECRET = "test-secret-that-is-planted-0001"

@pytest.fixture(autouse=True)
def keyring():
    return binding.Keyring([SECRET])

def test_log():
    logging.getLogger("flovia").debug("it is %s", SECRET)

def test_traceback_in_a_log():
    try:
        raise RuntimeError(SECRET)
    except RuntimeError:
        logging.getLogger("somebody").exception("failed")

def test_print():
    print("it is", SECRET)

def test_print_that_the_test_reads(capsys):
    print("it is", SECRET)
    assert capsys.readouterr().out

def test_a_process():
    done = subprocess.run([sys.executable, "-c", "print('" + SECRET + "')"], capture_output=True, text=True, check=True)
    assert done.stdout

def test_an_inherited_stream():
    subprocess.run([sys.executable, "-c", "print('" + SECRET + "')"], check=True)

def test_event():
    trace = passage.Trace("req_1", "/paid", "GET", "mpp", 0.0, SECRET)
    trace.note("payment.settled", 0.0)
    trace.take()

def test_repr():
    provider.Paid(reference=SECRET, amount=1, currency="usd")

def test_error():
    with pytest.raises(errors.CallerError):
        raise errors.CallerError("it is " + SECRET)

def test_log_file(tmp_path):
    (tmp_path / "server.log").write_text("it is " + SECRET)

def test_ledger_of_another_process(tmp_path):
    raw = sqlite3.connect(tmp_path / "flovia.db")
    raw.execute("CREATE TABLE flovia_events (position INTEGER, type TEXT)")
    raw.execute("INSERT INTO flovia_events VALUES (1, ?)", (SECRET,))
    raw.commit()
    raw.close()

@pytest.fixture(scope="module")
def server():
    yield
    print("it ended:", SECRET)

def test_z_what_a_module_shares(server):
    pass
"""

CLEAN = """
import logging
from flovia.core import binding, errors, provider

def test_nothing():
    binding.Keyring(["test-secret-that-is-planted-0001"])
    logging.getLogger("flovia").info("fine")
    print(repr(provider.Paid(reference="pay-1", amount=1, currency="usd")))

def test_allowed():
    binding.Keyring(["test-secret-that-is-planted-0001"])
    print("test-secret-that-is-planted-0001")
"""


def run(folder: Path, source: str, *options: str) -> tuple[int, str]:
    """A test run of its own, with the plugin; status and what it printed."""
    (folder / "test_planted.py").write_text(source, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "tests.leaks.plugin", "-q", "-rA", *options, str(folder)]
    # Where the tests are; in CI that is not where flovia is.
    path = (str(Path(tests.__file__).parent.parent), os.environ.get("PYTHONPATH"))
    # Not by communicate(): what this run says is planted, and it is looked at here.
    with (folder / "said").open("w+", encoding="utf-8") as said:
        done = subprocess.run(
            command,
            cwd=folder,
            check=False,
            stdout=said,
            stderr=said,
            timeout=PROGRAM_S,
            env={**os.environ, "COLUMNS": "300", "PYTHONPATH": os.pathsep.join(filter(None, path))},
        )
        said.seek(0)
        return done.returncode, said.read()


@pytest.mark.parametrize("workers", [0, 2])
def test_planted_leaks_are_found(tmp_path: Path, workers: int) -> None:
    """By log, print, process, event, repr, error, file, ledger, at a module's end; also by pytest-xdist's workers."""
    if workers and importlib.util.find_spec("xdist") is None:
        pytest.skip("pytest-xdist is not installed")
    status, said = run(tmp_path, PLANTED, *(["-n", str(workers)] if workers else []))
    planted = set(re.findall(r"^def (test_\w+)", PLANTED, re.MULTILINE))
    found = set(re.findall(r"^ERROR \S+::(test_\w+) - Failed: secrets are shown", said, re.MULTILINE))
    assert (1, set()) == (status, planted - found), said
    assert "secret test-s…(32 characters)" in said


def test_what_is_clean_passes(tmp_path: Path) -> None:
    """Nothing is found where nothing is, and what is allowed may be shown."""
    status, said = run(tmp_path, CLEAN)
    assert (1, 1) == (status, said.count("\nERROR ")), said
    assert "::test_allowed - Failed: secrets are shown" in said
    (tmp_path / "conftest.py").write_text(
        "from tests.leaks.allowed import ALLOWED\n"
        "ALLOWED['test_planted.py::test_allowed'] = (frozenset({'secret'}), 'to see that it works')\n",
        encoding="utf-8",
    )
    status, said = run(tmp_path, CLEAN)
    assert 0 == status, said
    assert re.search(r"secrets: [1-9]\d* texts, .* 1 known values", said), said


def test_forms() -> None:
    """A JWS, a credential, a cut one, a receipt, a page and an address are known by their form; a challenge is none."""
    challenge = Challenge(id="x", realm="r", method="mock", intent="charge", request=b64url_encode(b'{"amount":"100"}'))
    credential = format_credential(Credential(challenge, {"proof": "ok"})).removeprefix("Payment ")
    jws = ".".join(b64url_encode(part) for part in PARTS)
    receipt = b64url_encode(json.dumps({"method": "mock", "reference": "pay-1", "status": "success"}).encode())
    page = "https://pay.example/payment-request/@shop/9ef68e2e-3569-4f69-9f68-04c7e4bb007c/checkout"
    for text, expected in (
        (f"token={jws}", {"jws"}),
        (f"authorization: Payment {credential}", {"credential"}),
        (credential[:60], {"credential"}),
        (f"payment-receipt: {receipt}", {"receipt"}),
        (page, {"page"}),
        ("http://127.0.0.1:4010/setup/mpp_spm_demo0001", {"page"}),
        ("to buyer" + "@example.test", {"address"}),
        (f'Payment id="x", request="{challenge.request}", opaque="eyJuIjoiYWJjIn0"', set[str]()),
        ("nothing", set[str]()),
    ):
        assert expected == {what for what, _ in forms(text)}, text


def test_known_values() -> None:
    """Values are found as words; longer ones made by hand inside of other words, too; bytes are text."""
    known = Known()
    for value in (SECRET, b"test_salt", "0" * 40, "short", None, 7, "a test secret with spaces"):
        known.add("secret", value)
    assert 3 == len(known)
    for text, expected in (
        ("xtest-secret-that-is-planted-0001y", 1),
        ("salt=test_salt;", 1),
        ("test_salt_rotated", 0),
        ("<a test secret with spaces>", 1),
        ("0" * 40, 0),
    ):
        assert expected == len({value for _, value in known.found(text)}), text
    assert SECRET not in shown(SECRET)


def test_every_allowance_is_needed_by_somebody() -> None:
    """It names a test file that is there, and a function in it."""
    for start, (kinds, reason) in ALLOWED.items():
        name, _, function = start.partition("::")
        path = ROOT / name
        assert path.exists(), start
        assert kinds, start
        assert len(reason) > 20, start
        if function:
            assert function.rpartition("::")[2].partition("[")[0] in path.read_text(encoding="utf-8"), start


def test_it_is_on(pytestconfig: pytest.Config) -> None:
    """This very run is looked at."""
    assert pytestconfig.pluginmanager.has_plugin("tests.leaks.plugin")
