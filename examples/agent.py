"""An agent that pays for what it fetches, within a budget, and loses nothing when something goes wrong.

    python examples/agent.py http://127.0.0.1:8402/paid
    python examples/agent.py --resume REFERENCE

It pays with the mock wallet. The budget's books and the credentials are in files, so a second run goes on where
the first one ended, and several at once share the five dollars.
"""

import sys
from pathlib import Path

import httpx

from flovia.client import (
    Budget,
    BudgetExceeded,
    CannotResume,
    MockWallet,
    OutcomeUnknown,
    PaymentError,
    PendingFiles,
    Policy,
)
from flovia.client.httpx import PayingTransport, payment_info

STATE = Path.home() / ".local" / "state" / "flovia-example-agent"


def paying_transport(state: Path) -> PayingTransport:
    """At most 1.00 USD at once and 5.00 USD a day."""
    return PayingTransport(
        MockWallet(),
        budget=Budget("5.00 USD", per_payment="1.00 USD", window_s=86400, path=state / "budget.db"),
        policy=Policy(max_wait_s=30),
        pending=PendingFiles(state / "pending"),
    )


def main(arguments: list[str], state: Path = STATE) -> int:
    """Fetch a URL, or resume a call whose outcome is unknown; returns the exit status."""
    try:
        match arguments:
            case ["--resume", reference]:
                with paying_transport(state) as transport:
                    response = transport.resume(reference)
            case [url]:
                with httpx.Client(transport=paying_transport(state)) as client:
                    response = client.get(url, follow_redirects=True)
            case _:
                print(__doc__)
                return 2
    except OutcomeUnknown as error:
        print(f"{error}\ntry again: python examples/agent.py --resume {error.reference}")
        return 3
    except (BudgetExceeded, CannotResume) as error:
        print(f"not now: {error}")
        return 4
    except PaymentError as error:
        print(error)
        return 5
    paid = payment_info(response)
    print(response.status_code, f"for {paid.price} to {paid.origin}" if paid else "for nothing")
    print(response.text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
