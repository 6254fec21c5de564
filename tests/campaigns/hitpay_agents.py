"""Agents and payers in the world of HitPay: what they do is drawn from the seed, that they give up late is not."""

from typing import Final

from flovia.core.challenge import Challenge, parse_expires, read_challenges
from flovia.core.credential import Credential, format_credential
from flovia.core.effects import Sleep
from flovia.core.encoding import loads_object
from flovia.core.http import Headers, HttpRequest
from flovia.core.passage import Passage
from tests.campaigns.hitpay_world import Flow, Gone, HitPayWorld, Serve

PRICE: Final = 100
PAYERS: Final = (
    *("pays",) * 6,
    "never",
    "declines first",
    "pays twice",
    "pays less",
    "pays more",
    "pays late",
    "pays at the last moment",
)


class Agent:
    """One agent that wants one answer. ``endings``: by charge, ``delivered`` or the problem of a fresh challenge."""

    def __init__(self, world: HitPayWorld, number: int) -> None:
        self.world = world
        self.random = world.random
        self.client = f"198.51.100.{number}"
        self.challenges: dict[str, Challenge] = {}
        self.endings: dict[str, str] = {}
        world.spawn(f"agent {number}", self.live())

    # --- one request ------------------------------------------------------------------------------------------

    def call(self, challenge: Challenge | None) -> Flow:
        """A request to the paid route, and if it is admitted its answer; the passage, or None if nothing came back."""
        headers = [("host", "api.example.com")]
        if challenge is not None:
            credential = Credential(challenge=challenge, payload={"challenge_id": charge_of(challenge)})
            headers.append(("authorization", format_credential(credential)))
        request = HttpRequest("GET", "/paid", "", Headers.of(headers), "/paid", self.client, "192.0.2.1")
        try:
            passage: Passage = yield Serve(self.world.gate.enter(request))
            if passage.response is not None:
                return passage
            # The handler works, fails, or the client is gone before the last byte.
            luck = self.random.random()
            if luck < 0.1:
                passage.raised()
            passage.start(200 if luck >= 0.1 else 500, Headers.of(()))
            yield Sleep(self.random.choice((0.0, 0.5, 5.0)))
            complete = luck >= 0.2
            if complete and challenge is not None:
                self.world.handed_over[charge_of(challenge)] += 1
            yield Serve(self.world.gate.leave(passage, complete))
            return passage if complete else None
        except Gone:
            return None

    def ask(self) -> Flow:
        """Get a challenge, however often that takes."""
        for _ in range(60):
            passage = yield from self.call(None)
            if passage is not None and passage.response is not None:
                if passage.response.status == 402:
                    return challenge_in(passage)
                assert passage.response.status in (429, 503), passage.response
            yield Sleep(self.random.choice((1.0, 5.0, 20.0)))
        raise AssertionError("no challenge after 60 tries")

    def present(self, challenge: Challenge) -> Flow:
        """Present one credential once; True when there is no point in doing it again."""
        charge = charge_of(challenge)
        passage = yield from self.call(challenge)
        if passage is None:
            return False
        if passage.response is None:
            self.endings[charge] = "delivered"
            return True
        status = passage.response.status
        if status == 402:
            fresh = challenge_in(passage)
            if fresh.id == challenge.id:
                return False
            record = self.world.state.charges[charge]
            still_open = record.state == "pending" and self.world.state.now < record.expires_at
            assert not still_open, f"{charge} can still be paid, and another payment is asked for"
            if self.endings.get(charge) != "delivered":
                self.endings[charge] = str(loads_object(passage.response.body)["type"]).rpartition("/")[2]
            return True
        assert status in (409, 429, 503), passage.response
        return False

    # --- a life -----------------------------------------------------------------------------------------------

    def live(self) -> Flow:
        """Ask, let somebody pay, present, now and then out of order."""
        challenge = yield from self.ask()
        self.challenges[charge_of(challenge)] = challenge
        kind = self.random.choice(PAYERS)
        self.world.trace.append(f"{self.world.seconds():.1f} {self.client} {charge_of(challenge)} {kind}")
        self.world.spawn(f"payer {charge_of(challenge)}", self.pay(kind, challenge))
        for _ in range(self.random.randrange(6)):
            yield Sleep(self.random.choice((0.0, 1.0, 10.0, 200.0)))
            if (yield from self.present(challenge)) and self.random.random() < 0.7:
                return

    def pay(self, kind: str, challenge: Challenge) -> Flow:
        """What the person at the checkout page does."""
        world, charge = self.world, charge_of(challenge)
        yield Sleep(self.random.choice((0.0, 0.0, 2.0, 30.0)))
        if kind == "never":
            return
        left = parse_expires(challenge.expires or "") - world.seconds()
        if kind == "pays late":
            yield Sleep(left + self.random.choice((0.0, 1.0, 100.0)))
        elif kind == "pays at the last moment":
            yield Sleep(max(left - self.random.choice((0.001, 0.5, 2.0)), 0.0))
        elif kind == "declines first":
            self.act(charge, "decline")
            yield Sleep(self.random.choice((0.0, 5.0)))
        amount = {"pays less": "0.99", "pays more": "1.01"}.get(kind)
        self.act(charge, "pay", **({} if amount is None else {"amount": amount}))
        if kind == "pays twice":
            yield Sleep(self.random.choice((0.0, 5.0, 700.0)))
            self.act(charge, "pay", again=True)

    def act(self, charge: str, verb: str, **body: object) -> None:
        """A click at the checkout page; what is no longer possible there does not happen."""
        try:
            self.world.control("POST", f"charges/{charge}/{verb}", dict(body))
        except AssertionError:
            self.world.trace.append(f"{self.world.seconds():.1f} {charge} could not {verb}")

    def insist(self) -> Flow:
        """Present every credential until it comes to an end; for when the storm is over."""
        for charge, challenge in self.challenges.items():
            if self.endings.get(charge) == "delivered":
                continue
            for _ in range(40):
                if (yield from self.present(challenge)):
                    break
                if not self.world.payments(charge):
                    break  # nobody paid: pending for as long as it lives
                yield Sleep(10.0)
            else:
                raise AssertionError(f"{charge} comes to no end")


def charge_of(challenge: Challenge) -> str:
    """The HitPay charge behind a challenge."""
    found = challenge.request_json["externalId"]
    assert isinstance(found, str)
    return found


def challenge_in(passage: Passage) -> Challenge:
    """The challenge of a 402."""
    assert passage.response is not None
    values = [value for name, value in passage.response.headers if name == "www-authenticate"]
    [found] = read_challenges(values)
    assert isinstance(found, Challenge)
    return found
