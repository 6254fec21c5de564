"""Whether a store is known to fail: what its calls have told."""

from collections.abc import Callable


class Health:
    """What a database's calls tell of it.

    A store that failed counts as failing until something has been written again: that somebody has not asked it for
    a while is no news of it, and a database that can only be read takes no payments.

    Args:
        monotonic: seconds.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self.failed_at = float("-inf")
        """When a call failed last."""
        self.failing = False

    def failed(self) -> None:
        """A call could not be done, or nobody knows whether it was."""
        self.failed_at = self._monotonic()
        self.failing = True

    def wrote(self, begun_at: float) -> None:
        """A write that began then is durable."""
        if self.failing and begun_at >= self.failed_at:
            self.failing = False

    def well(self, cool_down_s: float) -> bool:
        """Whether it works, and has for so long not failed. Never waits."""
        return not self.failing and self._monotonic() - self.failed_at >= cool_down_s
