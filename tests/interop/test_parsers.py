"""Every challenge that our gates emit is the same challenge to flovia's, pympp's and mppx's parsers."""

from typing import cast

import pytest

from flovia.core.challenge import Challenge, parse_challenges
from flovia.core.encoding import JsonObject
from flovia.testing.fixture.gates import PATHS
from tests.interop.agents import read_challenge
from tests.interop.javascript import Javascript
from tests.interop.pympp import Challenge as PymppChallenge
from tests.interop.storefront import Storefront

EXAMPLES = {"{id}": "7", "{status}": "500", "{code}": "201"}
POSTS = {"/echo", "/order"}
ROUTES = [*PATHS, "/search?q=K%C3%A4se", "/two", "/dynamic?tier=premium", "/observed"]


def unpaid(storefront: Storefront, route: str, headers: dict[str, str] | None = None) -> list[str]:
    """The ``WWW-Authenticate`` fields of a route's 402."""
    for name, example in EXAMPLES.items():
        route = route.replace(name, example)
    verb, content = ("POST", "äöü 🍎".encode()) if route in POSTS else ("GET", None)
    login = {"x-api-key": "good", **(headers or {})}
    answer = storefront.plain.request(verb, f"{storefront.url}{route}", content=content, headers=login)
    assert 402 == answer.status_code, f"{verb} {route}: {answer.status_code}"
    return answer.headers.get_list("www-authenticate")


def members(challenge: Challenge) -> JsonObject:
    """A challenge as flovia read it, in the shape the others are compared in."""
    given = {
        "id": challenge.id,
        "realm": challenge.realm,
        "method": challenge.method,
        "intent": challenge.intent,
        "request": challenge.request_json,
        "requestText": challenge.request,
        "expires": challenge.expires,
        "digest": challenge.digest,
        "description": challenge.description,
        "header": challenge.header,
    }
    return {name: value for name, value in given.items() if value is not None}


def every_field(storefront: Storefront) -> list[str]:
    """The fields of all routes, and of the one whose credentials go to ``Payment-Authorization``."""
    fields = [field for route in ROUTES for field in unpaid(storefront, route)]
    return [*fields, *unpaid(storefront, "/auth-and-paid", {"authorization": "Bearer good"})]


def test_pympp_parses_every_challenge(storefront: Storefront) -> None:
    """pympp reads each challenge of each route member by member as flovia does, opaque included (C01, C06)."""
    for field in every_field(storefront):
        ours = parse_challenges([field])
        assert len(ours) == len(field.split("Payment method=")) - 1 == 1, field
        theirs = PymppChallenge.from_www_authenticate(field)
        assert members(ours[0]) == read_challenge(theirs)
        assert ours[0].opaque_json == theirs.opaque
        assert ours[0].opaque == theirs.to_echo().opaque


@pytest.mark.node
def test_mppx_parses_every_challenge(storefront: Storefront, javascript: Javascript) -> None:
    """mppx reads each challenge of each route member by member as flovia does (C01, C06)."""
    for field in every_field(storefront):
        ours = parse_challenges([field])[0]
        theirs = dict(javascript.call("challenge.read", field=field))
        assert ours.opaque == theirs.pop("opaque")
        assert members(ours) == theirs


@pytest.mark.node
def test_mppx_finds_all_offers_of_one_answer(storefront: Storefront, javascript: Javascript) -> None:
    """Two challenges, as separate fields or joined by a proxy, are two for mppx too (C06)."""
    fields = unpaid(storefront, "/two")
    for given in (fields, [", ".join(fields)]):
        found = javascript.call("challenge.list", fields=given)["challenges"]
        assert ["mock", "alt"] == [challenge["method"] for challenge in cast("list[JsonObject]", found)]
        assert ["mock", "alt"] == [challenge.method for challenge in parse_challenges(given)]
