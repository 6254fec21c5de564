"""The payer's pages: checkout and setup. HTML forms only: no script, nothing from elsewhere, readable on a phone."""

import base64
import hashlib
import io
from html import escape
from typing import Final
from urllib.parse import quote, urlencode, urlsplit

import segno

from flovia.core.errors import IllegalTransition
from flovia.sandbox import machine
from flovia.sandbox.money import WALLET_LABELS, write_amount
from flovia.sandbox.payment_requests import checkout_url
from flovia.sandbox.records import PaymentRequest, Recurring
from flovia.sandbox.state import Draft, iso
from flovia.sandbox.wire import Call, Reply, is_loopback

_STYLE: Final = """
:root{color-scheme:light dark}
body{margin:0;font:1rem/1.5 system-ui,sans-serif;background:#eef1f5;color:#16202e}
main{max-width:26rem;margin:0 auto;padding:1rem}
.card{background:#fff;border-radius:.75rem;padding:1.25rem;box-shadow:0 1px 3px #0003}
.note{background:#fff3cd;color:#4d3800;padding:.5rem .75rem;border-radius:.5rem;margin:0 0 1rem;font-size:.875rem}
h1{font-size:1.25rem;line-height:1.3;margin:0}
.sum{font-size:2rem;font-weight:700;margin:.25rem 0}
.qr{display:block;width:100%;max-width:14rem;height:auto;margin:1rem auto;background:#fff}
dl{display:grid;grid-template-columns:auto 1fr;gap:.25rem .75rem;margin:1rem 0;font-size:.875rem}
dt{color:#4a5566}dd{margin:0;overflow-wrap:anywhere}
form{margin:.5rem 0}
button{width:100%;min-height:3rem;border:1px solid #8492a6;border-radius:.5rem;background:#fff;color:#16202e;
font:inherit;font-weight:600;cursor:pointer}
button.main{background:#0b5fd6;border-color:#0b5fd6;color:#fff}
button:focus-visible,a:focus-visible{outline:3px solid #ffb000;outline-offset:2px}
@media(prefers-color-scheme:dark){body{background:#10161f;color:#e6ebf2}.card{background:#1b2431}
dt{color:#a8b4c5}button{background:#1b2431;color:#e6ebf2}a{color:#8ab8ff}}
"""
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
<main>
<p class="note" role="note">flovia sandbox: nothing here moves real money.</p>
<div class="card">
{inside}
</div>
</main>
</html>
"""
_HEADERS: Final = (
    ("content-type", "text/html; charset=utf-8"),
    ("cache-control", "no-store"),
    (
        "content-security-policy",
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'",
    ),
    ("referrer-policy", "same-origin"),
    ("x-content-type-options", "nosniff"),
)


def qr_svg(text: str) -> str:
    """A QR code as an inline SVG element."""
    out = io.BytesIO()
    segno.make(text, error="m", micro=False).save(
        out, kind="svg", xmldecl=False, svgns=False, omitsize=True, border=4, svgclass="qr", title="QR code", nl=False
    )
    return out.getvalue().decode()


def _page(status: int, title: str, inside: str) -> Reply:
    html = _PAGE.format(title=escape(title), style=_STYLE, inside=inside)
    return Reply(status=status, headers=_HEADERS, body=html.encode())


def _no_such(what: str) -> Reply:
    return _page(404, "Not found", f"<h1>Not found</h1>\n<p>There is no such {what} in this sandbox.</p>")


def _rows(pairs: list[tuple[str, str]]) -> str:
    return "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs) + "</dl>"


def _button(action: str, label: str, *, main: bool = False) -> str:
    look = ' class="main"' if main else ""
    return f'<form method="post" action="{escape(action)}"><button{look} type="submit">{escape(label)}</button></form>'


# --- checkout -------------------------------------------------------------------------------------------


def checkout(d: Draft, call: Call, request_id: str) -> Reply:
    """The page of a payment request: what it costs, a QR, and Pay, Decline, Cancel while it can be paid."""
    request = d.requests.get(request_id)
    if request is None:
        return _no_such("payment request")
    return _checkout_page(d, request, call.parameter("note") or "")


_NOTES: Final = {
    "declined": "The payment was declined. You can try again.",
    "cancelled": "You left without paying. This page keeps working until the payment request ends.",
}


def _checkout_page(d: Draft, request: PaymentRequest, note: str) -> Reply:
    state, payable = _state(d, request)
    if not note and state == "pending" and any(d.payments[one].status == "failed" for one in request.payments):
        note = "declined"  # also if it was not declined on this page
    total = f"{write_amount(request.amount, request.currency)} {request.currency.upper()}"
    rows = [
        ("Reference", request.reference or request.id),
        ("Pay with", ", ".join(request.methods)),
        ("Status", state),
    ]
    if request.expires_at is not None:
        rows.append(("Until", iso(request.expires_at)))
    parts = [
        f"<h1>{escape(request.purpose or 'Payment')}</h1>",
        f'<p class="sum">{escape(total)}</p>',
        *([f'<p role="status">{escape(_NOTES[note])}</p>'] if note in _NOTES else []),
    ]
    base = f"/payment-request/@hitpay/{request.id}"
    if payable:
        late = state == "expired"
        parts.append(qr_svg(checkout_url(d, request.id)))
        parts.append(_button(f"{base}/pay", f"Pay {total}{' late' if late else ''}", main=True))
        if not late:
            parts.append(_button(f"{base}/decline", "Decline"))
            parts.append(_button(f"{base}/cancel", "Cancel"))
    elif state == "completed":
        parts.append(f'<p role="status">{_paid_note(d, request)}</p>')
    else:
        parts.append(f'<p role="status">This payment request is {escape(state)}.</p>')
    parts.append(_rows(rows))
    if request.redirect_url and (link := _return_url(request, state)):
        parts.append(f'<p><a rel="noreferrer" href="{escape(link)}">Back to the merchant</a></p>')
    return _page(200, f"{state.capitalize()}: {total}", "\n".join(parts))


def _paid_note(d: Draft, request: PaymentRequest) -> str:
    """What a payer reads after paying. Late money buys nothing: the merchant has to give it back."""
    charge = d.charges.get(request.charge or "")
    if charge is not None and charge.state == "expired_paid":
        return (
            "<strong>Paid, too late.</strong> The time for this payment was over, so your agent gets nothing for it;"
            " the merchant owes you a refund. You can close this page."
        )
    if charge is not None and charge.state == "refunded":
        return "<strong>Given back.</strong> This payment was refunded, in full or in part; you can close this page."
    return "<strong>Paid.</strong> Your agent can go on; you can close this page."


def _state(d: Draft, request: PaymentRequest) -> tuple[str, bool]:
    """What the payer is told, and whether they can pay: a QR that was shown once can be paid late."""
    paid = any(d.payments[found].status != "failed" for found in request.payments)
    if paid:
        return "completed", request.repeated
    return request.status, request.status in ("pending", "expired")


def _return_url(request: PaymentRequest, status: str) -> str | None:
    """The merchant's address with ``reference`` and ``status`` (HitPay docs: redirect_url), if it is HTTP."""
    parts = urlsplit(request.redirect_url)
    if parts.scheme not in ("http", "https"):
        return None
    query = urlencode({"reference": request.id, "status": status})
    return parts._replace(query=f"{parts.query}&{query}" if parts.query else query).geturl()


