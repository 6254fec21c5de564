"""A running fixture app, with its control endpoints."""

from typing import cast

import attrs
import httpx

from flovia.core.encoding import JsonObject, JsonValue
from flovia.core.events import REQUEST_COMPLETED, REQUEST_FAILED, REQUEST_STARTED
from tests.patience import eventually


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
        """How often money was taken, an answer delivered, a view called, once the app is at rest."""
        counted = self.at_rest()
        return counted["settlements"], counted["deliveries"], counted["handler_calls"]

    def at_rest(self) -> JsonObject:
        """Wait until every request that began has its end on record, and return what was counted.

        A client has its whole answer a moment before the server writes down that it was delivered.
        """

        def rests(counted: JsonObject) -> bool:
            types = [event["type"] for event in cast("list[JsonObject]", counted["events"])]
            return types.count(REQUEST_STARTED) == types.count(REQUEST_COMPLETED) + types.count(REQUEST_FAILED)

        counted = eventually(lambda: self.control("GET", "counters"), rests)
        assert rests(counted), "a request has no end"
        return counted
