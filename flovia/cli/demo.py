"""``flovia demo``: a paid route on this machine that pays itself once, shows how, and stays up to try."""

import json
import os
import secrets
import shlex
import sys
import tempfile
import time
import webbrowser
from contextlib import ExitStack, suppress
from importlib import import_module
from pathlib import Path
from typing import Final

from rich.text import Text

from flovia.api import Flovia
from flovia.cli.console import console, members
from flovia.cli.demo_agent import Exchange, pay_once
from flovia.cli.demo_seeding import seeding_of
from flovia.cli.demo_showcase import hitpay, open_showcase, settings_to_export
from flovia.cli.demo_site import HOST, PRICE, listen, mock_route, serving, site
from flovia.cli.ending import Ending
from flovia.core.errors import LedgerError
from flovia.core.events import Event
from flovia.insights.join import CONVERTED, JoinedEvent, join
from flovia.ledger.base import Ledger
from flovia.readable import readable_challenge, readable_credential, readable_receipt
from flovia.showcase.joining import make_ready

_JOINED_WITHIN_S: Final = 30.0
_FIRST_PAGE_WITHIN_S: Final = 1.0


def demo(
    *, port: int | None = None, ledger: str | None = None, browser: bool = True, seed_attempts: int | None = None
) -> int:
    """Run paid routes on this machine, pay one once, show what happened, and stay up to try.

    It needs no account, key or network, and moves no money: a HitPay for this machine comes along. With HITPAY_API_KEY
    the page takes its payments through HitPay's own sandbox. Ctrl-C ends it.

    Args:
        port: where to listen on 127.0.0.1; if left out 8402, or another one if that is taken.
        ledger: where to keep payments and events, such as sqlite:///demo.db; if left out, a temporary file.
        browser: open the page.
        seed_attempts: about how many made-up attempts the ledger is to have, for the dashboard, at most 100000; if
            left out 2000, or none with --ledger. The first 2000 are there when the dashboard is; the others come while
            the demo runs.
    """
    ending = Ending()  # leaves the ledger closed and no file behind
    try:
        with ExitStack() as stack:
            _demo(stack, port, ledger, browser, seed_attempts)
            ending.wait()
    except KeyboardInterrupt:
        return 0
    return 0


def _demo(stack: ExitStack, port: int | None, ledger: str | None, browser: bool, seed_attempts: int | None) -> None:
    import_module("uvicorn")  # what is missing is said before anything is begun
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="flovia-demo-")))
    listener = stack.enter_context(listen(port))
    url = f"http://{HOST}:{listener.getsockname()[1]}"
    own = ledger is not None
    ledger = ledger or f"sqlite:///{folder / 'demo.db'}"
    flovia = Flovia(secret=secrets.token_urlsafe(32), realm="flovia demo", public_origin=url, ledger=ledger)
    stack.callback(flovia.close)
    make_ready(flovia.ledger)
    seeding = seeding_of(ledger, flovia.ledger, seed_attempts, own=own)
    takes = hitpay(stack, os.environ)
    lines = [*lines_to_try(url, ledger), *settings_to_export(takes, ledger)]
    showcase = open_showcase(stack, flovia.ledger, url, folder, lines, takes, seeding.begin)
    stack.enter_context(serving(site(mock_route(flovia), showcase), listener))
    stack.callback(showcase.close)
    stack.callback(seeding.stop)
    before = _last_position(flovia.ledger)
    exchange = pay_once(f"{url}/paid", budget=PRICE, pending=folder / "pending")
    joined = joined_event(flovia.ledger, before, exchange.challenge.id)
    _print(url, exchange, joined, lines)
    if browser and _has_browser():
        webbrowser.open(url)
    # What is not on the first page would only keep it waiting.
    showcase.make_dashboard(_FIRST_PAGE_WITHIN_S)
    seeding.go_on(stack)


def lines_to_try(url: str, ledger: str) -> list[str]:
    """What a user can type into a shell while the demo is up; comments between."""
    program = shlex.quote(sys.argv[0]) if Path(sys.argv[0]).name == "flovia" else f"{sys.executable} -m flovia.cli"
    lines = [
        "# what an agent gets that has not paid, raw and decoded",
        f"curl -i {url}/paid",
        f"curl -s -i {url}/paid | {program} inspect",
        "# pay (with a made-up proof: this is the mock provider) and get the answer with its receipt",
        f'CREDENTIAL="$(curl -s -i {url}/paid | {program} inspect --mock-payment)"',
        f'curl -i -H "Authorization: $CREDENTIAL" {url}/paid',
        "# the same credential never works twice",
        f'curl -i -H "Authorization: $CREDENTIAL" {url}/paid',
    ]
    if ledger.startswith("sqlite:"):  # what is only in this process's memory nobody else can read
        lines += [
            "# who paid and what was used, as one event per attempt",
            f"{program} events --ledger {shlex.quote(ledger)}",
        ]
    return lines


def _has_browser() -> bool:
    """Whether opening a page opens a window; without a display it could take over the terminal."""
    displays = sys.platform in ("win32", "darwin") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(displays) and sys.stdout.isatty()


# --- the joined event ----------------------------------------------------------------------------------------


def _last_position(ledger: Ledger) -> int:
    # By halves: there may be a hundred thousand events, and which is the last needs none of them.
    low, high = -1, 1
    while ledger.read_events(high, 1):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if ledger.read_events(middle, 1) else (low, middle)
    return high


def joined_event(ledger: Ledger, after: int, challenge_id: str, *, within_s: float = _JOINED_WITHIN_S) -> JoinedEvent:
    """The joined event of a call whose answer has arrived; the server may still be writing its last part.

    Raises:
        LedgerError: the event did not come.
    """
    give_up = time.monotonic() + within_s
    # Others write as well, more than one look reads: visitors, and the made-up past.
    events: list[Event] = []
    while time.monotonic() < give_up:
        with suppress(LedgerError):  # a slow disk; the next look may come through
            ledger.flush()
            while found := ledger.read_events(after):
                after = found[-1][0]
                events += [event for _, event in found if event.challenge_id == challenge_id]
            for joined in join(events):
                if joined.challenge_id == challenge_id and joined.insight == CONVERTED:
                    return joined
        time.sleep(0.02)
    raise LedgerError("the paid call was not recorded; choose another ledger with --ledger")


# --- what is printed -------------------------------------------------------------------------------------------


def _print(url: str, exchange: Exchange, joined: JoinedEvent, lines: list[str]) -> None:
    out = console()
    out.print(f"A paid route is up: GET {url}/paid costs {PRICE}. An agent calls it:")
    for title, found in (
        ("1  402: the challenge", readable_challenge(exchange.challenge, time.time())),
        ("2  The agent pays, and repeats its request with a credential", readable_credential(exchange.credential)),
        (f"3  {exchange.status}: {exchange.body}, with a receipt", readable_receipt(exchange.receipt)),
    ):
        out.print()
        out.print(Text(title, style="bold"))
        out.print(members(found))
    out.print()
    out.print(Text("4  flovia joins the payment with the call", style="bold"))
    out.print(json.dumps(joined.to_json(), indent=2))
    out.print()
    out.print(Text(f"The page: {url}/showcase/hitpay-mpp", style="bold"))
    out.print()
    out.print(Text("Try it (Ctrl-C ends the demo):", style="bold"))
    for line in lines:
        out.print(Text(line, style="dim" if line.startswith("#") else ""))
    sys.stdout.flush()
