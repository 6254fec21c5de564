"""Finding a provider by the name people write: the ones that ship with flovia, then entry points."""

from functools import cache
from typing import Final, cast

from flovia.core.errors import WiringError
from flovia.core.observed import Reading
from flovia.core.provider import Provider

GROUP: Final = "flovia.providers"
RAILS: Final = ("mpp",)

# What an Observer must know of a provider whose own SDK gates the route: the field that marks a paid answer.
OBSERVED_RECEIPT_FIELDS: Final = {"hitpay": "mpp-receipt", "mock": "payment-receipt"}


def find_provider(name: str) -> Provider:
    """The provider registered under ``name``.

    Raises:
        WiringError: nobody registered that name, or its entry point cannot be loaded.
    """
    if name == "mock":
        from flovia.providers.mock import MockProvider

        return MockProvider()
    if name == "hitpay":
        from flovia.providers.hitpay import HitPayProvider

        return HitPayProvider()
    from importlib.metadata import entry_points

    found = entry_points(group=GROUP)
    for entry in found:
        if entry.name == name:
            try:
                return cast(Provider, entry.load()())
            except Exception as error:
                raise WiringError(f"provider {name!r} could not be loaded from {entry.value}: {error}") from error
    known = sorted({"hitpay", "mock", *(entry.name for entry in found)})
    raise WiringError(
        f"there is no provider {name!r}; known: {', '.join(known)}. Install the package that registers it under"
        f" the entry point group {GROUP!r}, or pass the provider object itself"
    )


@cache
def is_registered(name: str) -> bool:
    """Whether :func:`find_provider` finds something under a name, and so do the commands; nothing is loaded."""
    from importlib.metadata import entry_points

    return name in OBSERVED_RECEIPT_FIELDS or any(entry.name == name for entry in entry_points(group=GROUP))


def observed_receipt_field(name: str) -> str:
    """The response field, in lower case, by which an Observer recognises a paid answer of this provider.

    Raises:
        WiringError: the provider is unknown.
    """
    field = OBSERVED_RECEIPT_FIELDS.get(name)
    return field if field is not None else find_provider(name).receipt_header


def observed(provider: str | Provider) -> tuple[str, str, Reading | None]:
    """What an Observer needs: the name, the field of a paid answer, and how the provider's SDK writes what is not in
    the protocol's own form (None: nothing is).

    Raises:
        WiringError: the provider is unknown.
    """
    if isinstance(provider, str):
        name, field = provider, observed_receipt_field(provider)
    else:
        name, field = provider.name, provider.receipt_header
    if name != "hitpay":
        return name, field, None
    from flovia.providers.hitpay.observed import DEFAULT_READING

    return name, field, cast("Reading", getattr(provider, "reading", DEFAULT_READING))


class Roster:
    """The providers of one app: the default one, and those that were asked for.

    A name stands for one object, so that what a provider keeps (a circuit breaker, keys) is kept once: for the one that
    the app has given under it, if there is one, and else for the one that is registered.
    """

    def __init__(self, default: str | Provider | None) -> None:
        self._default = default
        self._named: dict[str, Provider] = {}
        self._found: list[Provider] = []

    def find(self, provider: str | Provider) -> Provider:
        """The provider of a name, the same one each time; an object is itself.

        Raises:
            WiringError: nobody registered that name, or its entry point cannot be loaded.
        """
        if isinstance(provider, str):
            if provider not in self._named:
                self._named[provider] = self._given(provider) or find_provider(provider)
            provider = self._named[provider]
        if not any(known is provider for known in self._found):
            self._found.append(provider)
        return provider

    def _given(self, name: str) -> Provider | None:
        """The only object of that name that the app has given; None if there is none, or several."""
        given = [] if self._default is None or isinstance(self._default, str) else [self._default]
        given += [one for one in self._found if not any(one is other for other in given)]
        named = [one for one in given if one.name == name]
        return named[0] if len(named) == 1 else None

    @property
    def default(self) -> Provider | None:
        """The default provider, if there is one."""
        return None if self._default is None else self.find(self._default)

    def all(self) -> list[Provider]:
        """Every provider, the default one included."""
        _ = self.default  # which finds it, too
        return [*self._found]
