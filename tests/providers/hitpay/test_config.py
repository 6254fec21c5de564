"""Settings: what the environment says, what is refused at start, and that each has a reason."""

import attrs
import pytest

import flovia
from flovia.core.errors import WiringError
from flovia.core.limiter import Rate
from flovia.ledger.memory import MemoryLedger
from flovia.providers.hitpay import BrokerNames, BrokerRefusals, HitPayConfig, HitPayProvider, from_environ
from flovia.providers.hitpay.config import VARIABLES
from flovia.providers.registry import find_provider
from flovia.signed import ClaimNames
from tests.providers.hitpay.fake import API, BROKER, SALT, SECRET


def test_environment() -> None:
    """Every variable is read; salts may be several, the new one first."""
    found = from_environ(
        {
            "HITPAY_API_KEY": " test_key ",
            "HITPAY_WEBHOOK_SALT": "new-test, old-test",
            "HITPAY_API_SALT": "api-test",
            "HITPAY_MPP_ENDPOINT": "http://127.0.0.1:4010/",
            "HITPAY_API_ENDPOINT": "http://localhost:4011",
        }
    )
    assert ("test_key", ("new-test", "old-test"), ("api-test",)) == (
        found.api_key,
        found.webhook_salts,
        found.api_salts,
    )
    assert ("http://127.0.0.1:4010", "http://localhost:4011") == (
        found.broker_endpoint.origin,
        found.api_endpoint.origin,
    )
    assert 5 == len(VARIABLES)


def test_a_misspelt_variable_is_pointed_out(caplog: pytest.LogCaptureFixture) -> None:
    """HITPAY_API_KYE would be ignored without a word; a variable of somebody else's is left alone."""
    from_environ({"HITPAY_API_KYE": "test_key", "HITPAY_TILL": "7"})
    [record] = caplog.records
    assert "HITPAY_API_KYE is no setting of provider hitpay" in record.message
    assert "is it meant to be HITPAY_API_KEY?" in record.message
    assert "test_key" not in caplog.text


def test_nothing_set() -> None:
    """Without variables: no key, HitPay's sandbox; nothing is live and nothing is refused at start."""
    found = from_environ({})
    assert ("https://sandbox.mpp.hitpay.dev", "https://api.sandbox.hit-pay.com") == (
        found.broker_endpoint.origin,
        found.api_endpoint.origin,
    )
    assert not HitPayProvider(found).live


