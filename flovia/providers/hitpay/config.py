"""Every setting of the HitPay provider, with its default and why that is the default.

``documented`` means HitPay's own pages or samples say so. ``choice`` is ours: HitPay has published nothing, and the
day it does, one line changes here, or one argument where the provider is made.
"""

import os
from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeVar, cast

import attrs

from flovia.core.errors import WiringError
from flovia.core.http import HttpRequest
from flovia.core.limiter import Rate
from flovia.providers.hitpay.endpoints import SANDBOX_BROKER, Endpoint, api_endpoint, broker_endpoint
from flovia.signed.limits import DEFAULT_LIMITS, SignedLimits

Profile = Literal["core", "hitpay", "dual", "auto"]
Source = Literal["documented", "choice"]
RequestHash = Callable[[HttpRequest, frozenset[str]], str]

PROFILES: Final[tuple[Profile, ...]] = ("core", "hitpay", "dual", "auto")
TEST_KEY: Final = "test_"
CREATIONS_PER_MINUTE: Final = 70
"""What HitPay takes in payment creations (HitPay docs: API overview, as third parties quote it)."""

T = TypeVar("T")


def _set(default: T, why: str, *, source: Source = "choice", secret: bool = False) -> T:
    """A setting with the reason for its default."""
    metadata = {"why": why, "source": source, "secret": secret}
    return cast(T, attrs.field(default=default, repr=not secret, metadata=metadata))


@attrs.frozen(kw_only=True)
class HitPayConfig:
    """How the provider talks to HitPay and to agents. Times in seconds.

    Raises:
        WiringError: settings that cannot work together, or a test key for the production environment.
    """

    # --- who and where ---------------------------------------------------------------------------------------
    api_key: str | None = _set(
        None, "passed on with every call to the broker; without it: 503", source="documented", secret=True
    )
    webhook_salts: tuple[str, ...] = _set(
        (), "of the webhook endpoint in the dashboard; the new one first, the old one beside it while you rotate",
        source="documented", secret=True,
    )
    api_salts: tuple[str, ...] = _set(
        (), "of the API key; signs the older form of webhooks only", source="documented", secret=True
    )
    broker: str = _set(SANDBOX_BROKER, "the MPP broker's origin", source="documented")
    api: str | None = _set(None, "the core API's origin; None is the one of the broker's environment", source="documented")

    # --- towards agents --------------------------------------------------------------------------------------
    profile: Profile = _set(
        "dual", "form of the 402: a conforming challenge (core), HitPay's body (hitpay), both, or by Accept-Payment (auto)"
    )
    bare_charge_id: bool = _set(False, "take a bare mpp_ch_… as a credential: whoever saw the polling URL has it")
    retry_after_s: int = _set(2, "what an agent waits while the payment is pending; HitPay's samples poll every 1.5 to 2 s")
    charge_lifetime_s: int = _set(900, "life of a charge whose expires_at the broker does not say")
    redeem_late_s: int = _set(
        86400, "how long after its expiry a challenge is still taken, if its charge was paid: nobody pays twice"
    )

    # --- amounts ---------------------------------------------------------------------------------------------
    currencies: frozenset[str] = _set(
        frozenset({"idr", "myr", "php", "sgd", "thb"}), "what is charged in; others are refused at start",
        source="documented",
    )
    min_amount: str = _set("0.30", "least amount of a payment request", source="documented")
    max_amount: str = _set("999999999.99", "largest amount of a payment request", source="documented")

    # --- request hash and nonces -----------------------------------------------------------------------------
    request_hash: RequestHash | None = _set(None, "a function of your own in place of flovia-rh-1")
    hash_ignores: frozenset[str] = _set(frozenset[str](), "query names that the request hash leaves out")
    nonce_kept_s: int = _set(30 * 86400, "how long the nonce of a call is kept, so that a retry repeats it")

    # --- the broker's contract, where it is not published -----------------------------------------------------
    verify_members: tuple[str, ...] = _set(
        ("api_key", "request_hash", "nonce"), "what POST /v1/charges/{id}/verify is sent"
    )
    saved_key_header: str = _set("x-api-key", "carries the key on the GETs for saved methods", source="documented")
    setup_total_member: str = _set("total_amount_cap", "name of the total cap when a saved method is set up")
    setup_until_member: str = _set("valid_until", "name of the expiry when a saved method is set up")
    setup_uses_member: str = _set("max_uses", "name of the number of uses when a saved method is set up")
    send_grant: bool = _set(False, "send saved_method_jws along with a silent charge; HitPay's sample does not")
    grant_audience: str | None = _set(None, "the merchant id that a grant has to name in aud; None does not look")
    wallet_header: str = _set("x-mpp-payment-method", "request field by which an agent picks a wallet to save")
    wallet_query: str = _set("payment_method", "query name by which an agent picks a wallet to save")
    options_kept_s: int = _set(600, "how long the broker's list of wallets for a currency is kept")
    signed: SignedLimits = _set(DEFAULT_LIMITS, "limits of signed receipts and grants and of their keys")

    # --- HitPay's core API -----------------------------------------------------------------------------------
    core_fallback: bool = _set(
        False, "ask the core API when the broker says that a charge is not paid: its status was seen to get stuck"
    )
    manual_counts: bool = _set(False, "let succeeded_manually count as paid: the buyer did not authorise it")

    # --- limits ----------------------------------------------------------------------------------------------
    creations: Rate = _set(
        Rate(count=60, seconds=60.0), "charges and setups created in all; HitPay takes 70 a minute of one merchant"
    )
    creations_per_client: Rate = _set(Rate(count=10, seconds=60.0), "charges and setups created for one client")
    caller_of: Callable[[HttpRequest], str | None] | None = _set(
        None, "who is asking, if your app has authenticated them: only the same caller gets an open charge again"
    )
    call_s: float = _set(4.0, "deadline of one call to HitPay")
    verify_s: float = _set(10.0, "deadline of a whole verification")
    breaker_failures: int = _set(5, "failures in a row after which HitPay is left alone")
    breaker_s: float = _set(10.0, "how long it is left alone; meanwhile 503")
    max_answer: int = _set(65536, "longest answer of HitPay that is read, bytes")
    max_webhook: int = _set(262144, "longest webhook that is read, bytes")

    _broker: Endpoint = attrs.field(init=False, repr=False, eq=False)
    _api: Endpoint = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        broker = broker_endpoint(self.broker)
        object.__setattr__(self, "_broker", broker)
        object.__setattr__(self, "_api", api_endpoint(self.api, broker))
        if self.profile not in PROFILES:
            raise WiringError(f"there is no wire profile {self.profile!r}; known: {', '.join(PROFILES)}")
        self._check_key(broker)
        for name in ("retry_after_s", "charge_lifetime_s", "call_s", "verify_s", "breaker_failures", "breaker_s"):
            if getattr(self, name) <= 0:
                raise WiringError(f"HitPayConfig({name}={getattr(self, name)}) has to be more than 0")
        rate = self.creations
        if rate.count * 60 >= CREATIONS_PER_MINUTE * rate.seconds and broker.environment != "local":
            raise WiringError(
                f"creations={rate.count} in {rate.seconds:g} s: HitPay takes {CREATIONS_PER_MINUTE} a minute, so that"
                " one flood of unpaid requests would stop every payment; keep it below"
            )
        if self.request_hash is not None and not callable(cast("object", self.request_hash)):
            raise WiringError("request_hash has to be a function of the request and the ignored query names")

    def _check_key(self, broker: Endpoint) -> None:
        key = self.api_key
        if key is None:
            return
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            raise WiringError("the HitPay API key is empty or holds spaces or other characters that no key has")
        test = key.startswith(TEST_KEY)
        if broker.environment == "production" and test:
            raise WiringError(
                "HITPAY_API_KEY is a test key (test_…) and HITPAY_MPP_ENDPOINT the production broker: use the key of"
                " the live dashboard, or the sandbox broker"
            )
        if broker.environment == "local" and not test:
            raise WiringError(
                "HITPAY_MPP_ENDPOINT is this machine, and HITPAY_API_KEY does not start with test_: a real key is not"
                " sent to a local sandbox, use test_anything"
            )

    @property
    def broker_endpoint(self) -> Endpoint:
        """The broker's origin and environment."""
        return self._broker

    @property
    def api_endpoint(self) -> Endpoint:
        """The core API's origin and environment."""
        return self._api


