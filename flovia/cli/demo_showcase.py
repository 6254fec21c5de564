"""The showcase of ``flovia demo``: a HitPay of its own on this machine, or HitPay's sandbox where there is a key."""

import secrets
import shlex
from collections.abc import Callable, Mapping, Sequence
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
PROGRAM: Final = "flovia"


def open_showcase(
    stack: ExitStack,
    ledger: "Ledger",
    url: str,
    folder: Path,
    lines: Sequence[str],
    takes: "tuple[Sandbox | None, HitPayConfig]",
    prepare: Callable[[], None],
) -> "Showcase":
    """The showcase over a ledger, for a server at ``url``; ``takes``: who takes the payments, of :func:`hitpay`;
    ``prepare``: what is done before its dashboard is made.
    """
    from flovia.providers.hitpay import HitPayProvider
    from flovia.showcase.app import Showcase

    sandbox, config = takes
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
        Shop(flovia=flovia, provider=provider, url=url, folder=folder / "agent", sandbox=sandbox, lines=lines),
        prepare,
    )


def settings_to_export(takes: "tuple[Sandbox | None, HitPayConfig]", ledger: str) -> list[str]:
    """What commands about the page's payments need in another terminal, as lines for a shell; none if they cannot work.

    A key is among them only if it is that of the sandbox on this machine, which opens nothing.
    """
    if not ledger.startswith("sqlite:///"):
        return []  # what is only in this process's memory nobody else can read
    sandbox, config = takes
    settings = {
        "HITPAY_MPP_ENDPOINT": config.broker_endpoint.origin,
        "HITPAY_API_ENDPOINT": config.api_endpoint.origin,
        # Another terminal may be in another folder.
        "FLOVIA_LEDGER": f"sqlite:///{Path(ledger.removeprefix('sqlite:///')).absolute()}",
    }
    about = f"and {KEY} as it is set here"
    if sandbox is not None:
        settings = {KEY: sandbox.api_key, **settings}
        about = "the key is of this demo's own sandbox, and no secret"
    return [
        f"# for commands about the page's payments, such as {PROGRAM} refund, in another terminal ({about})",
        *(f"export {name}={shlex.quote(value)}" for name, value in settings.items()),
    ]


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
