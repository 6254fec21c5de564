"""``flovia sandbox``: a local HitPay that stays up until Ctrl-C."""

import contextlib
import shlex
import sys

from flovia.cli.ending import Ending
from flovia.cli.misuse import Misused
from flovia.core.errors import WiringError

MADE_THERE = "\"$(python3 -c 'import secrets; print(secrets.token_urlsafe(32))')\""
"""For a shell: a secret that is made where it is set, so that this command never knows it."""


def sandbox(
    *,
    broker_port: int = 4010,
    api_port: int = 4011,
    host: str = "127.0.0.1",
    seed: int | None = None,
    auto_pay: float | None = None,
    webhook: str | None = None,
    limits: bool = True,
    contract: str = "current",
) -> int:
    """Run a local HitPay: broker, API and checkout pages. No money moves. Ctrl-C ends it.

    It prints what to set in the environment of an app that sells with provider="hitpay".

    Args:
        broker_port: where the MPP broker listens; 0 means any free port.
        api_port: where HitPay's own API and the checkout pages are; 0 means any free port.
        host: 127.0.0.1 or ::1; nothing but this machine is served.
        seed: what keys, ids and salts follow from; without one they differ every time.
        auto_pay: pay every charge, and approve every setup, so many seconds after it was made.
        webhook: send the events of every test_ key to this URL on this machine, signed with the salt that the app
            named, its HITPAY_WEBHOOK_SALT.
        limits: answer 429 above the rates of HitPay: 70 creations and 400 calls a minute.
        contract: current, or 2026-05-old for the broker's first contract, to see what fails with it.
    """
    from flovia.sandbox import HITPAY_LIMITS, serving

    ending = Ending()
    if auto_pay is not None and not 0 <= auto_pay < 1e9:
        raise Misused("--auto-pay takes a number of seconds")
    if contract not in ("current", "2026-05-old"):
        raise Misused("--contract is current or 2026-05-old")
    with contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as stack:
        try:
            running = stack.enter_context(
                serving(
                    broker_port=broker_port,
                    api_port=api_port,
                    host=host,
                    seed=seed,
                    limits=HITPAY_LIMITS if limits else None,
                    webhook=webhook,
                )
            )
        except WiringError as error:
            if error.__cause__ is None:  # the option itself cannot be meant; a port that is taken has a cause
                raise Misused(str(error)) from None
            raise
        if auto_pay is not None:
            running.fault("payer", "auto_pay", delay=auto_pay)
        if contract != "current":
            running.fault("contract", contract)
        print(f"A local HitPay is up: broker {running.broker_url}, API and checkout {running.api_url}.")
        print("No money moves. Set this where your app runs (Ctrl-C ends the sandbox):")
        print()
        for name, value in running.environment.items():
            print(f"export {name}={shlex.quote(value)}")
        print(f"export FLOVIA_SECRET={MADE_THERE}")
        print()
        if webhook is not None:
            print(f"Events of every test_ key go to {webhook}, signed with the HITPAY_WEBHOOK_SALT of its app.")
        print(f"Control: {running.broker_url}/__emulator/ (charges, saved-methods, faults, clock, keys, journal, …)")
        sys.stdout.flush()
        ending.wait()
    return 0
