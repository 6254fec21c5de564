"""The front door: ``paid_api`` for one route, ``Flovia`` for settings that several routes share."""

import logging
import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, TypedDict, Unpack, cast

import attrs

from flovia import entropy, runtime
from flovia.back_office import BackOffice
from flovia.core.binding import Keyring
from flovia.core.delivery import MAX_DELIVERIES, Delivery
from flovia.core.errors import WiringError
from flovia.core.gate import Gate
from flovia.core.guard import DAY_S, Services
from flovia.core.http import HttpRequest
from flovia.core.limiter import Limit, Limiter
from flovia.core.listening import Seldom
from flovia.core.money import Price
from flovia.core.observer import Observer
from flovia.core.offers import Offer as CoreOffer
from flovia.core.passage import Passage
from flovia.core.provider import Provider
from flovia.core.retention import Retention
from flovia.providers.registry import RAILS, Roster, observed
from flovia.route_checks import PriceLike, check_distinct, check_route, checked_price, not_none
from flovia.settings import Settings, read_settings
from flovia.watching import guards, telemetry, watched

if TYPE_CHECKING:
    from flovia.ledger.base import Ledger
    from flovia.middleware import Context, Next
    from flovia.otel import Otel

_log = logging.getLogger("flovia")


class _Unset:
    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = _Unset()
"""Not given at all; an explicit None is an error, so that a missing environment variable opens nothing."""


@attrs.frozen(kw_only=True)
class Offer:
    """One way to pay for a route, for ``paid_api(offers=[…])``.

    ``provider`` is a name or a provider object; ``price`` a text, a :class:`Price` or a function of the request.
    """

    provider: str | Provider
    price: PriceLike
    description: str | None = None


class PaidApi:
    """A guarded route: a gate (flovia issues and verifies) or an observer (the handler does, flovia joins).

    Give it to an adapter's ``paid``, or use it as ``(c, next)`` middleware in a Hono-like router. ``enter`` and
    ``leave`` are for adapters; see ``docs/write-an-adapter.md``.
    """

    def __init__(self, guard: Gate | Observer, world: runtime.World) -> None:
        self.guard = guard
        self.world = world

    def __repr__(self) -> str:
        kind = "observer" if self.observes else "gate"
        return f"<PaidApi {kind} {self.guard.name or 'unnamed'}>"

    @property
    def observes(self) -> bool:
        """True if the handler has its own gate."""
        return isinstance(self.guard, Observer)

    @property
    def reads_body(self) -> bool:
        """Whether the adapter must read the request's body, up to :attr:`max_body` bytes, before ``enter``."""
        return self.guard.bind_body

    @property
    def max_body(self) -> int:
        """Bytes of body that are read for the digest."""
        return self.guard.max_body

    def enter(self, request: HttpRequest) -> Passage:
        """Decide about a request, blocking. Never raises for anything a client sends."""
        return runtime.run(self.guard.enter(request), self.world)

    async def aenter(self, request: HttpRequest) -> Passage:
        """Decide about a request, under asyncio or trio."""
        return await runtime.arun(self.guard.enter(request), self.world)

    def leave(self, passage: Passage, *, completed: bool) -> None:
        """Record how an admitted request ended; call it exactly once.

        Args:
            passage: what ``enter`` returned, without a response of its own.
            completed: the last byte of the answer was handed to the server.
        """
        runtime.run(self.guard.leave(passage, completed), self.world)

    async def aleave(self, passage: Passage, *, completed: bool) -> None:
        """As :meth:`leave`, under asyncio or trio."""
        await runtime.arun(self.guard.leave(passage, completed), self.world)

    def renew(self, passage: Passage) -> None:
        """Extend a running delivery's lease; call it when ``passage.renewal_due()``."""
        runtime.run(self.guard.renew(passage), self.world)

    async def arenew(self, passage: Passage) -> None:
        """As :meth:`renew`, under asyncio or trio."""
        await runtime.arun(self.guard.renew(passage), self.world)

    async def __call__(self, c: "Context", next: "Next") -> object:
        """Middleware for a Hono-like router: ``app.get("/paid", flovia.paid_api(...), handler)``."""
        from flovia.middleware import through

        return await through(self, c, next)


