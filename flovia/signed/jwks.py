"""An issuer's keys: asked for seldom, from one pinned place, kept in the ledger for all workers.

What the cache holds against: a peer that makes up key names to have the issuer flooded (one refetch, then a cool-down),
a rotation (that one refetch), an issuer that is down (the last good set serves for a day), and an answer that is huge,
empty or ambiguous (it counts as no answer). Nobody's token is ever accepted because keys could not be had.

What the issuer itself has just handed to us has a refetch and a cool-down of its own: made-up names cannot use that up,
so after a rotation they hold up no payer.
"""

import re
from typing import Final
from urllib.parse import urlsplit

import attrs

from flovia.core.effects import Flow, HttpCall, HttpReply, http, now, recall, remember, sleep, token
from flovia.core.encoding import JsonObject
from flovia.core.errors import HttpError, ParseError, WiringError
from flovia.core.origin import is_loopback
from flovia.signed.claims import Expected, GrantClaims, ReceiptClaims, read_grant, read_receipt
from flovia.signed.errors import KeysUnavailable, UnknownKey
from flovia.signed.jws import GRANT, TypRule, open_jws, receipt_rule, verify_opened
from flovia.signed.keys import KeySet, PublicKey, read_jwks, require_joserfc, succeed
from flovia.signed.limits import DEFAULT_LIMITS, SignedLimits

NAMESPACE: Final = "jwks"
"""Where the ledger keeps key sets, fetch marks and cool-downs, keyed by origin."""

_POLL_S: Final = 0.2
_MAX_AGE: Final = re.compile(r'(?:^|[,;\s])max-age\s*=\s*"?([0-9]{1,10})(?![0-9])', re.ASCII | re.IGNORECASE).search


def issuer_origin(text: str) -> str:
    """An issuer's origin, checked: ``https://host[:port]``, or plain http on loopback.

    Raises:
        WiringError: anything else.
    """
    try:
        parts = urlsplit(text)
        host, _port = parts.hostname, parts.port
    except ValueError:
        parts, host = None, None
    if (
        parts is None
        or not host
        or not text.isascii()
        or parts.scheme not in ("https", "http")
        or parts.username is not None
        or parts.path not in ("", "/")
        or parts.query
        or parts.fragment
    ):
        raise WiringError(f"{text!r:.80} is not the origin of a token issuer: write https://mpp.example.com alone")
    if parts.scheme == "http" and not is_loopback(host):
        raise WiringError(f"{text!r:.80}: keys fetched over plain http prove nothing; use https (or loopback)")
    return f"{parts.scheme}://{parts.netloc.lower()}"


