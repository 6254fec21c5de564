"""The provider talks to nobody by itself, and says no secret."""

import ast
import logging
import subprocess
import sys

import pytest

from flovia.core.errors import HttpError
from tests.providers.hitpay.fake import EMAIL, KEY, SALT, SAVED, World, charge_id, credential, reply, request
from tests.tree import ROOT

PACKAGE = ROOT / "flovia" / "providers" / "hitpay"
FORBIDDEN = {"httpx", "httpx2", "anyio", "asyncio", "trio", "socket", "ssl", "threading", "time", "random", "secrets"}
FORBIDDEN |= {"sqlalchemy", "flask", "fastapi", "starlette", "requests", "urllib3", "aiohttp", "subprocess"}


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.name)
def test_imports(path: object) -> None:
    """No file imports an HTTP client, an event loop, a framework, a clock or a source of randomness."""
    tree = ast.parse(path.read_text(encoding="utf-8"))  # type: ignore[attr-defined]  # a Path
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    assert set() == found & FORBIDDEN


def test_importing_it_loads_no_client() -> None:
    """A program that imports the provider has loaded neither an HTTP client nor an event loop."""
    program = (
        "import sys, flovia.providers.hitpay as h\n"
        "h.HitPayProvider(h.HitPayConfig(api_key='test_x', broker='http://127.0.0.1:4010'))\n"
        "print([name for name in ('httpx', 'anyio', 'trio', 'flask', 'fastapi') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "[]" == done.stdout.strip()


def test_no_secret_in_logs_or_events(caplog: pytest.LogCaptureFixture) -> None:
    """Key, salts, grants, receipts, checkout addresses and e-mail addresses are in no log line, event or repr."""
    caplog.set_level(logging.DEBUG)
    world = World(saved=SAVED, core_fallback=True)
    secret = {KEY, SALT, EMAIL, "securecheckout", "/payment-request/@", "nonce-test"}
    asks = {"x_mpp_payment_method": "grabpay_direct", "x_user_email": EMAIL}
    shown: list[str] = [repr(world.provider), repr(world.provider.config)]
    for given in (
        reply(500, {"error": KEY}),
        reply(401, {"error": KEY}),
        reply(200, {"checkout_url": SALT}),
        HttpError("x", sent=True),
    ):
        for route in ("create", "verify", "silent", "setup", "options", "request", "jwks"):
            world.hitpay.given.clear()
            challenge = world.challenge()
            grant = world.hitpay.grant()
            secret.add(grant)
            world.hitpay.given[route] = [given] * 3
            token = credential(challenge)
            secret.add(token)
            for asked in (request(token), request(grant), request(**asks), request("mpp_ch_x")):
                passage = world.enter(asked)
                shown += [repr(passage), repr(passage.response), repr(asked)]
            world.hand.clock.advance(100)
    world.hitpay.given.clear()
    challenge = world.challenge()
    world.hitpay.pay(charge_id(challenge))
    passage = world.enter(request(credential(challenge)))
    secret.add(dict(passage.start(200, passage.request.headers).add)["mpp-receipt"])
    shown += [repr(passage), repr(passage.settled), repr(passage.grant)]
    shown += [repr(event) for _, event in world.hand.ledger.read_events(limit=10_000)]
    shown += [logging.Formatter("%(name)s %(message)s").format(record) for record in caplog.records]
    assert len(shown) > 100
    for text in shown:
        assert not [one for one in secret if one in text]
