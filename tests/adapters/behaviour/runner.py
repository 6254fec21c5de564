"""Run one row of the table against a served fixture, and hold every answer to what must always be true."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import cast

import attrs

from flovia.core.challenge import Challenge, parse_challenges
from flovia.core.encoding import JsonValue, b64url_decode, canonical
from flovia.core.problems import PROBLEMS
from flovia.core.receipt import parse_receipt
from tests.adapters.behaviour.table import SECOND_TEST_SECRET, TEST_SECRET, Answer, Ask, Case, Exchange, Seen, Set
from tests.adapters.behaviour.wire import Reply, control, exchange, head
from tests.patience import eventually

MAX_CHALLENGE = 4096


@attrs.define(kw_only=True)
class Run:
    """One row on one adapter and server."""

    url: str
    adapter: str
    server: str
    case: Case
    replies: list[Reply] = attrs.field(factory=list[Reply])
    challenges: list[list[Challenge]] = attrs.field(factory=list[list[Challenge]])
    secrets: list[str] = attrs.field(factory=lambda: [TEST_SECRET, SECOND_TEST_SECRET])

    def __call__(self) -> None:
        """Take every step, then look at the counters and the log."""
        control(self.url, "POST", "reset")
        for step in self.case.steps:
            if isinstance(step, Set):
                self.set(step)
            else:
                self.exchange(step)
        control(self.url, "DELETE", "faults")
        self.check_counters()
        self.check_log()

    # --- steps ---------------------------------------------------------------------------------------------

    def set(self, step: Set) -> None:
        """Use a control endpoint."""
        if step.name == "clock":
            # In real time a delivery is on record long before its lease ends.
            receipts = {receipt for reply in self.replies for receipt in reply.all("payment-receipt")}
            eventually(self.counters, lambda found: cast("int", found["deliveries"]) >= len(receipts))
        try:
            control(self.url, "DELETE" if step.end else "POST", step.name, step.given)
        except AssertionError:
            if not step.refused:
                raise
        else:
            assert not step.refused, f"{step.name} was expected to refuse {step.given}"

    def exchange(self, step: Exchange) -> None:
        """Send a request, read the answer, compare."""
        request, expected = self.request(step.ask), self.expected(step)
        # A delivery is recorded after its last byte was sent: until then it is in flight.
        reply = eventually(
            lambda: exchange(self.url, request, step.ask.http_method),
            lambda reply: reply.status != 409 or 409 in expected.statuses,
        )
        number = len(self.replies)
        where = f"answer {number} of {self.case.name} ({step.ask.http_method} {step.ask.target})"
        assert reply.status in expected.statuses, f"{where}: {reply.status} {reply.headers} {reply.body[:500]!r}"
        self.replies.append(reply)
        self.challenges.append(parse_challenges(reply.all("www-authenticate")) if reply.status == 402 else [])
        try:
            self.compare(reply, expected, step.ask)
            self.check_always(reply, expected, step.ask)
        except AssertionError as error:
            error.add_note(f"{where}: {reply.status} {reply.headers} {reply.body[:500]!r}")
            raise

    def expected(self, step: Exchange) -> Answer:
        """The answer this adapter on this server must give."""
        for name in (f"{self.adapter}@{self.server}", self.server, self.adapter):
            if name in step.own:
                return step.own[name].answer
        return step.answer

    def request(self, ask: Ask) -> bytes:
        """The bytes of a request."""
        token = ""
        if ask.pay is not None:
            token = ask.pay.make(self.challenge(ask.pay.of, ask.pay.offer))
            if len(token) > 40:
                self.secrets.append(token)
        headers = [(name, value.replace("{token}", token)) for name, value in ask.headers]
        if ask.pay is not None and not any("{token}" in value for _, value in ask.headers):
            headers.append(("Authorization", f"Payment {token}"))
        if not ask.bare:
            names = {name.lower() for name, _ in headers}
            if "host" not in names:
                headers.insert(0, ("Host", self.url.removeprefix("http://")))
            headers.append(("Connection", "close"))
            if ask.chunked:
                headers.append(("Transfer-Encoding", "chunked"))
            elif ask.body is not None and "content-length" not in names:
                headers.append(("Content-Length", str(len(ask.body))))
        body = ask.body or b""
        if ask.chunked:
            middle = len(body) // 2
            pieces = [piece for piece in (body[:middle], body[middle:]) if piece]
            body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        return head(ask.http_method, ask.target, headers) + body

    def challenge(self, of: int | None, offer: int) -> Mapping[str, str]:
        """The parameters of a challenge that was received."""
        if of is None:
            of = max(number for number, found in enumerate(self.challenges) if found)
        return parameters(self.challenges[of][offer])

    # --- this answer ---------------------------------------------------------------------------------------

    def compare(self, reply: Reply, expected: Answer, ask: Ask) -> None:
        """Hold an answer to what the row says."""
        if expected.problem is not None:
            assert reply.one("content-type") == "application/problem+json"
            if ask.http_method != "HEAD":
                self.check_problem(reply, expected.problem)
        if reply.status == 402:
            found = tuple(challenge.method for challenge in self.challenges[-1])
            assert (expected.methods or ("mock",)) == found
            ids = [challenge.id for challenge in self.challenges[-1]]
            earlier = [challenge.id for found in self.challenges[:-1] for challenge in found]
            if expected.challenge_of is not None:
                assert [one.id for one in self.challenges[expected.challenge_of]] == ids
            else:
                assert not set(ids) & set(earlier), "a challenge came twice"
        if expected.receipt is not None:
            assert expected.receipt == bool(reply.all("payment-receipt")), "receipt"
        if expected.retry_after is not None:
            assert str(expected.retry_after) == reply.one("retry-after")
        for name, value in expected.headers.items():
            assert value == reply.one(name), name
        if expected.body is not None:
            assert expected.body == reply.body
        if expected.json is not None:
            assert expected.json == json.loads(reply.body)
        if expected.same_as is not None:
            assert told(self.replies[expected.same_as]) == told(reply)
        if expected.truncated is not None:
            assert expected.truncated == reply.truncated, "truncated"
        if expected.check is not None:
            requests = [challenge.request_json for challenge in self.challenges[-1]]
            params = [parameters(challenge) for challenge in self.challenges[-1]]
            expected.check(Seen(challenges=params, requests=requests, headers=dict(reply.headers), body=reply.body))

    def check_problem(self, reply: Reply, code: str) -> None:
        """The problem details are the fixed ones of their type, and name a challenge only if one is there."""
        problem = PROBLEMS[code]
        given = reply.json
        expected: dict[str, JsonValue] = {
            "type": problem.type,
            "title": problem.title,
            "status": reply.status,
            "detail": problem.detail,
        }
        assert expected == {name: value for name, value in given.items() if name != "challengeId"}
        if reply.status == 402:
            assert self.challenges[-1][0].id == given["challengeId"]

    # --- every answer ----------------------------------------------------------------------------------------

    def check_always(self, reply: Reply, expected: Answer, ask: Ask) -> None:
        """What must be true of every answer, whatever the row is about (S02, S14, S20, S23-S28, S31, S34)."""
        payment = [value for value in reply.all("www-authenticate") if value.lower().startswith("payment")]
        if reply.status == 402:
            assert self.challenges[-1], "a 402 without a challenge (S02)"
            assert "no-store" == reply.one("cache-control"), "S26"
            for challenge, field in zip(self.challenges[-1], payment, strict=True):
                self.check_challenge(challenge, field)
        else:
            assert not payment, "a challenge without a 402"
        if reply.status in (429, 503) and expected.problem is not None:
            assert re.fullmatch("[1-9][0-9]*", reply.one("retry-after") or ""), "S31"
        receipt = reply.one("payment-receipt")
        if receipt is not None:
            assert 200 <= reply.status < 300, "a receipt without success (S23)"
            self.check_receipt(receipt, ask)
        if expected.problem is not None:
            assert "no-store" == reply.one("cache-control"), "a refusal that may be cached"

    def check_challenge(self, challenge: Challenge, field: str) -> None:
        """A challenge is ours, canonical, small, and bound."""
        assert len(field) <= MAX_CHALLENGE, "S34"
        assert "api.example.com" == challenge.realm, "S12"
        assert "charge" == challenge.intent
        assert re.fullmatch(r"[A-Za-z0-9_-]{43}", challenge.id)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", challenge.expires or "")
        raw = b64url_decode(challenge.request)
        assert canonical(challenge.request_json) == raw, "S14"
        assert re.fullmatch("0|[1-9][0-9]*", str(challenge.request_json["amount"])), "H01"
        opaque = challenge.opaque_json
        assert opaque is not None
        assert {"n", "s"} <= set(opaque), "S20"
        assert all(type(value) is str for value in opaque.values()), "S20"

    def check_receipt(self, token: str, ask: Ask) -> None:
        """A receipt is well-formed and the answer is not for shared caches."""
        self.secrets.append(token)
        receipt = parse_receipt(token)
        assert "success" == receipt.status
        assert receipt.method in ("mock", "alt")
        assert re.fullmatch(r"mock_[0-9a-f]{32}", receipt.reference), "S25"
        cache_control = self.replies[-1].one("cache-control") or ""
        assert "private" in cache_control or "no-store" in cache_control, "S27"
        assert "public" not in cache_control
        assert "s-maxage" not in cache_control

    # --- after the last step ---------------------------------------------------------------------------------

    def check_counters(self) -> None:
        """The counters are the row's, and the events agree with them."""
        wanted = dict(self.case.counts)

        def told(found: Mapping[str, JsonValue]) -> Sequence[Mapping[str, str]]:
            return cast("Sequence[Mapping[str, str]]", found["events"])

        def complete(found: Mapping[str, JsonValue]) -> bool:
            types = {event["type"] for event in told(found)}
            return all(found[name] == value for name, value in wanted.items()) and types.issuperset(self.case.events)

        # A delivery is recorded, and its end told, after its last byte was sent.
        found = eventually(self.counters, complete)
        events = told(found)
        assert wanted == {name: found[name] for name in wanted}
        ids = [event["id"] for event in events]
        types = [event["type"] for event in events]
        assert len(set(ids)) == len(ids)
        assert found["settlements"] == types.count("payment.settled")
        assert [] == [type_ for type_ in self.case.events if type_ not in types]
        self.check_secrets(json.dumps(events), "the events")

    def counters(self) -> dict[str, JsonValue]:
        """What is counted now."""
        return control(self.url, "GET", "counters")

    def check_log(self) -> None:
        """Nothing secret is in the log, at DEBUG, tracebacks included (S37, S38)."""
        self.check_secrets(str(control(self.url, "GET", "log")["text"]), "the log")

    def check_secrets(self, text: str, where: str) -> None:
        """No credential, receipt or secret."""
        for secret in self.secrets:
            assert secret not in text, f"a secret is in {where}"


_OF_THE_SERVER = frozenset({"connection", "date", "keep-alive", "server", "transfer-encoding"})


def told(reply: Reply) -> tuple[int, list[tuple[str, str]], bytes]:
    """What the app and the guard have said in an answer."""
    return reply.status, sorted(pair for pair in reply.headers if pair[0] not in _OF_THE_SERVER), reply.body


_PARAMETERS = ("id", "realm", "method", "intent", "request", "expires", "digest", "opaque", "description", "header")


def parameters(challenge: Challenge) -> dict[str, str]:
    """The parameters that a challenge has, as a credential echoes them."""
    return {name: value for name in _PARAMETERS if (value := getattr(challenge, name)) is not None}