class Flovia(BackOffice):
    """Settings that the routes of one app share; each argument left out comes from the environment.

    Args:
        provider: the default provider, a name or an object.
        rail: the protocol; ``mpp``.
        price: the default price of :meth:`paid_api`.
        ledger: a URL (``sqlite:///flovia.db``, ``postgresql://…``, ``memory://``) or a ledger object.
        secret: the signing secret, or a list with it first and older ones after it; at least 32 bytes each.
        realm: the protection space in challenges.
        public_origin: ``https://api.example.com``, as clients see it.
        limit: rates per client and in total, see :class:`Limit`.
        retention: how long events and finished payments are kept, see :class:`flovia.core.retention.Retention`.
        hash_payers: whether events have keyed hashes in place of the names of payers and workflows; default: of payers
            alone, if there is a secret.
        otel: make spans and metrics, see ``docs/guides/tracing.md``; an :class:`flovia.otel.Otel` says where they go.
        client_of: who counts as one client for the limits; default: the peer's address. Behind a proxy, return
            the address that your proxy vouches for.
        payer_of: who is asking, as your app knows it (the owner of an API key, say): what events call the payer where
            neither the provider nor the credential names one, before the payment too. None if it does not know.
        clock: Unix seconds; for tests.
        tokens: 22 characters of base64url each time, for tests.

    Raises:
        WiringError: a setting cannot work; the message says what to do.
    """

    def __init__(
        self,
        *,
        provider: str | Provider | None = None,
        rail: str = "mpp",
        price: str | Price | _Unset = UNSET,
        ledger: "str | Ledger | None" = None,
        secret: str | Sequence[str] | None = None,
        realm: str | None = None,
        public_origin: str | None = None,
        limit: Limit | str | None = None,
        retention: Retention | str | None = None,
        hash_payers: bool | None = None,
        otel: "bool | Otel | None" = None,
        client_of: Callable[[HttpRequest], str] | None = None,
        payer_of: Callable[[HttpRequest], str | None] | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.perf_counter,
        tokens: Callable[[], str] = entropy.token,
    ) -> None:
        if rail not in RAILS:
            raise WiringError(f"there is no rail {rail!r}; known: {', '.join(RAILS)}")
        self.settings: Settings = read_settings(
            secret=secret,
            realm=realm,
            public_origin=public_origin,
            price=None if isinstance(price, _Unset) else not_none(price),
            ledger=ledger if isinstance(ledger, str) else None,
            limit=limit,
            retention=retention,
            hash_payers=hash_payers,
            otel=otel if otel is None or isinstance(otel, bool) else True,
        )
        self._otel = telemetry(otel, self.settings.otel)
        self._gate, self._observer = guards(self._otel)
        self._provider = provider
        self._rail = rail
        self._clock = clock
        self._ledger_given = None if isinstance(ledger, str) else ledger
        self._ledger: Ledger | None = None
        self._client_of = client_of
        self._payer_of = payer_of
        self._monotonic = monotonic
        self._tokens = tokens
        self._keyring = Keyring(self.settings.secrets) if self.settings.secrets else None
        self._limiter = Limiter(self.settings.limit) if self.settings.limit else None
        self._methods: set[str] = set()
        self._roster = Roster(provider)
        self._by_live: dict[bool, str] = {}
        self._seldom = Seldom()

    def __repr__(self) -> str:
        return f"<Flovia realm={self.settings.realm!r}>"

    @property
    def ledger(self) -> "Ledger":
        """The ledger, opened on first use.

        Raises:
            WiringError: it cannot be opened.
        """
        if self._ledger is None:
            self._ledger = self._open_ledger() if self._ledger_given is None else self._ledger_given
            if not self._ledger.shared:
                self._check_workers("a memory ledger forgets and cannot be shared")
                _log.warning("payments are kept in memory: for one process, and only until it ends (FLOVIA_LEDGER)")
        return self._ledger

    @property
    def ledger_url(self) -> str | None:
        """Where the ledger is; None if it was given as an object. May hold a password: never show it."""
        return self.settings.ledger if self._ledger_given is None else None

    def _check_workers(self, why: str) -> None:
        if self.settings.workers > 1:
            raise WiringError(
                f"{self.settings.workers} workers (WEB_CONCURRENCY or FLOVIA_WORKERS), but {why}:"
                " set FLOVIA_LEDGER=sqlite:///… and FLOVIA_SECRET, or run one worker"
            )

    def paid_api(
        self,
        *,
        provider: str | Provider | None = None,
        rail: str | None = None,
        price: PriceLike | _Unset = UNSET,
        offers: Sequence[Offer] | None = None,
        description: str | None = None,
        name: str | None = None,
        expires_in: int = 300,
        redeem_for: float = 7 * DAY_S,
        deliver_within: float = 60.0,
        max_deliveries: int = MAX_DELIVERIES,
        delivery: Delivery | None = None,
        digest: bool = True,
        max_body: int = 1 << 20,
        use_payment_authorization: Callable[[HttpRequest], bool] | bool = False,
    ) -> PaidApi:
        """Guard one route.

        With a price (here, in ``Flovia(price=…)`` or FLOVIA_PRICE) or with ``offers``: a gate. With none: an
        observer in front of a handler that has its own gate.

        Args:
            provider: a name or a provider object.
            rail: the protocol; ``mpp``.
            price: ``"1.00 SGD"``, a Price, or a function of the :class:`HttpRequest` that returns one of them.
            offers: several ways to pay, instead of provider and price.
            description: for people, in the challenge.
            name: what events call this endpoint; default: the route.
            expires_in: life of a challenge, seconds.
            redeem_for: how long a paid, undelivered credential can be redeemed, seconds.
            deliver_within: how long a delivery may take before the credential can be redeemed again, seconds.
            max_deliveries: deliveries that may be begun for one payment.
            delivery: what counts as delivered, what becomes of a payment whose answer failed, and how long answers
                are kept for an Idempotency-Key.
            digest: bind the request's body into the challenge; False never reads it.
            max_body: bytes of body that are read for the digest; above that, 413.
            use_payment_authorization: credentials travel in ``Payment-Authorization``, so that
                ``Authorization`` stays the app's own; a function decides per request.

        Raises:
            WiringError: the route cannot be set up; the message says what to do.
        """
        rail = self._check_rail(rail)
        chosen = self._offers(provider, price, offers, description)
        if not chosen:
            if delivery is not None:
                raise WiringError("delivery=… is for a route with a price; behind an observer the handler delivers")
            return self.observe(provider=provider, rail=rail, name=name)
        check_route(
            chosen,
            expires_in=expires_in,
            redeem_for=redeem_for,
            deliver_within=deliver_within,
            max_deliveries=max_deliveries,
            max_body=max_body,
            delivery=delivery,
        )
        gate = self._gate(
            self._services(chosen),
            offers=chosen,
            rail=rail,
            name=name,
            ttl_s=expires_in,
            redeem_for_s=redeem_for,
            deliver_within_s=deliver_within,
            max_deliveries=max_deliveries,
            delivery=delivery or Delivery(),
            bind_body=digest,
            max_body=max_body,
            use_payment_authorization=use_payment_authorization,
        )
        return PaidApi(gate, self._world())

    def observe(
        self, *, provider: str | Provider | None = None, rail: str | None = None, name: str | None = None
    ) -> PaidApi:
        """Watch a route whose handler has its own payment gate. Needs no secret.

        Raises:
            WiringError: the provider or rail is unknown.
        """
        rail = self._check_rail(rail)
        chosen = provider if provider is not None else self._provider
        if chosen is None:
            raise WiringError(
                "say who takes the payment and what it costs: paid_api(provider='mock', price='1.00 SGD');"
                " or, for a handler with a gate of its own, which provider that is: observe(provider='hitpay')"
            )
        label, field, reading = observed(chosen)
        guard = self._observer(
            self._services(()), provider=label, receipt_header=field, reading=reading, rail=rail, name=name
        )
        return PaidApi(guard, self._world())

    def close(self) -> None:
        """Write what is buffered and let go of the ledger."""
        if self._ledger is not None:
            self._ledger.close()

    # --- wiring ---------------------------------------------------------------------------------------------

    def _check_rail(self, rail: str | None) -> str:
        if rail is not None and rail not in RAILS:
            raise WiringError(f"there is no rail {rail!r}; known: {', '.join(RAILS)}")
        return rail or self._rail

    def _world(self) -> runtime.World:
        watch = None if self._otel is None else self._otel.call
        return runtime.World(ledger=self.ledger, clock=self._clock, tokens=self._tokens, watch=watch)

    def _offers(
        self,
        provider: str | Provider | None,
        price: PriceLike | _Unset,
        offers: Sequence[Offer] | None,
        description: str | None,
    ) -> list[CoreOffer]:
        if offers is not None:
            if provider is not None or not isinstance(price, _Unset):
                raise WiringError("give either offers=[…] or provider and price, not both")
            if not offers:
                raise WiringError("offers=[] would leave nobody a way to pay; list at least one Offer")
        else:
            if isinstance(price, _Unset):
                if self.settings.price is None:
                    return []
                price = self.settings.price
            chosen = provider if provider is not None else self._provider
            if chosen is None:
                raise WiringError("say who takes the payment: paid_api(provider='mock', price='1.00 SGD')")
            offers = [Offer(provider=chosen, price=price, description=description)]
        ready: list[CoreOffer] = []
        for offer in offers:
            if not isinstance(cast("object", offer), Offer):
                raise WiringError(f"{offer!r} is no offer; write Offer(provider='mock', price='1.00 SGD')")
            found = self._roster.find(offer.provider)
            if isinstance(cast("object", found), type):
                raise WiringError(f"provider={getattr(found, '__name__', '')} is the class; make one: provider=…()")
            value = checked_price(offer.price)
            ready.append(
                CoreOffer(
                    provider=found,
                    price=Price.parse(value) if isinstance(value, str) else value,
                    description=offer.description or description,
                )
            )
        check_distinct(ready)
        return ready

    def _services(self, offers: Sequence[CoreOffer]) -> Services:
        for offer in offers:
            self._by_live.setdefault(offer.provider.live, offer.provider.name)
        if len(self._by_live) == 2:
            raise WiringError(
                f"provider {self._by_live[False]!r} accepts made-up payments and is refused beside the live provider"
                f" {self._by_live[True]!r}; remove it, or keep it in an app of its own"
            )
        if offers and self._keyring is None:
            self._keyring = self._random_keyring()
        services = Services(
            ledger=self.ledger,
            clock=self._clock,
            monotonic=self._monotonic,
            tokens=self._tokens,
            realm=self.settings.realm,
            keyring=self._keyring,
            origin=self.settings.origin,
            limiter=self._limiter,
            client_of=self._client_of,
            payer_of=self._payer_of,
            known_methods=self._methods,
        )
        return watched(services, self._otel)

    def _random_keyring(self) -> Keyring:
        remedy = 'set FLOVIA_SECRET to the output of: python -c "import secrets; print(secrets.token_urlsafe(32))"'
        if self._by_live.get(True):
            raise WiringError(f"provider {self._by_live[True]!r} takes real money and needs a secret: {remedy}")
        self._check_workers("without FLOVIA_SECRET each of them would refuse the challenges of the others")
        _log.warning("no FLOVIA_SECRET: using a random one, good for this process only; %s", remedy)
        return Keyring([os.urandom(32)])


