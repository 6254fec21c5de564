"""pympp's public names, and the mock method in its words.

pympp is typed, but its front doors (``mpp.client``, ``mpp.server``) re-export without saying so, which strict type
checkers refuse. So the names come from the modules that define them; ``test_pympp_front_door.py`` shows that they
are the very objects of the documented imports.
"""

from mpp import Challenge, Credential, Receipt, generate_challenge_id
from mpp._parsing import ParseError
from mpp.client.transport import PaymentTransport
from mpp.methods import Method
from mpp.runtime import ClientMethod, CredentialParams
from mpp.server.compose import ComposedHandler
from mpp.server.decorator import pay
from mpp.server.http import Request as FrameworkRequest
from mpp.server.method import ServerMethod, VerifyContext
from mpp.server.mpp import Mpp as Server
from pydantic import BaseModel, ConfigDict

__all__ = [
    "Challenge",
    "ClientMethod",
    "ComposedHandler",
    "Credential",
    "CredentialParams",
    "FrameworkRequest",
    "ParseError",
    "PaymentTransport",
    "ProofPayload",
    "Receipt",
    "Server",
    "ServerMethod",
    "VerifyContext",
    "generate_challenge_id",
    "mock_method",
    "pay",
]


class ChargeRequest(BaseModel):
    """What the mock method asks for."""

    model_config = ConfigDict(extra="allow")

    amount: str
    currency: str


class ProofPayload(BaseModel):
    """What the mock method is paid with."""

    proof: str


def mock_method(name: str = "mock") -> Method[ChargeRequest, ProofPayload]:
    """The mock provider's method for pympp, whose documentation says to add methods like this."""
    return Method(name=name, intent="charge", request_model=ChargeRequest, payload_model=ProofPayload)
