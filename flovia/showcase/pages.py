"""What the pages of the showcase are rendered from."""

import json
import time
from collections.abc import Mapping
from typing import Final, cast

import attrs
from markupsafe import Markup

from flovia.core.errors import FloviaError
from flovia.insights.join import JoinedEvent
from flovia.insights.joined import line
from flovia.readable import readable_challenge
from flovia.showcase import code
from flovia.showcase.joining import Deciding, attempts_of
from flovia.showcase.runs import Run
from flovia.showcase.shop import PATH, PRICE, Shop
from flovia.showcase.telling import state_of, steps_of
from flovia.showcase.troubles import TROUBLES
from flovia.words import money


@attrs.frozen(kw_only=True)
class Card:
    """A provider of the showcase, for comparison."""

    name: str
    rail: str
    experience: str
    context: str
    adds: str
    link: str


CARDS: Final = (
    Card(
        name="HitPay",
        rail="MPP",
        experience="A person pays on a checkout page or scans its QR code; the agent waits, then repeats its request.",
        context="charge id, payment id, amount, currency, a receipt signed by the broker",
        adds="which request, endpoint and workflow the charge bought, and whether the answer arrived",
        link="/showcase/hitpay-mpp",
    ),
    Card(
        name="mock",
        rail="MPP",
        experience="No person and no money: the agent makes up a proof, so that everything can be tried in a second.",
        context="payment id, amount, currency, payer",
        adds="the same joined event, so that an app is written and tested before it has an account anywhere",
        link="",
    ),
)


def showcase_members(shop: Shop) -> Mapping[str, object]:
    """Of ``/showcase``."""
    return {"cards": CARDS, "shop": shop, "page": "showcase"}


def page_members(shop: Shop, deciding: Deciding, run: Run | None) -> Mapping[str, object]:
    """Of ``/showcase/hitpay-mpp``, with a run or without."""
    live = live_members(shop, deciding, run)
    return {
        **live,
        "troubles": TROUBLES if shop.sandbox is not None else (),
        "by_hand": code.by_hand(),
        "tabs": code.tabs(),
        "the_line": code.tabs()[0],
        "page": "hitpay-mpp",
        # In the address of the next load: the same address with the same #live would only scroll.
        "seen": round(time.time() * 10),
        "curl": code.as_curl(shop.endpoint),
        "pay_line": code.as_flovia(shop.endpoint, shop.broker),
        "python": code.as_python(shop.endpoint, shop.broker),
    }


def live_members(shop: Shop, deciding: Deciding, run: Run | None) -> Mapping[str, object]:
    """Of the parts of the page that follow a run."""
    now = time.time()
    challenge = None if run is None else run.challenge
    attempts = [] if challenge is None else list(_attempts(shop, challenge.id))
    joined = next((one for one in attempts if one.endpoint), None)
    second = next((one for one in attempts if not one.endpoint), None)
    state = None if run is None else state_of(run, joined, second, now)
    decisions = deciding.now()
    checkout = None if run is None else run.checkout
    expires_at = None if run is None else run.expires_at
    exchanges = () if run is None else run.log.shown(now)
    return {
        "shop": shop,
        "path": PATH,
        "price": PRICE,
        "run": run,
        "state": state,
        "steps": () if run is None or state is None else steps_of(run, state),
        "challenge": None if challenge is None else _shown(readable_challenge(challenge, now)),
        "checkout": checkout,
        "qr": None if checkout is None or state is None or not state.payable else code.qr_svg(checkout.url),
        "exchanges": exchanges,
        "expires_at": expires_at,
        "left_s": None if expires_at is None else max(0, int(expires_at - now)),
        "joined": joined,
        "joined_json": None if joined is None else _pretty(joined),
        "second": second,
        "decisions": decisions,
        "decidable": deciding.possible,
        "amount": "" if joined is None else money(joined.amount, joined.currency),
        "over": state is not None and state.over,
        "mark": (
            None if run is None else run.version,
            len(exchanges),
            None if joined is None else line(joined.to_json()),
            None if second is None else line(second.to_json()),
            None if decisions is None else decisions.each,
            state,
        ),
    }


def _attempts(shop: Shop, challenge_id: str) -> list[JoinedEvent]:
    try:
        return list(attempts_of(shop.flovia.ledger, challenge_id))
    except FloviaError:
        return []  # the ledger does not answer; the page says what it knows without it


def _shown(members: Mapping[str, object]) -> list[tuple[str, str]]:
    """Members as lines: what is nested is flattened with dots; how long it is valid is counted down elsewhere."""
    found: list[tuple[str, str]] = []
    for name, value in members.items():
        if name == "valid":
            continue
        found += _flat(name, value)
    return found


def _flat(name: str, value: object) -> list[tuple[str, str]]:
    if isinstance(value, Mapping):
        members = cast("Mapping[str, object]", value)
        return [pair for inner, item in members.items() for pair in _flat(f"{name}.{inner}", item)]
    return [(name, value if isinstance(value, str) else json.dumps(value))]


def _pretty(joined: JoinedEvent) -> Markup:
    return code.highlighted(json.dumps(joined.to_json(), indent=2), language="json")
