"""A local HitPay: the MPP broker, the part of HitPay's API that MPP touches, and the payer's pages. No money moves.

::

    with flovia.sandbox.serving() as sandbox:
        os.environ |= sandbox.environment  # HITPAY_API_KEY, HITPAY_MPP_ENDPOINT, …
        ...
        sandbox.pay(challenge_id)

Everything in it follows from a seed and the requests it gets: :func:`handle` is pure. It serves loopback only.
It shares no code with ``flovia.providers.hitpay``, so that one mistake cannot hide at both ends of a test.
"""

from flovia.core.errors import WiringError

try:
    from flovia.sandbox.control import ENDPOINTS
    from flovia.sandbox.core import ROUTES, Route, handle
    from flovia.sandbox.engine import Engine
    from flovia.sandbox.faults import HITPAY_LIMITS, KNOBS, LIMITS
    from flovia.sandbox.hashing import event_signature, form_signature, request_hash
    from flovia.sandbox.running import Sandbox
    from flovia.sandbox.serving import serving
    from flovia.sandbox.state import State, initial
    from flovia.sandbox.wire import Advance, Answered, Call, Post, Reply
except ModuleNotFoundError as error:
    package = (error.name or "flovia").partition(".")[0]
    if package == "flovia":
        raise
    raise WiringError(f"the sandbox needs {package}; install it with: pip install 'flovia[sandbox]'") from error

__all__ = [
    "ENDPOINTS",
    "HITPAY_LIMITS",
    "KNOBS",
    "LIMITS",
    "ROUTES",
    "Advance",
    "Answered",
    "Call",
    "Engine",
    "Post",
    "Reply",
    "Route",
    "Sandbox",
    "State",
    "event_signature",
    "form_signature",
    "handle",
    "initial",
    "request_hash",
    "serving",
]