@attrs.frozen(kw_only=True)
class Jwks:
    """The keys of one issuer, and the verification of what it signed.

    ``origin``: where its keys are and, unless ``limits`` name an issuer, what its tokens say in ``iss``, for example
    ``https://mpp.hitpay.dev``. Two environments are two origins, whose keys never mix. Its flows ask for http,
    remember, recall, now, token and sleep.

    Raises:
        WiringError: the origin is not https (or loopback), or joserfc is not installed.
    """

    origin: str = attrs.field(converter=issuer_origin)
    limits: SignedLimits = DEFAULT_LIMITS

    def __attrs_post_init__(self) -> None:
        require_joserfc()

    def receipt(self, jws: str, *, from_issuer: bool = False) -> Flow[ReceiptClaims]:
        """The claims of a receipt, verified. Hold them against what was asked for with :meth:`ReceiptClaims.check`.

        ``from_issuer``: the issuer itself answered a call of ours with it. Not for a token that came from anybody else,
        the agent or the server at the other end: such a one could use up the fetch that real receipts need.

        Raises:
            BadToken: it proves nothing (UnknownKey: the issuer has no such key).
            KeysUnavailable: nobody can say now; the outcome is unknown.
        """
        claims = yield from self.claims(jws, receipt_rule(self.limits), from_issuer=from_issuer)
        return read_receipt(claims, (yield from self._expected(None)), self.limits)

    def grant(self, jws: str, *, audience: str | None = None, from_issuer: bool = False) -> Flow[GrantClaims]:
        """The claims of a saved-method grant, verified.

        ``audience``: who it must be for, if that is known. ``from_issuer``: as for :meth:`receipt`.

        Raises:
            BadToken, KeysUnavailable: as for :meth:`receipt`.
        """
        claims = yield from self.claims(jws, GRANT, from_issuer=from_issuer)
        return read_grant(claims, (yield from self._expected(audience)), self.limits)

    def claims(self, jws: str, typ: TypRule, *, from_issuer: bool = False) -> Flow[JsonObject]:
        """Any token's claims, once its signature has been verified; issuer and times are not looked at.

        ``from_issuer``: as for :meth:`receipt`.

        Raises:
            BadToken, KeysUnavailable: as for :meth:`receipt`.
        """
        opened = open_jws(jws, typ, self.limits)
        key = yield from self.key(opened.kid, from_issuer=from_issuer)
        return verify_opened(opened, key, self.limits)

    def key(self, kid: str, *, from_issuer: bool = False) -> Flow[PublicKey]:
        """The issuer's key of this name, fetched only if need be. ``from_issuer``: as for :meth:`receipt`.

        Raises:
            UnknownKey: a set fetched for this very question does not have it.
            KeysUnavailable: there is no set that may be used, or the question may not be asked again yet.
        """
        asked_at = yield from now()
        kept = yield from self._kept()
        fetched: KeySet | None = None
        if kept is None or kept.fresh_until <= asked_at:
            fetched = yield from self._refresh(kept, asked_at)
            if fetched is not None:
                kept = fetched
        if kept is None or (fetched is None and kept.fetched_at + self.limits.last_good_s <= asked_at):
            raise KeysUnavailable(
                f"the keys of {self.origin} cannot be had, and none are kept that may still be used: try again",
                retry_after_s=_seconds(self.limits.failure_s),
            )
        if kid in kept.keys:
            return kept.keys[kid]
        # What another worker fetched is kept in whole seconds, so it counts only if it is certainly newer.
        fetched_now = fetched is not None and fetched.fetched_at >= asked_at
        # Nothing is kept about the name: a stranger could make up the one that the issuer will use next.
        mark = f"cool issuer {self.origin}" if from_issuer else f"cool {self.origin}"
        return (yield from self._look_again(kid, kept, asked_at, mark, fetched_now=fetched_now))

    def _expected(self, audience: str | None) -> Flow[Expected]:
        return Expected(issuer=self.limits.issuer or self.origin, now=(yield from now()), audience=audience)

    # --- the cache ----------------------------------------------------------------------------------------

    def _kept(self) -> Flow[KeySet | None]:
        """The set in the ledger, however old."""
        text = yield from recall(NAMESPACE, self.origin)
        try:
            return None if text is None else KeySet.from_json(text)
        except ParseError:
            return None

    def _refresh(self, kept: KeySet | None, at: float) -> Flow[KeySet | None]:
        """Fetch because the set is missing or stale: one worker does, the others use the old one or wait.

        None if it failed or did so a moment ago.
        """
        name = f"fetch {self.origin}"
        own = yield from token()
        # Held as long as a fetch may take; after a failure it is written again, to hold for a while more.
        holder = yield from remember(NAMESPACE, name, own, ttl_s=self.limits.fetch_s + 1.0, if_absent=True)
        if holder == own:
            fetched = yield from self._fetch(kept, own)
            if fetched is None:
                yield from remember(NAMESPACE, name, "failed", ttl_s=self.limits.failure_s)
            return fetched
        if kept is not None and at < kept.fetched_at + self.limits.last_good_s:
            return None
        return (yield from self._await_fetch(name, holder, holder))

    def _look_again(self, kid: str, kept: KeySet, asked_at: float, name: str, *, fetched_now: bool) -> Flow[PublicKey]:
        """A key that no set has: fetch for it, but under one ``name`` at most once in ``cool_down_s``."""
        limits = self.limits
        own = yield from token()
        mine = f"{asked_at:.3f} {own}"
        mark = yield from remember(NAMESPACE, name, mine, ttl_s=limits.cool_down_s, if_absent=True)
        since, _, holder = mark.partition(" ")
        fetched: KeySet | None = None
        if fetched_now:
            pass  # for this very question; the mark keeps the next one from repeating it
        elif holder == own:
            fetched = yield from self._fetch(kept, own)
        else:
            # Perhaps somebody fetches for the same key at this moment: a rotation meets all workers at once.
            fetched = yield from self._await_fetch(name, mark, holder)
        if mark == mine:
            yield from remember(NAMESPACE, name, f"{since} done", ttl_s=limits.cool_down_s)
        if fetched is not None and kid in fetched.keys:
            return fetched.keys[kid]
        if fetched_now or (fetched is not None and (mark == mine or asked_at < float(since))):
            raise UnknownKey(f"the token's key (kid) is none of those {self.origin} publishes")
        raise KeysUnavailable(
            f"{self.origin} was asked for a new key moments ago, and is not asked again yet",
            retry_after_s=_seconds(float(since) + limits.cool_down_s - asked_at),
        )

    def _await_fetch(self, name: str, mark: str, fetch: str) -> Flow[KeySet | None]:
        """What somebody else fetches; None if that failed, or does not end in the time a fetch may take."""
        for _ in range(int(self.limits.fetch_s / _POLL_S) + 1):
            running = (yield from recall(NAMESPACE, name)) == mark
            kept = yield from self._kept()
            if kept is not None and kept.fetch == fetch:
                return kept
            if not running or fetch in ("failed", "done"):
                return None
            yield from sleep(_POLL_S)
        return None

    def _fetch(self, kept: KeySet | None, name: str) -> Flow[KeySet | None]:
        """Ask the issuer and keep what it says; None if that is nothing usable."""
        limits = self.limits
        call = HttpCall(
            http_method="GET",
            url=self.origin + limits.path,
            headers=(("accept", "application/jwk-set+json, application/json"),),
            deadline_s=limits.fetch_s,
            max_bytes=limits.max_set,
        )
        try:
            reply = yield from http(call)
            if reply.status != 200:
                return None
            published = read_jwks(reply.body, limits)
        except (HttpError, ParseError):
            return None
        at = yield from now()
        fresh = attrs.evolve(succeed(kept, published, at, _age_s(reply, limits), limits), fetch=name)
        keep_s = limits.last_good_s + limits.retired_s
        yield from remember(NAMESPACE, self.origin, fresh.to_json(), ttl_s=keep_s)
        return fresh


def _age_s(reply: HttpReply, limits: SignedLimits) -> float:
    """How long a set is fresh (RFC 9111 section 5.2.2.1), within the limits."""
    found = _MAX_AGE(", ".join(value for name, value in reply.headers if name == "cache-control"))
    if found is None:
        return limits.default_age_s
    return min(max(float(found[1]), limits.min_age_s), limits.max_age_s)


def _seconds(left: float) -> int:
    return max(1, int(left) + 1)
