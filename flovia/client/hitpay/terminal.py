"""A checkout in the terminal: what it is for, the link, and a QR code to scan with a phone."""

import io
import sys
import time

from flovia.client.hitpay.pins import Checkout


def qr_text(url: str) -> str | None:
    """A QR code made of block characters, light on dark; None without the package segno."""
    try:
        import segno
    except ImportError:
        return None
    lines = io.StringIO()
    segno.make(url, micro=False).terminal(lines, compact=True, border=2)
    return lines.getvalue()


def checkout_text(checkout: Checkout, now: float) -> str:
    """What a person is shown. ``now``: Unix seconds."""
    verb = "Approve charges by" if checkout.setup else f"Pay {checkout.price} to"
    lines = [f"{verb} {checkout.origin}"]
    if checkout.setup:
        lines += [f"  {limit}" for limit in checkout.limits or ("within the limits that the page names",)]
    if checkout.description:
        lines.append(f"  it says: {checkout.description}")
    code = qr_text(checkout.url)
    if code is not None:
        lines += ["", code.rstrip("\n")]
    lines += ["", f"  {checkout.url}"]
    if checkout.expires_at is not None:
        done = "approved" if checkout.setup else "paid"
        lines.append(f"  it can be {done} there for {max(0, round((checkout.expires_at - now) / 60))} min")
    return "\n".join(lines) + "\n"


def show_in_terminal(checkout: Checkout) -> None:
    """Print a checkout on standard error, so that it never mixes with a program's output."""
    sys.stderr.write(checkout_text(checkout, time.time()))
    sys.stderr.flush()
