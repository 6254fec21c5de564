"""An agent that buys by HitPay: a person pays on their phone while it waits, and it checks the receipt itself.

    python examples/hitpay_agent.py http://127.0.0.1:8402/report
    python examples/hitpay_agent.py --auto-pay http://127.0.0.1:8402/report
    python examples/hitpay_agent.py --save http://127.0.0.1:8402/report
    python examples/hitpay_agent.py --resume REFERENCE

``--auto-pay`` needs no person but a sandbox on this machine. ``--save`` asks the server to save a GrabPay wallet: the
person approves once, and the calls after that are charged within what they approved. examples/hitpay_shop.py is a shop
that saves wallets; one that does not asks for a single payment instead.
"""

import os
import sys
from pathlib import Path

import httpx

from flovia.client import Budget, OutcomeUnknown, PaymentError, PendingFiles, Policy, ReceiptRejected
from flovia.client.hitpay import BROKER, GrantFiles, HitPayWallet, Pins, SavedMethodWallet
from flovia.client.httpx import PayingTransport, payment_info

STATE = Path.home() / ".local" / "state" / "flovia-example-hitpay"
SAVE = {"x-mpp-payment-method": "grabpay_direct", "x-user-email": "agent@example.com"}


def paying_transport(state: Path, *, auto_pay: bool) -> PayingTransport:
    """A saved wallet where there is one, else a person; at most 2.00 SGD at once and 10.00 a day."""
    pins = Pins(broker=os.environ.get("HITPAY_MPP_ENDPOINT", BROKER))
    person = HitPayWallet(pins=pins, auto_pay=auto_pay, timeout_s=300)
    return PayingTransport(
        SavedMethodWallet(grants=GrantFiles(state / "grants"), once=person, pins=pins),
        budget=Budget("10.00 SGD", per_payment="2.00 SGD", window_s=86400, path=state / "budget.db"),
        policy=Policy(max_wait_s=10),
        pending=PendingFiles(state / "pending", sealed=True),
    )


def main(arguments: list[str], state: Path = STATE) -> int:
    """Buy, or resume what was bought; returns the exit status."""
    options = {word for word in arguments if word.startswith("--")}
    transport = paying_transport(state, auto_pay="--auto-pay" in options)
    try:
        match [word for word in arguments if word not in ("--auto-pay", "--save")]:
            case ["--resume", reference]:
                with transport:
                    response = transport.resume(reference)
            case [url]:
                with httpx.Client(transport=transport, timeout=30) as client:
                    response = client.get(url, headers=SAVE if "--save" in options else {})
            case _:
                print(__doc__)
                return 2
    except OutcomeUnknown as error:
        print(f"{error}\ntry again: python examples/hitpay_agent.py --resume {error.reference}")
        return 3
    except ReceiptRejected as error:
        print(f"paid and delivered, but: {error}")
        print(error.answer.body.decode(errors="replace"))
        return 6
    except PaymentError as error:
        print(error)
        return 5
    paid = payment_info(response)
    if paid is not None:
        print(f"{paid.price} to {paid.origin}, receipt {'verified' if paid.receipt_verified else 'not verified'}")
    print(response.text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
