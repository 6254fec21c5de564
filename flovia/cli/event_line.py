"""A joined event on one line, for people."""

from rich.text import Text

from flovia.insights.join import CONVERTED, JoinedEvent
from flovia.words import moment, money, safe


def event_line(joined: JoinedEvent) -> Text:
    """One attempt on one line."""
    at = moment(joined.at)
    latency = "" if joined.latency_ms is None else f"{joined.latency_ms:.1f} ms"
    parts = [
        f"{joined.http_method} {joined.endpoint}" if joined.http_method else "(no request)",
        str(joined.response_status or "-"),
        money(joined.amount, joined.currency),
        f"({money(joined.refunded, joined.currency)} went back)" if joined.refunded is not None else "",
        joined.payment_id or "",
        f"by {joined.payer}" if joined.payer else "",
        latency,
    ]
    line = Text(at, style="dim") + Text("  " + "  ".join(safe(part) for part in parts if part), style="")
    return line + Text(f"  {joined.insight}", style="green" if joined.insight == CONVERTED else "yellow")
