"""Addresses of a mounted dashboard, with the filters of the page they are on."""

from typing import Final
from urllib.parse import quote

import attrs

from flovia.core.encoding import JsonValue
from flovia.dashboard.filters import Filters

LIVE: Final = "/events"
PAGES: Final = (
    ("/", "Overview"),
    ("/endpoints", "Endpoints"),
    ("/revenue", "Revenue"),
    ("/pricing", "Pricing"),
    ("/latency", "Latency"),
    ("/retention", "Retention"),
    ("/workflows", "Workflows"),
    ("/integrity", "Integrity"),
    (LIVE, "Live"),
)
"""The pages of the navigation, in its order."""


@attrs.frozen(kw_only=True)
class Linker:
    """Makes addresses. ``root``: where the dashboard is mounted, without a slash at the end."""

    root: str
    filters: Filters

    def to(self, path: str, /, **others: object) -> str:
        """Another page, or the same one, with the same filters and others.

        A workflow is carried to no page but the live one: the others count all workflows together.
        """
        if path != LIVE:
            others = {"workflow": "", **others}
        return f"{self.root}{path}{self.filters.query(**others)}"

    def attempt(self, ident: str) -> str:
        """The page of one attempt."""
        return f"{self.root}/attempts/{quote(ident, safe='', errors='surrogatepass')}"

    def finding(self, ident: str) -> str:
        """The page on which one attempt is worked."""
        return f"{self.root}/integrity/{quote(ident, safe='', errors='surrogatepass')}"

    def events(self, **chosen: object) -> str:
        """Joined events, narrowed as the page is."""
        return self.to(LIVE, **chosen)

    def behind(self, **chosen: object) -> str:
        """The joined events behind a number of a report: reports know no workflow, so it does not narrow them."""
        return self.to(LIVE, **({"workflow": ""} | chosen))

    def route(self, row: "dict[str, JsonValue]", **chosen: object) -> str:
        """The events behind a row of a report, which is told apart by its endpoint, rail and price, as far as it has
        these. "" if one of them is not known: there is no filter for that, and without one it would be all events.
        """
        found: dict[str, JsonValue] = {name: row[name] for name in ("endpoint", "rail", "price") if name in row}
        if "price" in found:
            found["price_currency"] = row.get("priceCurrency") or row.get("currency")
        return self.behind(**(found | chosen)) if all(value not in (None, "") for value in found.values()) else ""
