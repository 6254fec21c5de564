"""The MPP broker's endpoints, B1 to B7, as flows: what is sent, and what of an answer is believed.

Any 2xx counts, unknown members are ignored, and a member that is needed and not as it should be makes the whole
answer count as none. Where HitPay has not published a name, it comes from :mod:`~flovia.providers.hitpay.names`.
"""

import re
from typing import Final
from urllib.parse import urlsplit

import attrs

from flovia.core.challenge import format_expires, parse_expires
from flovia.core.effects import Flow, now
from flovia.core.encoding import JsonObject, JsonValue
from flovia.core.errors import ParseError
from flovia.providers.hitpay.calls import Answer, HitPayDown, call, segment
from flovia.providers.hitpay.config import HitPayConfig
from flovia.providers.hitpay.names import member

MAX_URL: Final = 1024
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}").fullmatch


def is_id(text: str) -> bool:
    """Whether a text can be an id of HitPay's."""
    return _ID(text) is not None


@attrs.frozen(kw_only=True)
class Created:
    """A charge or a setup that waits for its payer. ``expires_at``: Unix seconds."""

    id: str
    checkout_url: str = attrs.field(repr=False)
    polling_url: str = attrs.field(repr=False)
    expires_at: float


@attrs.frozen(kw_only=True)
class SavedStatus:
    """Where a saved method stands. ``jws``: its grant, once it is active."""

    status: str
    jws: str | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class Setup:
    """What is asked of the broker to save a wallet. Amounts are HitPay's decimal texts."""

    payment_method: str
    customer_email: str = attrs.field(repr=False)
    currency: str
    max_amount_per_charge: str
    total_amount_cap: str | None = None
    valid_until: str | None = None
    max_uses: int | None = None


