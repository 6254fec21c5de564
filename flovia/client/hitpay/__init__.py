"""Wallets that pay by HitPay: a person at a checkout page, or a wallet that was saved once.

::

    from flovia.client.hitpay import HitPayWallet

    wallet = HitPayWallet(broker="https://sandbox.mpp.hitpay.dev")  # shows link and QR code, waits for the person
    transport = PayingTransport(wallet, budget=Budget("5.00 SGD"))

Receipts are verified against the broker's keys, and links come with a QR code: both need the extra ``wallet``.
"""

from flovia.client.hitpay.grants import GrantFiles, GrantInfo
from flovia.client.hitpay.names import WalletNames
from flovia.client.hitpay.pins import BROKER, Checkout, Pins
from flovia.client.hitpay.saved import SavedMethodWallet
from flovia.client.hitpay.terminal import qr_text, show_in_terminal
from flovia.client.hitpay.wallet import HitPayWallet

__all__ = [
    "BROKER",
    "Checkout",
    "GrantFiles",
    "GrantInfo",
    "HitPayWallet",
    "Pins",
    "SavedMethodWallet",
    "WalletNames",
    "qr_text",
    "show_in_terminal",
]
