"""Every setting of the HitPay provider, with its default and why that is the default.

``documented`` means HitPay's own pages or samples say so. ``choice`` is ours: HitPay has published nothing, and the
day it does, one line changes here, or one argument where the provider is made.
"""

import logging
import os
from collections.abc import Callable, Mapping
from typing import Final, Literal, cast

import attrs

from flovia.core.errors import WiringError
from flovia.core.http import HttpRequest
from flovia.core.limiter import Rate
from flovia.core.slips import slips
from flovia.providers.hitpay.endpoints import SANDBOX_BROKER, Endpoint, api_endpoint, broker_endpoint
from flovia.providers.hitpay.names import DEFAULT_NAMES, DEFAULT_REFUSALS, BrokerNames, BrokerRefusals
from flovia.signed.limits import DEFAULT_LIMITS, SignedLimits

_log = logging.getLogger("flovia")

Profile = Literal["core", "hitpay", "dual", "auto"]
Source = Literal["documented", "choice"]
RequestHash = Callable[[HttpRequest, frozenset[str]], str]

PROFILES: Final[tuple[Profile, ...]] = ("core", "hitpay", "dual", "auto")
TEST_KEY: Final = "test_"
CREATIONS_PER_MINUTE: Final = 70
"""What HitPay takes in payment creations (HitPay docs: API overview, as third parties quote it)."""


def _documented(why: str) -> dict[str, str]:
    """Why a default is what it is: HitPay says so."""
    return {"source": "documented", "why": why}


def _choice(why: str) -> dict[str, str]:
    """Why a default is what it is: nobody says, and this seems best."""
    return {"source": "choice", "why": why}


