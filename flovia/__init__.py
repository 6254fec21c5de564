"""flovia: paid APIs over the Machine Payments Protocol, and the join of who paid with what was used.

::

    gate = flovia.paid_api(provider="hitpay", rail="mpp", price="1.00 SGD")

Names are loaded when they are first used, so importing flovia costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flovia.api import Flovia as Flovia
    from flovia.api import Offer as Offer
    from flovia.api import PaidApi as PaidApi
    from flovia.api import RouteSettings as RouteSettings
    from flovia.api import as_paid_api as as_paid_api
    from flovia.api import observe as observe
    from flovia.api import paid_api as paid_api
    from flovia.asgi import AsgiApp as AsgiApp
    from flovia.asgi import AsgiDelivery as AsgiDelivery
    from flovia.asgi import AsgiMessage as AsgiMessage
    from flovia.asgi import AsgiReceive as AsgiReceive
    from flovia.asgi import AsgiScope as AsgiScope
    from flovia.asgi import AsgiSend as AsgiSend
    from flovia.asgi import asgi_headers as asgi_headers
    from flovia.asgi import asgi_pieces as asgi_pieces
    from flovia.asgi import asgi_response as asgi_response
    from flovia.core.delivery import Delivery as Delivery
    from flovia.core.errors import CallerError as CallerError
    from flovia.core.errors import FloviaError as FloviaError
    from flovia.core.errors import HttpError as HttpError
    from flovia.core.errors import IllegalTransition as IllegalTransition
    from flovia.core.errors import LedgerError as LedgerError
    from flovia.core.errors import ParseError as ParseError
    from flovia.core.errors import PeerError as PeerError
    from flovia.core.errors import WiringError as WiringError
    from flovia.core.events import Event as Event
    from flovia.core.http import BODY_TOO_LARGE as BODY_TOO_LARGE
    from flovia.core.http import BODY_UNTERMINATED as BODY_UNTERMINATED
    from flovia.core.http import NO_BODY as NO_BODY
    from flovia.core.http import UNREAD_BODY as UNREAD_BODY
    from flovia.core.http import Body as Body
    from flovia.core.http import BodyMeter as BodyMeter
    from flovia.core.http import Headers as Headers
    from flovia.core.http import HttpRequest as HttpRequest
    from flovia.core.http import HttpResponse as HttpResponse
    from flovia.core.limiter import Limit as Limit
    from flovia.core.money import Price as Price
    from flovia.core.operator import Operator as Operator
    from flovia.core.owed import RefundDue as RefundDue
    from flovia.core.passage import Grant as Grant
    from flovia.core.passage import Passage as Passage
    from flovia.core.passage import Start as Start
    from flovia.core.passage import problem_response as problem_response
    from flovia.core.provider import NotPaid as NotPaid
    from flovia.core.provider import Paid as Paid
    from flovia.core.provider import PaidBack as PaidBack
    from flovia.core.provider import Provider as Provider
    from flovia.core.provider import Unknown as Unknown
    from flovia.core.refunding import RefundError as RefundError
    from flovia.core.refunding import RefundResult as RefundResult
    from flovia.core.retention import Retention as Retention
    from flovia.core.webhook import WebhookProvider as WebhookProvider
    from flovia.environ import WsgiDelivery as WsgiDelivery
    from flovia.environ import wsgi_body as wsgi_body
    from flovia.environ import wsgi_request as wsgi_request
    from flovia.environ import wsgi_response as wsgi_response
    from flovia.webhooks import WebhookReceiver as WebhookReceiver

_EXPORTS = {
    "asgi_pieces": "flovia.asgi",
    "WebhookReceiver": "flovia.webhooks",
    "WebhookProvider": "flovia.core.webhook",
    "Operator": "flovia.core.operator",
    "RefundResult": "flovia.core.refunding",
    "RefundError": "flovia.core.refunding",
    "RefundDue": "flovia.core.owed",
    "Retention": "flovia.core.retention",
    "Flovia": "flovia.api",
    "Offer": "flovia.api",
    "PaidApi": "flovia.api",
    "RouteSettings": "flovia.api",
    "as_paid_api": "flovia.api",
    "observe": "flovia.api",
    "paid_api": "flovia.api",
    "AsgiApp": "flovia.asgi",
    "AsgiDelivery": "flovia.asgi",
    "AsgiMessage": "flovia.asgi",
    "AsgiReceive": "flovia.asgi",
    "AsgiScope": "flovia.asgi",
    "AsgiSend": "flovia.asgi",
    "asgi_headers": "flovia.asgi",
    "asgi_response": "flovia.asgi",
    "Delivery": "flovia.core.delivery",
    "CallerError": "flovia.core.errors",
    "FloviaError": "flovia.core.errors",
    "HttpError": "flovia.core.errors",
    "IllegalTransition": "flovia.core.errors",
    "LedgerError": "flovia.core.errors",
    "ParseError": "flovia.core.errors",
    "PeerError": "flovia.core.errors",
    "WiringError": "flovia.core.errors",
    "Event": "flovia.core.events",
    "BODY_TOO_LARGE": "flovia.core.http",
    "BODY_UNTERMINATED": "flovia.core.http",
    "NO_BODY": "flovia.core.http",
    "UNREAD_BODY": "flovia.core.http",
    "Body": "flovia.core.http",
    "BodyMeter": "flovia.core.http",
    "Headers": "flovia.core.http",
    "HttpRequest": "flovia.core.http",
    "HttpResponse": "flovia.core.http",
    "Limit": "flovia.core.limiter",
    "Price": "flovia.core.money",
    "Grant": "flovia.core.passage",
    "Passage": "flovia.core.passage",
    "Start": "flovia.core.passage",
    "problem_response": "flovia.core.passage",
    "NotPaid": "flovia.core.provider",
    "Paid": "flovia.core.provider",
    "PaidBack": "flovia.core.provider",
    "Provider": "flovia.core.provider",
    "Unknown": "flovia.core.provider",
    "WsgiDelivery": "flovia.environ",
    "wsgi_body": "flovia.environ",
    "wsgi_request": "flovia.environ",
    "wsgi_response": "flovia.environ",
}

__version__ = "0.1.0"
__all__ = [
    "BODY_TOO_LARGE",
    "BODY_UNTERMINATED",
    "NO_BODY",
    "UNREAD_BODY",
    "AsgiApp",
    "AsgiDelivery",
    "AsgiMessage",
    "AsgiReceive",
    "AsgiScope",
    "AsgiSend",
    "Body",
    "BodyMeter",
    "CallerError",
    "Delivery",
    "Event",
    "Flovia",
    "FloviaError",
    "Grant",
    "Headers",
    "HttpError",
    "HttpRequest",
    "HttpResponse",
    "IllegalTransition",
    "LedgerError",
    "Limit",
    "NotPaid",
    "Offer",
    "Operator",
    "Paid",
    "PaidApi",
    "PaidBack",
    "ParseError",
    "Passage",
    "PeerError",
    "Price",
    "Provider",
    "RefundDue",
    "RefundError",
    "RefundResult",
    "Retention",
    "RouteSettings",
    "Start",
    "Unknown",
    "WebhookProvider",
    "WebhookReceiver",
    "WiringError",
    "WsgiDelivery",
    "__version__",
    "as_paid_api",
    "asgi_headers",
    "asgi_pieces",
    "asgi_response",
    "observe",
    "paid_api",
    "problem_response",
    "wsgi_body",
    "wsgi_request",
    "wsgi_response",
]


def __getattr__(name: str) -> object:
    module = _EXPORTS.get(name)
    if module is None:
        raise AttributeError(f"module 'flovia' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(module), name)
    return value


def __dir__() -> list[str]:
    return [*__all__, *(name for name in globals() if name.startswith("__"))]