VARIABLES: Final[dict[str, str]] = {
    "HITPAY_API_KEY": "your API key; without it a paid route answers 503 `hitpay_mpp_not_configured`",
    "HITPAY_WEBHOOK_SALT": "the salt of your webhook endpoint; while you rotate it, `new,old`",
    "HITPAY_API_SALT": "the salt of your API key, for webhooks in the older form only",
    "HITPAY_MPP_ENDPOINT": f"the broker; default `{SANDBOX_BROKER}`",
    "HITPAY_API_ENDPOINT": "the core API; default: the one of the broker's environment",
}
"""Every environment variable that is read, and what for."""


def from_environ(environ: Mapping[str, str] | None = None) -> HitPayConfig:
    """The configuration that the environment describes.

    Raises:
        WiringError: a variable is set but empty, or what they say cannot work.
    """
    env = os.environ if environ is None else environ

    def text(name: str) -> str | None:
        value = env.get(name)
        if value is not None and not value.strip():
            raise WiringError(f"{name} is set but empty; give it a value or unset it")
        return None if value is None else value.strip()

    def several(name: str) -> tuple[str, ...]:
        return tuple(part.strip() for part in (text(name) or "").split(",") if part.strip())

    return HitPayConfig(
        api_key=text("HITPAY_API_KEY"),
        webhook_salts=several("HITPAY_WEBHOOK_SALT"),
        api_salts=several("HITPAY_API_SALT"),
        broker=text("HITPAY_MPP_ENDPOINT") or SANDBOX_BROKER,
        api=text("HITPAY_API_ENDPOINT"),
    )
