"""HitPay over MPP: PayNow, FPX, QRIS, GCash, PromptPay, and saved wallets.

``flovia.paid_api(provider="hitpay", price="1.00 SGD")`` takes everything from the environment. In code::

    from flovia.providers.hitpay import HitPayConfig, HitPayProvider

    provider = HitPayProvider(HitPayConfig(api_key="test_…", core_fallback=True))

The guide is ``docs/guides/hitpay.md``. This package holds flows only: no HTTP client, no framework, no clock.
"""

from flovia.providers.hitpay.config import HitPayConfig, from_environ
from flovia.providers.hitpay.names import BrokerNames, BrokerRefusals, Sign
from flovia.providers.hitpay.provider import HitPayProvider
from flovia.providers.hitpay.request_hash import flovia_rh_1
from flovia.providers.hitpay.saved import SavedMethods, customer_from_header

__all__ = [
    "BrokerNames",
    "BrokerRefusals",
    "HitPayConfig",
    "HitPayProvider",
    "SavedMethods",
    "Sign",
    "customer_from_header",
    "flovia_rh_1",
    "from_environ",
]
