"""HitPay's own API: where a merchant wants its events (HitPay docs: webhook events)."""

from typing import cast

from flovia.sandbox.events import EVENTS
from flovia.sandbox.fields import api_merchant, api_problem, read_body, text
from flovia.sandbox.records import Endpoint
from flovia.sandbox.state import Draft, iso
from flovia.sandbox.targets import check_target
from flovia.sandbox.wire import Call, Json, Reply, api_error, json_reply


def create(d: Draft, call: Call) -> Reply:
    """``POST /v1/webhook-events``. Each endpoint has a salt of its own; the sandbox also takes one in ``salt``."""
    merchant = api_merchant(d, call)
    body = read_body(call)
    name = text(body, "name", api_problem, required=True)
    url = text(body, "url", api_problem, most=2000, required=True)
    check_target(url, "url")
    found = body.get("event_types")
    events = cast("list[object]", found) if isinstance(found, list) else []
    if not events or not all(event in EVENTS for event in events):
        raise api_problem("event_types", f"Some of: {', '.join(EVENTS)}.")
    salt = text(body, "salt", api_problem) or f"test_salt_{d.digest('endpoint salt')[:32]}"
    endpoint = Endpoint(
        id=d.new_uuid(),
        merchant=merchant.id,
        name=name,
        url=url,
        salt=salt,
        events=tuple(str(event) for event in events),
        created_at=d.now,
    )
    d.endpoints[endpoint.id] = endpoint
    return json_reply(201, {**_json(endpoint), "salt": endpoint.salt})


def listed(d: Draft, call: Call) -> Reply:
    """``GET /v1/webhook-events``: the merchant's endpoints, without their salts."""
    merchant = api_merchant(d, call)
    return json_reply(200, {"data": [_json(found) for found in d.endpoints.values() if found.merchant == merchant.id]})


def _of(d: Draft, call: Call, endpoint_id: str) -> Endpoint:
    merchant = api_merchant(d, call)
    found = d.endpoints.get(endpoint_id)
    if found is None or found.merchant != merchant.id:
        raise api_error(404, f"No query results for model [WebhookEvent] {endpoint_id}")
    return found


def read(d: Draft, call: Call, endpoint_id: str) -> Reply:
    """``GET /v1/webhook-events/{id}``."""
    return json_reply(200, _json(_of(d, call, endpoint_id)))


def delete(d: Draft, call: Call, endpoint_id: str) -> Reply:
    """``DELETE /v1/webhook-events/{id}``: what is on its way already still arrives."""
    del d.endpoints[_of(d, call, endpoint_id).id]
    return json_reply(200, {"success": True})


def _json(endpoint: Endpoint) -> Json:
    return {
        "id": endpoint.id,
        "name": endpoint.name,
        "url": endpoint.url,
        "event_types": list(endpoint.events),
        "created_at": iso(endpoint.created_at),
    }