@attrs.frozen(kw_only=True)
class HitPayConfig:
    """How the provider talks to HitPay and to agents. Times in seconds.

    Raises:
        WiringError: settings that cannot work together, or a test key for the production environment.
    """

    # --- who and where ---------------------------------------------------------------------------------------
    api_key: str | None = attrs.field(
        default=None, repr=False, metadata=_documented("passed on with every call to the broker; without it: 503")
    )
    webhook_salts: tuple[str, ...] = attrs.field(
        default=(),
        repr=False,
        metadata=_documented(
            "of the webhook endpoint in the dashboard; the new one first, the old one beside it while you rotate"
        ),
    )
    api_salts: tuple[str, ...] = attrs.field(
        default=(), repr=False, metadata=_documented("of the API key; signs the older form of webhooks only")
    )
    broker: str = attrs.field(default=SANDBOX_BROKER, metadata=_documented("the MPP broker's origin"))
    api: str | None = attrs.field(
        default=None, metadata=_documented("the core API's origin; None is the one of the broker's environment")
    )

    # --- towards agents --------------------------------------------------------------------------------------
    profile: Profile = attrs.field(
        default="dual",
        metadata=_choice(
            "form of the 402: a conforming challenge (core), HitPay's body (hitpay), both, or by Accept-Payment (auto)"
        ),
    )
    header_amount: Literal["base", "decimal"] = attrs.field(
        default="base",
        metadata=_choice(
            "amount in the challenge's header: base units, or HitPay's decimals if its client reads those"
        ),
    )
    bare_charge_id: bool = attrs.field(
        default=False, metadata=_choice("take a bare mpp_ch_… as a credential: whoever saw the polling URL has it")
    )
    charge_id_json: bool = attrs.field(
        default=False,
        metadata=_choice(
            "take base64url JSON that holds a charge's id and no echoed challenge: whoever saw the polling URL, or the"
            " reference on the checkout page, could fetch what somebody else has paid for"
        ),
    )
    retry_after_s: int = attrs.field(
        default=2,
        metadata=_choice("what an agent waits while the payment is pending; HitPay's samples poll every 1.5 to 2 s"),
    )
    charge_lifetime_s: int = attrs.field(
        default=900, metadata=_choice("life of a charge whose expires_at the broker does not say")
    )
    redeem_late_s: int = attrs.field(
        default=86400,
        metadata=_choice(
            "how long after its expiry a challenge is still taken, if its charge was paid: nobody pays twice"
        ),
    )

    # --- amounts ---------------------------------------------------------------------------------------------
    currencies: frozenset[str] = attrs.field(
        default=frozenset({"idr", "myr", "php", "sgd", "thb"}),
        metadata=_documented("what is charged in; others are refused at start"),
    )
    min_amount: str = attrs.field(default="0.30", metadata=_documented("least amount of a payment request"))
    max_amount: str = attrs.field(default="999999999.99", metadata=_documented("largest amount of a payment request"))

    # --- request hash and nonces -----------------------------------------------------------------------------
    request_hash: RequestHash | None = attrs.field(
        default=None, metadata=_choice("a function of your own in place of flovia-rh-1")
    )
    hash_ignores: frozenset[str] = attrs.field(
        default=frozenset[str](), metadata=_choice("query names that the request hash leaves out")
    )
    nonce_kept_s: int = attrs.field(
        default=30 * 86400,
        metadata=_choice(
            "how long the nonce of a call is kept, so that a retry repeats it; and the challenge of a charge, so that"
            " late money finds it"
        ),
    )

    # --- the broker's contract, where it is not published -----------------------------------------------------
    names: BrokerNames = attrs.field(default=DEFAULT_NAMES, metadata=_choice("what members are called: see below"))
    refusals: BrokerRefusals = attrs.field(
        default=DEFAULT_REFUSALS, metadata=_choice("by which status and code the broker says what: see below")
    )
    verify_members: tuple[str, ...] = attrs.field(
        default=("api_key", "request_hash", "nonce"),
        metadata=_choice("what POST /v1/charges/{id}/verify is sent of these"),
    )
    saved_key_header: str = attrs.field(
        default="x-api-key", metadata=_documented("carries the key on the GETs for saved methods")
    )
    setup_total_member: str = attrs.field(
        default="total_amount_cap", metadata=_choice("name of the total cap when a saved method is set up")
    )
    setup_until_member: str = attrs.field(
        default="valid_until", metadata=_choice("name of the expiry when a saved method is set up")
    )
    setup_uses_member: str = attrs.field(
        default="max_uses", metadata=_choice("name of the number of uses when a saved method is set up")
    )
    send_grant: bool = attrs.field(
        default=False, metadata=_choice("send saved_method_jws along with a silent charge; HitPay's sample does not")
    )
    grant_audience: str | None = attrs.field(
        default=None, metadata=_choice("the merchant id that a grant has to name in aud; None does not look")
    )
    wallet_header: str = attrs.field(
        default="x-mpp-payment-method", metadata=_choice("request field by which an agent picks a wallet to save")
    )
    wallet_query: str = attrs.field(
        default="payment_method", metadata=_choice("query name by which an agent picks a wallet to save")
    )
    wallet_body: str | None = attrs.field(
        default="payment_method",
        metadata=_choice(
            "member of a small JSON or form body by which an agent picks one of our wallets; None: no body"
        ),
    )
    options_kept_s: int = attrs.field(
        default=600, metadata=_choice("how long the broker's list of wallets for a currency is kept")
    )
    signed: SignedLimits = attrs.field(
        default=DEFAULT_LIMITS,
        metadata=_choice("limits of signed receipts and grants, their keys, and names of claims"),
    )

    # --- HitPay's core API -----------------------------------------------------------------------------------
    core_fallback: bool = attrs.field(
        default=False,
        metadata=_choice(
            "ask the core API when the broker says that a charge is not paid: its status was seen to get stuck"
        ),
    )
    manual_counts: bool = attrs.field(
        default=False, metadata=_choice("let succeeded_manually count as paid: the buyer did not authorise it")
    )

    # --- limits ----------------------------------------------------------------------------------------------
    creations: Rate = attrs.field(
        default=Rate(count=60, seconds=60.0),
        metadata=_choice("charges and setups created in all; HitPay takes 70 a minute of one merchant"),
    )
    creations_per_client: Rate = attrs.field(
        default=Rate(count=10, seconds=60.0), metadata=_choice("charges and setups created for one client")
    )
    caller_of: Callable[[HttpRequest], str | None] | None = attrs.field(
        default=None,
        metadata=_choice(
            "who is asking, if your app has authenticated them: only the same caller gets an open charge again"
        ),
    )
    call_s: float = attrs.field(default=4.0, metadata=_choice("deadline of one call to HitPay"))
    verify_s: float = attrs.field(default=10.0, metadata=_choice("deadline of a whole verification"))
    breaker_failures: int = attrs.field(
        default=5, metadata=_choice("failures in a row after which HitPay is left alone")
    )
    breaker_s: float = attrs.field(default=10.0, metadata=_choice("how long it is left alone; meanwhile 503"))
    max_answer: int = attrs.field(default=65536, metadata=_choice("longest answer of HitPay that is read, bytes"))
    max_webhook: int = attrs.field(default=262144, metadata=_choice("longest webhook that is read, bytes"))

    _broker: Endpoint = attrs.field(init=False, repr=False, eq=False)
    _api: Endpoint = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        broker = broker_endpoint(self.broker)
        object.__setattr__(self, "_broker", broker)
        self._check_key(broker)  # first: a key of the wrong environment is the mistake that costs most
        object.__setattr__(self, "_api", api_endpoint(self.api, broker))
        if self.profile not in PROFILES:
            raise WiringError(f"there is no wire profile {self.profile!r}; known: {', '.join(PROFILES)}")
        if self.header_amount not in ("base", "decimal"):
            raise WiringError("header_amount is 'base' or 'decimal'")
        for name in ("retry_after_s", "charge_lifetime_s", "call_s", "verify_s", "breaker_failures", "breaker_s"):
            if getattr(self, name) <= 0:
                raise WiringError(f"HitPayConfig({name}={getattr(self, name)}) has to be more than 0")
        if unknown := set(self.verify_members) - {"api_key", "request_hash", "nonce"}:
            raise WiringError(f"verify_members: there is no {sorted(unknown)}; names.verify_… say what they are called")
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
                " sent to a local sandbox, so make one up that begins with test_"
            )
        if broker.environment == "sandbox" and not test:
            # Not refused: HitPay's own pages show keys of several forms.
            _log.warning(
                "HITPAY_API_KEY does not start with test_ and HITPAY_MPP_ENDPOINT is HitPay's sandbox: is it the key of"
                " the sandbox dashboard?"
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
    for name, meant in slips(env, "HITPAY", VARIABLES):
        _log.warning("%s is no setting of provider hitpay and changes nothing; is it meant to be %s?", name, meant)

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
