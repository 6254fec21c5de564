"""The processes, and what an agent, a payer and a merchant do with them; each of these is a process or HTTP too."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import cast

import attrs
import httpx
import pytest

from flovia.core.encoding import JsonObject
from flovia.ledger.opening import open_ledger
from flovia.testing.servers import serve_wsgi
from tests.patience import PATIENT_S, PROGRAM_S
from tests.sandbox.process import sandbox

SECRET = "test-secret-of-at-least-32-bytes!!"
EVENTS = ("payment_request.completed", "payment_request.failed", "charge.updated")


@attrs.frozen(kw_only=True)
class Done:
    """How a program ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> JsonObject:
        """What it printed, one JSON object."""
        return cast(JsonObject, json.loads(self.out))

    @property
    def told(self) -> JsonObject:
        """What ``flovia pay --json`` says was paid."""
        return cast(JsonObject, self.json["paid"])


@attrs.frozen(kw_only=True)
class World:
    """One app and one sandbox, as processes. ``since``: the sandbox's journal up to there is of other tests."""

    app: str
    broker: str
    api: str
    environment: Mapping[str, str]
    folder: Path
    http: httpx.Client
    since: int = 0

    # --- the agent --------------------------------------------------------------------------------------------

    def get(self, path: str = "/forecast", token: str | None = None, **headers: str) -> httpx.Response:
        """One request of an agent that does what it likes."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            fields["authorization"] = f"Payment {token}"
        return self.http.get(self.app + path, headers=fields)

    def flovia(self, *arguments: str) -> Done:
        """Run a command of flovia, as a process in the merchant's or the agent's own environment."""
        return self.program("-m", "flovia.cli", *arguments)

    def program(self, *arguments: str) -> Done:
        """Run a Python program."""
        with self.started(*arguments) as process:
            return ended(process)

    @contextmanager
    def started(self, *arguments: str, **environment: str) -> Generator[subprocess.Popen[str]]:
        """Start a Python program; end it, and only it, if it has not ended by then."""
        process = subprocess.Popen(
            [sys.executable, *arguments],
            env={**os.environ, **self.environment, "HOME": str(self.folder), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()

    def pay(self, path: str = "/forecast", *options: str, budget: str = "5.00 SGD") -> Done:
        """``flovia pay`` as a process."""
        return self.flovia(*self.paying(path, *options, budget=budget))

    def paying(self, path: str, *options: str, budget: str = "5.00 SGD") -> tuple[str, ...]:
        """Its arguments."""
        state = str(self.folder / "agent")
        return ("pay", self.app + path, "--budget", budget, "--json", "--state", state, *options)

    def resume(self, done: Done) -> Done:
        """Another process goes on with what the agent kept."""
        return self.flovia("pay", "--resume", str(done.json["reference"]), "--json", "--state", f"{self.folder}/agent")

    # --- the sandbox ------------------------------------------------------------------------------------------

    def control(self, http_method: str, path: str, body: Mapping[str, object] | None = None) -> JsonObject:
        """Its control interface."""
        answer = self.http.request(http_method, f"{self.broker}/__emulator/{path}", json=body)
        assert answer.is_success, answer.text
        return cast(JsonObject, answer.json())

    def fault(self, knob: str, value: str, **options: object) -> None:
        """Turn a knob."""
        self.control("PUT", "faults", {"knob": knob, "value": value, **options})

    def clear(self) -> None:
        """All knobs as they were."""
        self.control("DELETE", "faults")

    def settle(self, charge: str, step: str = "pay", **options: object) -> None:
        """What a payer does, or time: ``pay``, ``decline``, ``expire``, ``late_pay``."""
        self.control("POST", f"charges/{charge}/{step}", options)

    def journal(self, route: str | None = None) -> list[JsonObject]:
        """Calls during this test."""
        found = self.control("GET", "journal" if route is None else f"journal?route={route}")["journal"]
        return [one for one in cast("list[JsonObject]", found) if cast(int, one["number"]) > self.since]

    def calls(self, route: str) -> int:
        """How often it was called on a route during this test."""
        return len(self.journal(route))

    def charge(self, charge: str) -> JsonObject:
        """A charge as the sandbox has it."""
        found = cast("list[JsonObject]", self.control("GET", "charges")["charges"])
        return next(one for one in found if one["id"] == charge)

    def core(self, http_method: str, path: str, body: Mapping[str, object] | None = None) -> httpx.Response:
        """HitPay's API, as the merchant or its dashboard calls it."""
        key = {"x-business-api-key": self.environment["HITPAY_API_KEY"]}
        return self.http.request(http_method, self.api + path, json=body, headers=key)

    def call_broker(self, path: str, body: Mapping[str, object]) -> httpx.Response:
        """The broker, as a merchant's server calls it."""
        return self.http.post(self.broker + path, json={"api_key": self.environment["HITPAY_API_KEY"], **body})

    def request_of(self, charge: str) -> JsonObject:
        """The payment request of a charge, with its payments."""
        answer = self.core("GET", f"/v1/payment-requests/{self.charge(charge)['payment_request_id']}")
        return cast(JsonObject, answer.json())

    def heard(self, charge: str) -> list[JsonObject]:
        """Webhooks about a charge that went to the app, with their answers."""
        request = self.charge(charge)["payment_request_id"]
        payments = [one["id"] for one in cast("list[JsonObject]", self.request_of(charge)["payments"])]
        found = cast("list[JsonObject]", self.control("GET", "webhooks")["webhooks"])
        return [one for one in found if one["target"] == "endpoint" and one["about"] in (charge, request, *payments)]

    # --- the merchant -----------------------------------------------------------------------------------------

    def due(self) -> list[str]:
        """Payments whose refund is due, by the app's ledger."""
        with closing(open_ledger(self.environment["FLOVIA_LEDGER"])) as ledger:
            return [one.payment_id for one in ledger.find_due(1000)]

    def events(self, about: str) -> list[str]:
        """Types of the events about a charge or challenge in the app's ledger."""
        with closing(open_ledger(self.environment["FLOVIA_LEDGER"])) as ledger:
            found = [event for _, event in ledger.read_events(limit=100_000)]
        return [event.type for event in found if about in (event.payment_id, event.challenge_id)]


