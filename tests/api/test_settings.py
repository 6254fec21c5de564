"""Settings: from the environment and from arguments, checked before the first request."""

import subprocess
import sys

import pytest

import flovia
from flovia.core.limiter import Limit
from flovia.core.origin import Origin
from flovia.ledger.memory import MemoryLedger
from flovia.providers.mock import MockProvider
from flovia.settings import DEFAULT_LEDGER, read_settings
from tests.core.world import SECRET, challenges, request

ENV = (
    "FLOVIA_SECRET",
    "FLOVIA_REALM",
    "FLOVIA_PUBLIC_ORIGIN",
    "FLOVIA_PRICE",
    "FLOVIA_LEDGER",
    "FLOVIA_LIMIT",
    "FLOVIA_WORKERS",
    "FLOVIA_OTEL",
    "WEB_CONCURRENCY",
)


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine reaches a test."""
    for name in ENV:
        monkeypatch.delenv(name, raising=False)


def test_defaults() -> None:
    """With nothing set: no secret, this machine only, a SQLite file, no price, no limits."""
    found = read_settings({})
    assert ((), "localhost", None, None, DEFAULT_LEDGER, None, 0) == (
        found.secrets,
        found.realm,
        found.origin,
        found.price,
        found.ledger,
        found.limit,
        found.workers,
    )


def test_a_misspelt_variable_is_pointed_out(caplog: pytest.LogCaptureFixture) -> None:
    """FLOVIA_SECRETS would be ignored without a word; a variable of somebody else's is left alone."""
    read_settings({"FLOVIA_SECRETS": SECRET, "FLOVIA_VECTORS": "/vectors", "FLOVIA_REALM": "r"})
    [record] = caplog.records
    assert (
        "FLOVIA_SECRETS is no setting of flovia and changes nothing; is it meant to be FLOVIA_SECRET?" == record.message
    )
    assert SECRET not in caplog.text


def test_everything_from_the_environment() -> None:
    """Each variable has its place; older secrets follow after commas; the realm falls back to the origin's host."""
    found = read_settings(
        {
            "FLOVIA_SECRET": f"{SECRET}, test-older",
            "FLOVIA_PUBLIC_ORIGIN": "https://api.example.com",
            "FLOVIA_PRICE": "1.50 SGD",
            "FLOVIA_LEDGER": "memory://",
            "FLOVIA_LIMIT": "challenges=5/s",
            "WEB_CONCURRENCY": "4",
        }
    )
    assert (SECRET, "test-older") == found.secrets
    assert ("api.example.com", Origin(scheme="https", host="api.example.com")) == (found.realm, found.origin)
    assert (flovia.Price(amount=150, currency="sgd"), "memory://") == (found.price, found.ledger)
    assert (Limit(challenges="5/s"), 4) == (found.limit, found.workers)
    assert "test-secret" not in repr(found)


def test_arguments_win() -> None:
    """What is passed in is not looked up."""
    environ = {"FLOVIA_REALM": "env", "FLOVIA_PRICE": "9.00 USD", "FLOVIA_WORKERS": "2", "WEB_CONCURRENCY": "8"}
    found = read_settings(environ, realm="mine", price="1.00 USD", limit="challenges=1/s", secret=["a", "b"])
    assert ("mine", 100, ("a", "b"), 2) == (found.realm, found.price.amount, found.secrets, found.workers)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FLOVIA_SECRET", "  "),
        ("FLOVIA_REALM", "a|b"),
        ("FLOVIA_REALM", 'a"b'),
        ("FLOVIA_REALM", "é"),
        ("FLOVIA_REALM", "x" * 256),
        ("FLOVIA_PUBLIC_ORIGIN", "http://api.example.com"),
        ("FLOVIA_PRICE", "1.234 USD"),
        ("FLOVIA_PRICE", "0.00 USD"),
        ("FLOVIA_LIMIT", "lots"),
        ("WEB_CONCURRENCY", "four"),
        ("FLOVIA_WORKERS", "-1"),
    ],
)
def test_what_cannot_work_is_refused_at_start(name: str, value: str) -> None:
    """A wrong value is a WiringError, before any request."""
    with pytest.raises(flovia.WiringError):
        read_settings({name: value})


