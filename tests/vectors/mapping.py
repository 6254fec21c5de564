"""Where each public vector without an operation of the conformance program is shown instead.

``SHOWN`` names the tests: a row of the behaviour table (``row:…``), which runs on every adapter over real
servers, or a test function. ``DEFERRED`` waits for a part of flovia that does not exist yet. ``CONTESTED`` are
vectors we answer differently on purpose.
"""

from typing import Final

CONTESTED: Final = {
    "challenge-id/with_payment_authorization_header": (
        "The vector binds `header` before `opaque`, as the SDKs do; drafts -01 and -02 append it after (open as "
        "mpp-specs#357). Only the issuer checks ids, so we follow the draft and do not advertise `header` by default."
    ),
}

DEFERRED: Final = {
    "flows/discovery_document": "discovery: /openapi.json does not exist yet",
    "flows/json_rpc_mcp_payment": "MCP: the JSON-RPC transport does not exist yet",
}

_CLIENT: Final = "tests/client/test_requirements.py::"
_EXTERNAL_IDS: Final = ("tests/vectors/test_vectors.py::test_external_ids", "row:external-id")
_TAMPERED: Final = tuple(f"row:tampered-{number}" for number in range(20))

SHOWN: Final[dict[str, tuple[str, ...]]] = {
    "external-id-binding/matching_external_id_returns_bound_receipt": _EXTERNAL_IDS,
    "external-id-binding/forged_payload_external_id_rejected": _EXTERNAL_IDS,
    "external-id-binding/payload_only_external_id_not_attributed": _EXTERNAL_IDS,
    "external-id-binding/missing_payload_external_id_rejected_when_request_bound": _EXTERNAL_IDS,
    "flows/success_charge": ("row:paid",),
    "flows/verification_error": ("row:declined",),
    "flows/invalid_payload": tuple(f"row:payload-{number}" for number in range(5)),
    "flows/expired_challenge": ("row:expired",),
    "flows/missing_authorization": ("row:unpaid",),
    "flows/mismatched_request": _TAMPERED,
    "flows/invalid_challenge_id": _TAMPERED,
    "flows/missing_challenge_expires_rejected": _TAMPERED,
    "flows/no_receipt_header": (f"{_CLIENT}test_a_bad_receipt_is_reported_not_fatal",),
    "flows/invalid_www_authenticate": (f"{_CLIENT}test_c01_malformed_challenges_are_not_paid",),
    "flows/non_402_error": (f"{_CLIENT}test_what_costs_nothing_passes_untouched",),
    "flows/free_endpoint": ("row:free",),
    "flows/post_body_preserved_on_retry": (f"{_CLIENT}test_c05_the_body_is_sent_again_byte_for_byte", "row:body"),
    "flows/body_digest_match": ("row:body",),
    "flows/body_digest_mismatch": ("row:body-changed",),
    "flows/cache_headers_success": ("row:unpaid", "row:paid", "row:cache-public"),
    "flows/problem_details_retry_after_no_receipt": ("row:pending", "row:paid-less"),
    "flows/accept_payment_preference": (
        "row:accept-payment-3",
        f"{_CLIENT}test_says_which_methods_it_pays_with",
    ),
    "flows/cross_origin_redirect_before_402_rejected": (
        f"{_CLIENT}test_c13_an_unpaid_redirect_carries_nothing",
        f"{_CLIENT}test_c13_a_redirect_after_paying_raises",
    ),
    "flows/idempotent_post_side_effect": ("row:side-effect-once",),
    "flows/route_bound_basic_charge": ("row:paid",),
    "flows/cross_route_credential_replay_rejected": ("row:bound-to-price", "row:bound-to-route"),
    "flows/query_bound_charge": ("row:answer-of-/search",),
    "flows/query_replay_rejected": ("row:bound-to-query", "row:bound-to-tier"),
    "flows/concurrent_replay_rejected": ("tests/ledger/test_races.py::test_one_winner", "row:used-twice"),
    "server-verification/valid_credential_verified": ("row:paid",),
    "server-verification/missing_credential_expires_rejected_with_route_expiry": ("row:signed-elsewhere",),
    "server-verification/expired_credential_rejected": ("row:expired", "row:long-expired"),
    "server-verification/tampered_challenge_id_rejected": _TAMPERED,
    "server-verification/realm_mismatch_rejected": ("row:signed-elsewhere",),
    "server-verification/request_mismatch_rejected": ("row:bound-to-price", "row:price-rose"),
    "server-verification/method_mismatch_rejected": ("row:method-unsupported",),
    "server-verification/intent_mismatch_rejected": ("row:signed-elsewhere",),
    "server-verification/intent_verification_error_reported": ("row:declined",),
}