def test_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """``provider="hitpay"`` reads the environment when it is made; without a key the route answers 503."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    flo = flovia.Flovia(ledger=MemoryLedger(), secret=SECRET)
    gate = flo.paid_api(provider="hitpay", price="1.00 SGD")
    asked = flovia.HttpRequest(
        "GET", "/", "", flovia.Headers.of((("host", "127.0.0.1"),)), "/", "127.0.0.1", "127.0.0.1"
    )
    response = gate.enter(asked).response
    assert response is not None
    assert 503 == response.status
    monkeypatch.setenv("HITPAY_API_KEY", "test_key")
    assert find_provider("hitpay").live
    monkeypatch.setenv("HITPAY_MPP_ENDPOINT", BROKER)
    assert not find_provider("hitpay").live


@pytest.mark.parametrize("name", list(VARIABLES))
def test_set_but_empty(name: str) -> None:
    """An empty variable is a mistake, not a default."""
    with pytest.raises(WiringError, match=f"{name} is set but empty"):
        from_environ({name: " "})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"api_key": "test_x", "broker": "https://mpp.hitpay.dev"}, "test key"),
        ({"api_key": "live_x", "broker": BROKER}, "does not start with test_"),
        ({"api_key": "", "broker": BROKER}, "empty"),
        ({"api_key": "test key"}, "spaces"),
        ({"broker": "https://evil.example"}, "may see a HitPay key"),
        ({"broker": "http://sandbox.mpp.hitpay.dev"}, "may see a HitPay key"),
        ({"broker": "https://sandbox.mpp.hitpay.dev.evil.example"}, "may see a HitPay key"),
        ({"broker": "https://sandbox.mpp.hitpay.dev@evil.example"}, "origin"),
        ({"broker": "https://sandbox.mpp.hitpay.dev:8443"}, "may see a HitPay key"),
        ({"broker": "https://sandbox.mpp.hitpay.dev/v1"}, "origin"),
        ({"broker": "http://127.0.0.1:99999"}, "no URL"),
        ({"broker": "ftp://127.0.0.1"}, "may see a HitPay key"),
        ({"broker": BROKER, "api": "https://api.hit-pay.com"}, "is HitPay's production, and the broker"),
        ({"api": "https://api.hit-pay.com"}, "never mix"),
        ({"api": "http://127.0.0.1:4011"}, "Unset HITPAY_API_ENDPOINT"),
        ({"api": "http://127.0.0.1:4011"}, "its default. is HitPay's sandbox"),
        ({"api_key": "test_x", "broker": "https://mpp.hitpay.dev", "api": "http://127.0.0.1:4011"}, "test key"),
        ({"api": "https://api.evil.example"}, "HITPAY_API_ENDPOINT"),
        ({"profile": "both"}, "profile"),
        ({"header_amount": "cents"}, "header_amount"),
        ({"call_s": 0}, "call_s"),
        ({"creations": Rate(count=70, seconds=60.0)}, "70 a minute"),
        ({"creations": Rate(count=2, seconds=1.0)}, "70 a minute"),
        ({"request_hash": "sha256"}, "function"),
    ],
)
def test_refused(settings: dict[str, object], words: str) -> None:
    """What cannot work, or would send a key somewhere else, is refused at start."""
    with pytest.raises(WiringError, match=words) as caught:
        HitPayConfig(**settings)  # type: ignore[arg-type]  # settings of a test
    assert "test_x" not in str(caught.value)
    assert "live_x" not in str(caught.value)


@pytest.mark.parametrize(
    ("broker", "api"),
    [
        ("https://mpp.hitpay.dev", "https://api.hit-pay.com"),
        ("https://sandbox.mpp.hitpay.dev:443", "https://api.sandbox.hit-pay.com"),
        ("http://127.0.0.1:4010", "http://127.0.0.1:4011"),
        ("http://[::1]:4010", "http://[::1]:4011"),
        ("http://localhost", "http://localhost:4011"),
    ],
)
def test_the_api_of_a_broker(broker: str, api: str) -> None:
    """Each environment has its own core API."""
    assert api == HitPayConfig(broker=broker).api_endpoint.origin


def test_an_unprefixed_key_on_the_sandbox() -> None:
    """HitPay's documents show several forms of keys, so that one without test_ is not refused on its sandbox."""
    assert HitPayProvider(HitPayConfig(api_key="hex0123")).live


def test_live_needs_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """HitPay's hosts demand a secret; a sandbox on this machine does not, and is refused beside a live provider."""
    monkeypatch.delenv("FLOVIA_SECRET", raising=False)
    local = HitPayProvider(HitPayConfig(api_key="test_x", broker=BROKER))
    remote = HitPayProvider(HitPayConfig(api_key="test_x"))
    with pytest.raises(WiringError, match="needs a secret"):
        flovia.Flovia(ledger=MemoryLedger()).paid_api(provider=remote, price="1.00 SGD")
    flo = flovia.Flovia(ledger=MemoryLedger())
    flo.paid_api(provider=local, price="1.00 SGD")
    with pytest.raises(WiringError, match="refused beside the live provider"):
        flo.paid_api(provider=remote, price="1.00 SGD")


def test_no_secret_is_shown() -> None:
    """Neither keys nor salts are in a repr."""
    shown = repr(
        HitPayConfig(api_key="test_x", webhook_salts=(SALT,), api_salts=("test_other",), broker=BROKER, api=API)
    )
    assert not any(secret in shown for secret in ("test_x", SALT, "test_other"))


@pytest.mark.parametrize("record", [HitPayConfig, BrokerNames, BrokerRefusals, ClaimNames])
def test_every_setting_has_a_reason(record: type[attrs.AttrsInstance]) -> None:
    """Each says why its default is what it is, and whether HitPay or we chose it."""
    for field in attrs.fields(record):
        if field.init:
            assert field.metadata["source"] in ("documented", "choice"), field.name
            assert field.metadata["why"], field.name


def test_the_whole_contract_is_in_the_configuration() -> None:
    """The records of names are reached from the one configuration."""
    config = HitPayConfig()
    assert (BrokerNames(), BrokerRefusals(), ClaimNames()) == (config.names, config.refusals, config.signed.names)