class Broker:
    """The calls, with the merchant's key on each that needs it."""

    def __init__(self, config: HitPayConfig) -> None:
        self._config = config
        self._origin = config.broker_endpoint.origin

    def _key(self) -> str:
        return self._config.api_key or ""

    def _post(self, path: str, body: dict[str, JsonValue]) -> Flow[Answer]:
        return call(self._config, "POST", self._origin, path, body=body)

    def _get(self, path: str, *, key: bool) -> Flow[Answer]:
        headers = ((self._config.saved_key_header, self._key()),) if key else ()
        return call(self._config, "GET", self._origin, path, headers=headers)

    def create_charge(
        self, *, amount: str, currency: str, description: str | None, nonce: str, request_hash: str
    ) -> Flow[Created]:
        """B1: a charge for one request. The same call with the same nonce returns the same charge.

        Raises:
            HitPayDown: no charge that could be paid; also if the broker refuses ours.
        """
        body: dict[str, JsonValue] = {
            "amount": amount,
            "currency": currency,
            "nonce": nonce,
            "request_hash": request_hash,
            "api_key": self._key(),
            **self._salt(),
        }
        if description is not None:
            body["description"] = description
        names = self._config.names
        said = _Said(
            id=names.created_id,
            checkout=(names.created_checkout,),
            polling=names.created_polling,
            expiry=names.created_expiry,
        )
        return (yield from self._created("/v1/charges", body, said))

    def poll(self, charge_id: str) -> Flow[str | None]:
        """B2: ``pending``, ``paid``, ``expired`` or what else the broker says; None if it does not know the charge.

        Raises:
            HitPayDown: no usable answer.
        """
        answer = yield from self._get(f"/v1/charges/{segment(charge_id)}", key=False)
        if answer.status in (404, 410):
            return None
        return _status(answer)

    def verify(self, charge_id: str, *, request_hash: str, nonce: str | None) -> Flow[Answer]:
        """B3: the receipt of a paid charge, or the status that says why there is none.

        Raises:
            HitPayDown: no usable answer.
        """
        names = self._config.names
        known = {
            "api_key": (names.verify_key, self._key()),
            "request_hash": (names.verify_hash, request_hash),
            "nonce": (names.verify_nonce, nonce),
        }
        body: dict[str, JsonValue] = dict(
            known[one] for one in self._config.verify_members if known[one][1] is not None
        )
        return (yield from self._post(f"/v1/charges/{segment(charge_id)}/verify", body))

    def options(self, currency: str) -> Flow[tuple[str, ...]]:
        """B4: the wallets that can be saved for a currency.

        Raises:
            HitPayDown: no usable answer.
        """
        names = self._config.names
        path = f"/v1/saved-payment-methods/options?{segment(names.options_currency)}={segment(currency)}"
        answer = yield from self._get(path, key=True)
        found = member(answer.members, names.options_list)
        if not answer.ok or not isinstance(found, list):
            raise HitPayDown("HitPay's list of wallets cannot be read: try again")
        wallets = (member(item, names.option_wallet) if isinstance(item, dict) else item for item in found)
        return tuple(name for name in wallets if isinstance(name, str) and _ID(name))

    def set_up(self, setup: Setup, *, nonce: str, request_hash: str) -> Flow[Created]:
        """B5: a page on which a customer binds a wallet.

        Raises:
            HitPayDown: no setup that could be used.
        """
        config = self._config
        body: dict[str, JsonValue] = {
            "api_key": self._key(),
            "payment_method": setup.payment_method,
            "customer_email": setup.customer_email,
            "currency": setup.currency,
            "max_amount_per_charge": setup.max_amount_per_charge,
            "request_hash": request_hash,
            "nonce": nonce,
            **self._salt(),
        }
        for name, value in (
            (config.setup_total_member, setup.total_amount_cap),
            (config.setup_until_member, setup.valid_until),
            (config.setup_uses_member, setup.max_uses),
        ):
            if value is not None:
                body[name] = value
        return (yield from self._created("/v1/saved-payment-methods", body, _SET_UP))

    def saved_status(self, saved_method_id: str) -> Flow[SavedStatus | None]:
        """B6: where a saved method stands; None if the broker does not know it.

        Raises:
            HitPayDown: no usable answer.
        """
        answer = yield from self._get(f"/v1/saved-payment-methods/{segment(saved_method_id)}", key=True)
        if answer.status == 404:
            return None
        status, jws = _status(answer), answer.members.get("saved_method_jws")
        return SavedStatus(status=status, jws=jws if isinstance(jws, str) else None)

    def charge_saved(
        self, saved_method_id: str, *, amount: str, currency: str, nonce: str, request_hash: str, grant: str
    ) -> Flow[Answer]:
        """B7: charge a saved wallet. Repeat it with the same nonce only: a new one is a new charge.

        Raises:
            HitPayDown: the outcome is unknown.
        """
        body: dict[str, JsonValue] = {
            "api_key": self._key(),
            "amount": amount,
            "currency": currency,
            "nonce": nonce,
            "request_hash": request_hash,
        }
        if self._config.send_grant:
            body[self._config.names.silent_grant] = grant
        return (yield from self._post(f"/v1/saved-payment-methods/{segment(saved_method_id)}/charges", body))

    # --- reading answers ----------------------------------------------------------------------------------

    def _salt(self) -> dict[str, JsonValue]:
        salts = self._config.webhook_salts
        return {"webhook_salt": salts[0]} if salts else {}

    def _created(self, path: str, body: dict[str, JsonValue], said: "_Said") -> Flow[Created]:
        try:
            answer = yield from self._post(path, body)
        except HitPayDown as down:
            if not down.called:
                raise
            # Once more, with the same nonce: if the first try arrived, this is that charge and no second one.
            answer = yield from self._post(path, body)
        if not answer.ok:
            raise HitPayDown(
                f"HitPay refuses to create a charge (status {answer.status}): check the key and the account",
                retry_after_s=5,
            )
        at = yield from now()
        found = _flat(answer.members)
        ident = member(found, said.id)
        if not isinstance(ident, str) or not _ID(ident):
            raise HitPayDown("HitPay's answer names no charge that can be paid")
        expires_at = at + self._config.charge_lifetime_s
        if (expiry := member(found, said.expiry)) is not None:
            try:
                expires_at = parse_expires(expiry if isinstance(expiry, str) else "")
                format_expires(int(expires_at))  # an offset may put it beyond the years that can be said
            except ParseError:
                raise HitPayDown("HitPay's answer says an expiry that cannot be read") from None
        if expires_at <= at:
            raise HitPayDown("HitPay's answer names a charge that has expired already: compare the clocks")
        polling = member(found, said.polling)
        checkout = next((url for name in said.checkout if (url := member(found, name)) is not None), None)
        return Created(
            id=ident,
            checkout_url=self._url(checkout),
            polling_url=self._url(f"{self._origin}{path}/{ident}" if polling is None else polling),
            expires_at=expires_at,
        )

    def _url(self, value: JsonValue) -> str:
        """An address for an agent to open: https, or this machine's in the local environment."""
        if isinstance(value, str) and len(value) <= MAX_URL and value.isascii() and value.isprintable():
            try:
                parts = urlsplit(value)
                local = self._config.broker_endpoint.environment == "local"
                plain = parts.hostname and parts.username is None and " " not in value
                if plain and (parts.scheme == "https" or (local and parts.scheme == "http")):
                    return value
            except ValueError:
                pass
        raise HitPayDown("HitPay's answer holds no address that an agent could open")


@attrs.frozen(kw_only=True)
class _Said:
    """What the members of an answer are called that names something to pay or to approve."""

    id: str
    checkout: tuple[str, ...]
    polling: str
    expiry: str


_SET_UP: Final = _Said(
    id="saved_method_id",
    checkout=("setup_checkout_url", "checkout_url"),
    polling="polling_url",
    expiry="expires_at",
)
"""As HitPay's sample 02 has them."""


def _flat(members: JsonObject) -> JsonObject:
    """The members, with those of ``methodDetails`` and of ``challenge.methodDetails`` where HitPay's SDK has them."""
    found: dict[str, JsonValue] = {}
    challenge = members.get("challenge")
    for holder in (challenge if isinstance(challenge, dict) else {}, members):
        details = holder.get("methodDetails")
        for part in (details if isinstance(details, dict) else {}, holder):
            found.update({name: value for name, value in part.items() if value is not None})
    return found


def _status(answer: Answer) -> str:
    found = answer.members.get("status")
    if not answer.ok or not isinstance(found, str):
        raise HitPayDown("HitPay's answer says no status: try again")
    return found