def checkout_act(d: Draft, call: Call, request_id: str, action: str) -> Reply:
    """What the buttons of the checkout page do. Pressed twice is pressed once."""
    request = d.requests.get(request_id)
    if request is None or action not in ("pay", "decline", "cancel"):
        return _no_such("payment request")
    note = ""
    try:
        if action == "pay":
            machine.pay(d, request.id)
        elif action == "decline":
            machine.decline(d, request.id)
            note = "declined"
        else:
            note = "cancelled"
    except IllegalTransition:
        note = ""
    changed = d.requests[request_id]
    state, _ = _state(d, changed)
    target = _return_url(changed, "canceled" if action == "cancel" else state)
    if action != "decline" and target is not None and is_loopback(urlsplit(target).hostname or ""):
        return _see(target)
    return _see(f"/payment-request/@hitpay/{request.id}/checkout{f'?note={note}' if note else ''}")


def _see(url: str) -> Reply:
    ascii_only = quote(url, safe=":/?#[]@!$&'()*+,;=%-._~")
    return Reply(status=303, headers=(("location", ascii_only), ("cache-control", "no-store")))


# --- setup ------------------------------------------------------------------------------------------------


def setup(d: Draft, call: Call, setup_id: str) -> Reply:
    """The page where a payer allows charges: within which limits, and Approve, Decline, Cancel."""
    recurring = _recurring(d, setup_id)
    if recurring is None:
        return _no_such("setup")
    wallet = WALLET_LABELS.get(recurring.methods[0], recurring.methods[0])
    currency = recurring.currency.upper()
    rows: list[tuple[str, str]] = []
    if (saved := d.saved.get(recurring.saved or "")) is not None:
        rows.append(("At most per charge", f"{write_amount(saved.max_per_charge, saved.currency)} {currency}"))
        if saved.total_cap is not None:
            rows.append(("At most in total", f"{write_amount(saved.total_cap, saved.currency)} {currency}"))
        if saved.max_uses is not None:
            rows.append(("At most", f"{saved.max_uses} charges"))
        rows.append(("Until", iso(saved.valid_until)))
    else:
        rows.append(("Amount", f"{write_amount(recurring.amount, recurring.currency)} {currency}"))
    state: str = recurring.status
    if state == "scheduled":
        state = "expired" if d.now >= recurring.expires_at else "pending"
    rows.append(("Status", state))
    parts = [f"<h1>Let an agent pay with {escape(wallet)}</h1>", _rows(rows)]
    parts += _setup_choice(d, state, f"/setup/{setup_id}", call)
    return _page(200, f"Setup: {wallet}", "\n".join(parts))


def _recurring(d: Draft, setup_id: str) -> Recurring | None:
    """A recurring billing by its own id, or by that of the saved method over it."""
    saved = d.saved.get(setup_id)
    return d.recurring.get(saved.recurring if saved else setup_id)


def _setup_choice(d: Draft, state: str, base: str, call: Call) -> list[str]:
    if state == "active":
        return ['<p role="status"><strong>Allowed.</strong> Your agent can go on; you can close this page.</p>']
    if state != "pending":
        return ['<p role="status">This setup has ended; nothing can be charged with it.</p>']
    note = ['<p role="status">You left without deciding.</p>'] if call.parameter("note") == "cancelled" else []
    return [
        *note,
        qr_svg(f"{d.origin('api')}{base}"),
        _button(f"{base}/approve", "Approve", main=True),
        _button(f"{base}/reject", "Decline"),
        _button(f"{base}/cancel", "Cancel"),
    ]


def setup_act(d: Draft, call: Call, setup_id: str, action: str) -> Reply:
    """What the buttons of the setup page do."""
    recurring = _recurring(d, setup_id)
    if recurring is None or action not in ("approve", "reject", "cancel"):
        return _no_such("setup")
    try:
        if action == "approve":
            machine.approve(d, recurring)
        elif action == "reject":
            machine.reject(d, recurring)
    except IllegalTransition:
        pass  # decided before
    return _see(f"/setup/{setup_id}{'?note=cancelled' if action == 'cancel' else ''}")
