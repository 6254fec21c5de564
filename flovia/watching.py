"""Which guards a Flovia makes: the plain ones, or those with spans and metrics, which are loaded only then."""

from typing import TYPE_CHECKING

from flovia.core.errors import WiringError
from flovia.core.gate import Gate
from flovia.core.guard import Services
from flovia.core.observer import Observer

if TYPE_CHECKING:
    from flovia.otel import Otel


def telemetry(given: "bool | Otel | None", wanted: bool) -> "Otel | None":
    """Where spans and metrics go: as given, else the global providers if they are wanted, else None.

    Raises:
        WiringError: the package is not there.
    """
    if not wanted:
        return None
    if given is not None and not isinstance(given, bool):
        return given
    try:
        from flovia.otel import Otel
    except ModuleNotFoundError as error:
        raise WiringError(str(error)) from None
    return Otel()


def guards(otel: "Otel | None") -> tuple[type[Gate], type[Observer]]:
    """The classes of guards."""
    if otel is None:
        return Gate, Observer
    from flovia.otel.guards import TracedGate, TracedObserver

    return TracedGate, TracedObserver


def watched(services: Services, otel: "Otel | None") -> Services:
    """What those guards share."""
    if otel is None:
        return services
    from flovia.otel.guards import traced

    return traced(services, otel)
