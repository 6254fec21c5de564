"""The fixture app of each adapter on a real server, with its control endpoints."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import attrs
import httpx

from flovia.core.encoding import JsonObject, JsonValue
from flovia.testing.fixture import AsgiFixture, build
from flovia.testing.servers import serve_asgi, serve_wsgi


@attrs.frozen
class Storefront:
    """A running fixture app."""

    url: str

    def control(self, http_method: str, name: str, given: JsonObject | None = None) -> JsonObject:
        """Call a control endpoint."""
        answer = httpx.request(http_method, f"{self.url}/__fixture__/{name}", json=given)
        assert 200 == answer.status_code, answer.text
        return cast(JsonObject, answer.json())

    def counters(self) -> tuple[JsonValue, JsonValue, JsonValue]:
        """How often money was taken, an answer delivered, a view called."""
        counted = self.control("GET", "counters")
        return counted["settlements"], counted["deliveries"], counted["handler_calls"]


@contextmanager
def open_storefront(adapter: str) -> Iterator[Storefront]:
    """Serve the fixture app of one adapter: WSGI on wsgiref, ASGI on uvicorn."""
    fixture = build(adapter)
    try:
        with serve_asgi(fixture) if isinstance(fixture, AsgiFixture) else serve_wsgi(fixture) as url:
            yield Storefront(url)
    finally:
        fixture.close()