class TestFlovia:
    """The front door's own rules."""

    def test_short_secret(self) -> None:
        """A secret under 32 bytes is refused with the line that makes a good one, and not shown."""
        with pytest.raises(flovia.WiringError, match="token_urlsafe") as caught:
            flovia.Flovia(secret="test-short", ledger=MemoryLedger())
        assert "test-short" not in str(caught.value)

    def test_no_secret_with_a_live_provider(self) -> None:
        """A live provider without a secret is refused at start."""
        with pytest.raises(flovia.WiringError, match="FLOVIA_SECRET"):
            flovia.Flovia(ledger=MemoryLedger()).paid_api(provider=MockProvider(live=True), price="1.00 USD")

    def test_no_secret_with_the_mock(self, caplog: pytest.LogCaptureFixture) -> None:
        """With the mock alone a random secret serves this process, with a warning; several workers are refused."""
        gate = flovia.Flovia(ledger=MemoryLedger()).paid_api(provider="mock", price="1.00 USD")
        assert 402 == gate.enter(request()).response.status
        assert any("FLOVIA_SECRET" in record.message for record in caplog.records)

    def test_several_workers(self, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
        """Where the environment says several workers, memory and a random secret are refused."""
        monkeypatch.setenv("WEB_CONCURRENCY", "4")
        with pytest.raises(flovia.WiringError, match="FLOVIA_LEDGER"):
            flovia.Flovia(ledger="memory://", secret=SECRET).paid_api(provider="mock", price="1.00 USD")
        app = flovia.Flovia(ledger=f"sqlite:///{tmp_path}/l.db")
        with pytest.raises(flovia.WiringError, match="FLOVIA_SECRET"):
            app.paid_api(provider="mock", price="1.00 USD")
        app.close()

    def test_mock_beside_live(self) -> None:
        """Made-up payments are refused in an app that takes real ones, whichever came first."""
        app = flovia.Flovia(ledger=MemoryLedger(), secret=SECRET)
        app.paid_api(provider="mock", price="1.00 USD")
        with pytest.raises(flovia.WiringError, match="made-up"):
            app.paid_api(provider=MockProvider(name="bank", method="bank", live=True), price="1.00 USD")

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"provider": "nobody", "price": "1.00 USD"}, "nobody"),
            ({"provider": "mock", "rail": "x402", "price": "1.00 USD"}, "x402"),
            ({"provider": "mock", "price": None}, "price=None"),
            ({"price": "1.00 USD"}, "provider"),
            ({"provider": "mock", "price": "one dollar"}, "1.00 SGD"),
            ({"provider": "hitpay", "price": "0.29 SGD"}, "0.30"),
            ({"offers": []}, "offers"),
            ({"offers": [flovia.Offer(provider="mock", price="1.00 USD")], "price": "1.00 USD"}, "offers"),
            ({"offers": [flovia.Offer(provider="mock", price="1.00 USD")] * 2}, "tell them apart"),
            ({"provider": "mock", "price": "1.00 USD", "expires_in": 0}, "expires_in"),
            ({"provider": "mock", "price": "1.00 USD", "max_deliveries": 0}, "max_deliveries"),
            ({"provider": "mock", "price": "1.00 USD", "max_body": -1}, "max_body"),
            ({"provider": "mock", "price": "1.00 USD", "expires_in": 300.5}, "whole number"),
            ({"provider": "mock", "price": "1.00 USD", "expires_in": 10**12}, "at most a year"),
            ({"provider": "mock", "price": "1.00 USD", "deliver_within": 0}, "deliver_within"),
            ({"provider": "mock", "price": "1.00 USD", "deliver_within": float("nan")}, "deliver_within"),
            ({"provider": "mock", "price": "1.00 USD", "redeem_for": -1}, "redeem_for"),
            ({"provider": "mock", "price": "1.00 USD", "redeem_for": float("inf")}, "redeem_for"),
            ({"provider": "mock", "price": "1.00 USD", "description": "x" * 256}, "256 characters, more than 255"),
            ({}, "provider"),
        ],
    )
    def test_routes_that_cannot_work(self, settings: dict[str, object], words: str) -> None:
        """Each mistake in a route is refused when it is set up, in words that name it."""
        with pytest.raises(flovia.WiringError, match=words):
            flovia.Flovia(ledger=MemoryLedger(), secret=SECRET).paid_api(**settings)

    def test_the_longest_description(self) -> None:
        """255 characters are no mistake, whatever they are, and the challenge stays under 4 KB (S34)."""
        for description in ("x" * 255, '"' * 255, "🍣" * 255):
            flo = flovia.Flovia(ledger=MemoryLedger(), secret=SECRET)
            paid = flo.paid_api(provider="mock", price="1.00 USD", description=description)
            assert 402 == paid.enter(request()).response.status

    def test_rail_of_the_app(self) -> None:
        """An unknown default rail is refused too."""
        with pytest.raises(flovia.WiringError, match="rail"):
            flovia.Flovia(rail="x402", ledger=MemoryLedger())
        with pytest.raises(flovia.WiringError, match="price=None"):
            flovia.Flovia(price=None, ledger=MemoryLedger())

    def test_default_provider_and_price(self) -> None:
        """Routes inherit provider and price; a provider object is as good as a name, also for an observer."""
        app = flovia.Flovia(provider="mock", price="2.00 USD", ledger=MemoryLedger(), secret=SECRET)
        (challenge,) = challenges(app.paid_api().enter(request()).response)
        assert "200" == challenge.request_json["amount"]
        assert app.observe(provider=MockProvider()).observes
        assert app.observe().observes
        assert "<Flovia realm='localhost'>" == repr(app)

    def test_entry_points(self) -> None:
        """The mock is registered like any third party's provider."""
        from flovia.providers.registry import observed_receipt_field

        assert "payment-receipt" == observed_receipt_field("mock")
        with pytest.raises(flovia.WiringError, match="nobody"):
            observed_receipt_field("nobody")


