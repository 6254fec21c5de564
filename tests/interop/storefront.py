"""A running fixture app, with its control endpoints."""

from typing import cast

import attrs
import httpx

from flovia.core.encoding import JsonObject, JsonValue


@attrs.frozen
class Storefront:
    """A running fixture app, and a client that pays for nothing.

    One client for all calls: httpx reads the certificate store for every client it makes, which takes longer than
    most of these tests.
    """

    url: str
    plain: httpx.Client

    def get(self, path: str, **headers: str) -> httpx.Response:
        """A plain GET; underscores in a field's name stand for hyphens."""
        return self.plain.get(f"{self.url}{path}", headers={k.replace("_", "-"): v for k, v in headers.items()})

    def control(self, http_method: str, name: str, given: JsonObject | None = None) -> JsonObject:
        """Call a control endpoint."""
        answer = self.plain.request(http_method, f"{self.url}/__fixture__/{name}", json=given)
        assert 200 == answer.status_code, answer.text
        return cast(JsonObject, answer.json())

    def counters(self) -> tuple[JsonValue, JsonValue, JsonValue]:
        """How often money was taken, an answer delivered, a view called."""
        counted = self.control("GET", "counters")
        return counted["settlements"], counted["deliveries"], counted["handler_calls"]
