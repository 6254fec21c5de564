"""The showcase of ``flovia demo``: a HitPay of its own on this machine, or HitPay's sandbox where there is a key."""

import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from flovia.api import Flovia
from flovia.core.errors import WiringError
from flovia.showcase.shop import HOOKS, Shop, asker

if TYPE_CHECKING:
    from flovia.ledger.base import Ledger
    from flovia.providers.hitpay import HitPayConfig
    from flovia.sandbox import Sandbox
    from flovia.showcase.app import Showcase

KEY: Final = "HITPAY_API_KEY"


def open_showcase(stack: ExitStack, ledger: "Ledger", url: str, folder: Path, lines: Sequence[str]) -> "Showcase":
    """The showcase over a ledger, for a server at ``url``; what it starts ends with the stack.

    Raises:
        WiringError: the environment's settings for HitPay cannot work here.
    """
    from flovia.providers.hitpay import HitPayProvider
    from flovia.showcase.app import Showcase

    sandbox, config = hitpay(stack, os.environ)
    provider = HitPayProvider(config)
    # An app of its own over the same ledger: the mock provider beside it accepts made-up payments.
    flovia = Flovia(
        secret=secrets.token_urlsafe(32),
        realm="flovia showcase",
        public_origin=url,
        ledger=ledger,
        provider=provider,
        payer_of=asker,
    )
    if sandbox is not None:
        sandbox.register_webhook(f"{url}{HOOKS}")
    return Showcase(
        Shop(flovia=flovia, provider=provider, url=url, folder=folder / "agent", sandbox=sandbox, lines=lines)
    )


def hitpay(stack: ExitStack, environ: Mapping[str, str]) -> "tuple[Sandbox | None, HitPayConfig]":
    """Who takes the payments: HitPay's sandbox with the environment's key, else a sandbox that is started here.

    Raises:
        WiringError: what the environment says cannot work, or would move real money.
    """
    from flovia.providers.hitpay import from_environ

    if KEY in environ:
        config = from_environ(environ)
        if config.broker_endpoint.environment == "production":
            raise WiringError(
                "the demo takes no real money, and HITPAY_MPP_ENDPOINT is HitPay's production: unset it, and use a"
                f" test_ key in {KEY}"
            )
        return None, config
    from flovia.sandbox import serving

    sandbox = stack.enter_context(serving())
    return sandbox, from_environ(sandbox.environment)