class TestModule:
    """flovia.paid_api and friends: everything from the environment."""

    def test_from_the_environment(self, tmp_path) -> None:
        """One line in a fresh process, with nothing set but the price and the ledger."""
        script = (
            "import logging; logging.disable(50)\n"
            "import flovia\n"
            "gate = flovia.paid_api(provider='mock', rail='mpp')\n"
            "seen = flovia.observe(provider='hitpay')\n"
            "assert not gate.observes and seen.observes\n"
            "assert flovia.as_paid_api(gate) is gate\n"
            "assert not flovia.as_paid_api(provider='mock', price='1.00 USD').observes\n"
            "print(gate.guard.plans[0].price, 'anyio' in __import__('sys').modules)\n"
        )
        env = {"FLOVIA_PRICE": "3.00 SGD", "FLOVIA_LEDGER": f"sqlite:///{tmp_path}/l.db", "PATH": "/usr/bin"}
        import os

        if "PYTHONPATH" in os.environ:
            env["PYTHONPATH"] = os.environ["PYTHONPATH"]
        done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
        assert "3.00 SGD False" == done.stdout.strip()

    def test_as_paid_api_refuses_mixtures(self) -> None:
        """A guard and keywords, or something that is no guard, are refused."""
        gate = flovia.Flovia(ledger=MemoryLedger(), secret=SECRET).paid_api(provider="mock", price="1.00 USD")
        with pytest.raises(flovia.WiringError, match="not both"):
            flovia.as_paid_api(gate, price="1.00 USD")
        with pytest.raises(flovia.WiringError, match="str"):
            flovia.as_paid_api("gate")
        assert "<PaidApi gate unnamed>" == repr(gate)

    def test_names_are_loaded_on_demand(self) -> None:
        """dir() shows the public names; an unknown one is an AttributeError."""
        assert set(flovia.__all__) <= set(dir(flovia))
        with pytest.raises(AttributeError, match="nothing"):
            flovia.nothing  # noqa: B018  # asking for it is the test


class TestCommonMistakes:
    """What a newcomer gets wrong is refused when the route is set up, in words that say what to write."""

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"provider": "mock", "price": 1.00}, "'1.00 SGD'"),
            ({"provider": "mock", "price": 1}, "'1.00 SGD'"),
            ({"provider": "mock", "price": ("1.00", "USD")}, "'1.00 SGD'"),
            ({"provider": MockProvider, "price": "1.00 USD"}, r"MockProvider"),
            ({"provider": "mock", "price": "1.00 USD", "expires_in": "5m"}, "expires_in"),
            ({"provider": "mock", "price": "1.00 USD", "max_body": "1MB"}, "max_body"),
            ({"provider": "mock", "price": "1.00 USD", "deliver_within": "60"}, "deliver_within"),
            ({"offers": ["1.00 USD"]}, "Offer"),
        ],
    )
    def test_wrong_types(self, settings: dict[str, object], words: str) -> None:
        """A float, a pair, a class or a text in the wrong place is a WiringError, not a 500 for every request."""
        with pytest.raises(flovia.WiringError, match=words):
            flovia.Flovia(ledger=MemoryLedger(), secret=SECRET).paid_api(**settings)

    def test_async_price_function(self) -> None:
        """An async price function is refused: prices are computed at once."""

        async def price(_: flovia.HttpRequest) -> str:
            return "1.00 USD"

        with pytest.raises(flovia.WiringError, match="plain function"):
            flovia.Flovia(ledger=MemoryLedger(), secret=SECRET).paid_api(provider="mock", price=price)

    def test_no_guard(self) -> None:
        """A Flovia, or a view decorated without parentheses, is told what to write instead."""
        app = flovia.Flovia(ledger=MemoryLedger(), secret=SECRET)
        with pytest.raises(flovia.WiringError, match=r"flo\.paid_api"):
            flovia.as_paid_api(app)
        with pytest.raises(flovia.WiringError, match="parentheses"):
            flovia.as_paid_api(lambda: None)

    def test_limits(self) -> None:
        """A number is no rate, and a bare rate no limit."""
        with pytest.raises(flovia.WiringError, match="60/min"):
            flovia.Limit(challenges=60)
        with pytest.raises(flovia.WiringError, match="challenges=60/min"):
            flovia.Flovia(limit="60/min", ledger=MemoryLedger())

    def test_a_password_is_not_echoed(self) -> None:
        """What may hold a password is not repeated in the error."""
        with pytest.raises(flovia.WiringError) as caught:
            read_settings({"FLOVIA_PUBLIC_ORIGIN": "https://user:test-password@api.example.com"})
        assert "test-password" not in str(caught.value)
