"""The command line's own application: which commands there are, and how each may fail."""

import errno
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import cyclopts

import flovia
from flovia.cli.console import complain
from flovia.cli.misuse import MISUSED, Misused
from flovia.core.errors import FloviaError

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What the system says where nothing more can be written."""

app = cyclopts.App(
    name="flovia",
    help="Paid APIs over the Machine Payments Protocol.",
    version=flovia.__version__,
    help_format="plaintext",
)
# Named as text, so that a command loads only what it needs itself.
app.command(
    "flovia.cli.demo:demo", name="demo", help="Run a paid route on this machine, pay it once, and stay up to try."
)
app.command("flovia.cli.event_commands:app", name="events", help="Print, or export, who paid and what was used.")
app.command(
    "flovia.cli.report:app", name="report", help="Report what converts, what it brought, and what needs somebody."
)
app.command(
    "flovia.cli.inspect:inspect",
    name="inspect",
    help="Decode a challenge, a credential, a receipt or a whole HTTP response.",
)
app.command(
    "flovia.cli.sandbox:sandbox",
    name="sandbox",
    help="Run a local HitPay: broker, API and checkout pages. No money moves.",
)
app.command("flovia.cli.pay:pay", name="pay", help="Fetch a URL and pay what it asks, within a budget.")
app.command("flovia.cli.refund:refund", name="refund", help="Give a payment back, in full or in part.")
app.command("flovia.cli.refund:refunds", name="refunds", help="List the payments whose refund is due.")

ledger = cyclopts.App(
    name="ledger",
    help="Look after a ledger: one payment's history, reconcile, redeliver, explain, verify, prune, forget.",
)
ledger.command(
    "flovia.cli.ledger_reading:show", name="show", help="Show one payment's whole history by any of its ids."
)
ledger.command("flovia.cli.ledger_reading:undelivered", name="undelivered", help="List what is paid and not delivered.")
ledger.command("flovia.cli.ledger_reading:verify", name="verify", help="Check every invariant over the whole ledger.")
ledger.command(
    "flovia.cli.ledger_writing:reconcile", name="reconcile", help="Ask the provider about money that nobody told of."
)
ledger.command(
    "flovia.cli.ledger_writing:redeliver", name="redeliver", help="Make a paid, undelivered payment redeemable again."
)
ledger.command(
    "flovia.cli.operating:explain", name="explain", help="Take a finding out of the integrity queue, with a note."
)
ledger.command(
    "flovia.cli.ledger_writing:prune", name="prune", help="Forget what is past its time, exported if wished."
)
ledger.command("flovia.cli.ledger_writing:forget", name="forget", help="Take a payer out of the events.")
ledger.command(
    "flovia.cli.ledger_writing:hash_payers", name="hash-payers", help="Hash every payer that is still named."
)
app.command(ledger)
app.command("flovia.cli.doctor:doctor", name="doctor", help="Look for what is wrong, and say what to do.")


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status. A refusal of flovia is one line on standard error."""
    try:
        result: object = app(arguments, result_action="return_value")
        with suppress(BrokenPipeError):
            sys.stdout.flush()  # here, where it can still be said that it was in vain
    except FloviaError as error:
        complain(str(error))
        return MISUSED if isinstance(error, Misused) else 1
    except OSError as error:
        if error.errno not in FULL:
            raise
        # Python would try again when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        complain(f"the output could not be written ({error.strerror}); what is there of it is not whole")
        return 1
    return result if isinstance(result, int) else 0
