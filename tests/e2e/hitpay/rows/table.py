"""HitPay's documented behaviour, row by row, and what must hold; the tests that play a row say so with ``@plays``.

``docs/requirements.md`` shows the table with its tests, and ``tests/test_requirements.py`` that no row is without.
"""

from collections.abc import Callable
from typing import Final, TypeVar

Test = TypeVar("Test", bound=Callable[..., object])

ROWS: Final[dict[str, str]] = {
    "402 usable by spec clients": "pympp and mppx read the 402 of both profiles; HitPay's body is in dual.",
    "Mixed methods": "One route offers HitPay and another method: mppx reads the list, and agents pay by either.",
    "Pay then retry": "200, both receipt headers, and the signed receipt verifies.",
    "Not paid yet": "402 with the same challenge, and no second charge at the broker.",
    "Cross-URL replay": "A credential for one URL is refused at another, before the broker is called.",
    "Double use, 50 concurrent": "One paid charge is delivered exactly once.",
    "Expired / late pay": "402 with a fresh challenge; money that came late is listed for a refund.",
    "Lost webhook / stuck broker": "The core API unlocks what was paid where that is enabled, by the lag rule.",
    "Duplicate + reordered webhooks": "Each is answered 200; the state moves once, and forward only.",
    "Wrong salt / altered raw body": "401, and no state changes.",
    "Saved method life": "Approve, charge, exceed each cap, detach: the codes are right, no money beyond the grant.",
    "Unknown outcome on B7": "A retry under the same nonce gets the original receipt; one debit.",
    "Key rotation": "One refetch, then success; a flood of unknown key ids makes at most one fetch in 60 s.",
    "Type confusion": "A grant is no receipt, a receipt no grant.",
    "Zero-decimal / bounds": "50000 IDR is sent as `50000`; 0.29 SGD and 10.50 IDR are refused at start.",
    "Broker down / slow": "503 within the deadline, no secret in body, log or journal.",
    "Environment mix-up": "A test key for the production broker is refused at start.",
    "PoC contract": "Without a key 503 `hitpay_mpp_not_configured`; POST gets 405.",
}

ELSEWHERE: Final[dict[str, tuple[str, ...]]] = {
    "402 usable by spec clients": (
        "tests/interop/test_hitpay_challenges.py::test_pympp_reads_it_and_recomputes_the_id",
        "tests/interop/test_hitpay_challenges.py::test_mppx_reads_it_and_recomputes_the_id",
    ),
    "Mixed methods": ("tests/interop/test_hitpay_challenges.py::test_mppx_reads_it_and_recomputes_the_id",),
    "Pay then retry": (
        "tests/e2e/hitpay/test_hitpay.py::test_pay_then_retry",
        "tests/e2e/browser/test_checkout.py::test_a_person_pays",
    ),
    "Not paid yet": ("tests/e2e/hitpay/test_hitpay.py::test_pending",),
    "Cross-URL replay": ("tests/e2e/hitpay/test_hitpay.py::test_another_url",),
    "Double use, 50 concurrent": ("tests/e2e/hitpay/test_hitpay.py::test_fifty_at_once",),
    "Expired / late pay": (
        "tests/e2e/hitpay/test_hitpay.py::test_expired",
        "tests/e2e/hitpay/test_hitpay.py::test_late_and_refunded",
    ),
    "Lost webhook / stuck broker": (
        "tests/e2e/hitpay/test_hitpay.py::test_stuck_broker",
        "tests/e2e/browser/test_checkout.py::test_a_stuck_broker",
    ),
    "Duplicate + reordered webhooks": (
        "tests/e2e/hitpay/test_hitpay.py::test_webhooks",
        "tests/e2e/hitpay/test_hitpay.py::test_webhooks_in_the_other_order",
    ),
    "Wrong salt / altered raw body": ("tests/e2e/hitpay/test_hitpay.py::test_webhooks",),
    "Saved method life": (
        "tests/e2e/hitpay/test_hitpay.py::test_bind_and_charge",
        "tests/e2e/hitpay/test_hitpay.py::test_detached",
        "tests/sandbox/test_saved.py::test_nothing_beyond_the_grant",
    ),
    "Unknown outcome on B7": ("tests/e2e/hitpay/test_hitpay.py::test_a_lost_answer",),
    "Key rotation": (
        "tests/e2e/hitpay/test_hitpay.py::test_key_rotation",
        "tests/signed/test_jwks.py::test_a_flood_of_unknown_kids_makes_one_fetch_a_minute",
    ),
    "Type confusion": (
        "tests/e2e/hitpay/test_hitpay.py::test_a_grant_is_no_receipt_and_no_other_way_round",
        "tests/e2e/hitpay/test_hitpay.py::test_a_receipt_that_proves_nothing",
    ),
    "Zero-decimal / bounds": (
        "tests/providers/hitpay/test_amounts.py::test_the_texts_of_hitpays_samples",
        "tests/providers/hitpay/test_amounts.py::test_refused_at_configuration",
        "tests/client/hitpay/test_wallet.py::test_rupiah_are_rupiah",
    ),
    "Broker down / slow": ("tests/e2e/hitpay/test_hitpay.py::test_broker_down",),
    "Environment mix-up": ("tests/e2e/hitpay/test_hitpay.py::test_a_test_key_for_production",),
    "PoC contract": ("tests/e2e/hitpay/test_hitpay.py::test_without_a_key",),
}
"""Tests of the same, with the sandbox in the test's own process, or of one part alone."""


def plays(*rows: str) -> Callable[[Test], Test]:
    """Mark a test as playing these rows; a name that is no row is a mistake."""
    assert set(rows) <= ROWS.keys(), rows
    return lambda test: test