_default: Flovia | None = None


def default() -> Flovia:
    """The Flovia of the module's own ``paid_api``: everything from the environment, made on first use."""
    global _default
    if _default is None:
        _default = Flovia()
    return _default


class RouteSettings(TypedDict, total=False):
    """The keywords of :meth:`Flovia.paid_api`, for functions that pass them on."""

    provider: str | Provider
    rail: str
    price: PriceLike
    offers: Sequence[Offer]
    description: str
    name: str
    expires_in: int
    redeem_for: float
    deliver_within: float
    max_deliveries: int
    delivery: Delivery
    digest: bool
    max_body: int
    use_payment_authorization: Callable[[HttpRequest], bool] | bool


def paid_api(**settings: Unpack[RouteSettings]) -> PaidApi:
    """Guard one route, with everything else from the environment. See :meth:`Flovia.paid_api`.

    Raises:
        WiringError: the route cannot be set up; the message says what to do.
    """
    return default().paid_api(**settings)


def observe(*, provider: str | Provider, rail: str = "mpp", name: str | None = None) -> PaidApi:
    """Watch a route whose handler has its own gate. See :meth:`Flovia.observe`.

    Raises:
        WiringError: the provider or rail is unknown.
    """
    return default().observe(provider=provider, rail=rail, name=name)


def as_paid_api(paid: PaidApi | None = None, /, **settings: Unpack[RouteSettings]) -> PaidApi:
    """What an adapter's ``paid`` takes: a PaidApi, or the keywords of :func:`paid_api`.

    Raises:
        WiringError: both, or something that is neither.
    """
    if paid is None:
        return paid_api(**settings)
    if settings:
        raise WiringError("give either a PaidApi or the keywords of paid_api, not both")
    if not isinstance(cast("object", paid), PaidApi):
        if isinstance(cast("object", paid), Flovia):
            raise WiringError("a Flovia is not a guard; give flo.paid_api(price='1.00 SGD')")
        raise WiringError(
            f"a {type(paid).__name__} is not a guard. Write paid(provider='mock', price='1.00 SGD'), with its"
            " parentheses, or paid(gate, …) with gate = flovia.paid_api(...)"
        )
    return paid
