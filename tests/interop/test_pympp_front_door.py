"""The tests use pympp as its documentation does."""

import importlib

import pytest

from tests.interop import pympp


@pytest.mark.parametrize(
    ("module", "name", "used"),
    [
        ("mpp", "Challenge", pympp.Challenge),
        ("mpp", "Credential", pympp.Credential),
        ("mpp", "ParseError", pympp.ParseError),
        ("mpp", "Receipt", pympp.Receipt),
        ("mpp.client", "PaymentTransport", pympp.PaymentTransport),
        ("mpp.client", "ClientMethod", pympp.ClientMethod),
        ("mpp.client", "CredentialParams", pympp.CredentialParams),
        ("mpp.server", "Mpp", pympp.Server),
        ("mpp.server", "Request", pympp.FrameworkRequest),
        ("mpp.server", "ServerMethod", pympp.ServerMethod),
        ("mpp.server", "VerifyContext", pympp.VerifyContext),
        ("mpp.server", "pay", pympp.pay),
    ],
)
def test_names_are_those_of_the_front_door(module: str, name: str, used: object) -> None:
    """What these tests import from inside pympp is what its front doors export under the same name."""
    assert getattr(importlib.import_module(module), name) is used