def ended(process: "subprocess.Popen[str]") -> Done:
    """A program's end, waited for."""
    out, err = process.communicate(timeout=PROGRAM_S)
    return Done(status=process.returncode, out=out, err=err)


def refused(**environment: str) -> str:
    """What a server prints that cannot start the app of :mod:`tests.e2e.hitpay.rows.priced`."""
    others = {name: value for name, value in os.environ.items() if not re.match("HITPAY_|FLOVIA_", name)}
    command = [sys.executable, "-m", "gunicorn", "tests.e2e.hitpay.rows.priced:app", "--bind", "127.0.0.1:0"]
    done = subprocess.run(
        command, env=others | environment, capture_output=True, text=True, timeout=PROGRAM_S, check=False
    )
    assert done.returncode != 0, done.stderr
    return done.stdout + done.stderr


@contextmanager
def world(folder: Path) -> Generator[World]:
    """Start a sandbox, then the app with what the sandbox prints, and have the events sent to the app."""
    with ExitStack() as stack:
        running = stack.enter_context(sandbox("--no-limits"))
        environment = {
            **running.environment,
            "FLOVIA_SECRET": SECRET,
            "FLOVIA_LEDGER": f"sqlite:///{folder}/flovia.db",
            "E2E_OTHER_LEDGER": f"sqlite:///{folder}/other.db",
            "E2E_LOG": f"{folder}/app.log",
        }
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            served = serve_wsgi("tests.e2e.hitpay.rows.app:make_app()", server="gunicorn-gthread")
            url = stack.enter_context(served)
        found = World(
            app=url,
            broker=environment["HITPAY_MPP_ENDPOINT"],
            api=environment["HITPAY_API_ENDPOINT"],
            environment=environment,
            folder=folder,
            http=stack.enter_context(httpx.Client(timeout=PATIENT_S, trust_env=False)),
        )
        hook = {"name": "app", "url": f"{url}/hooks/hitpay", "event_types": list(EVENTS)}
        made = found.core("POST", "/v1/webhook-events", {**hook, "salt": environment["HITPAY_WEBHOOK_SALT"]})
        assert 201 == made.status_code, made.text
        yield found
