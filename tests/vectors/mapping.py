"""Where each public vector without an operation of the conformance program is shown instead.

``SHOWN`` names the behaviour and the requirement it belongs to; the tests of the fixture app carry the same
names. ``DEFERRED`` waits for a part of flovia that does not exist yet. ``CONTESTED`` are vectors we answer
differently on purpose.
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

SHOWN: Final = {
    "external-id-binding/matching_external_id_returns_bound_receipt": "S30: the receipt is made from bound data",
    "external-id-binding/forged_payload_external_id_rejected": "S04: nothing of the payload names an order",
    "external-id-binding/payload_only_external_id_not_attributed": "S04: nothing of the payload names an order",
    "external-id-binding/missing_payload_external_id_rejected_when_request_bound": "S30: the provider compares",
    "flows/success_charge": "S01, S23: 402, paid retry, 200 with a receipt",
    "flows/verification_error": "S06: a declined proof",
    "flows/invalid_payload": "S06: a payload the provider cannot read",
    "flows/expired_challenge": "S05: the clock moved past the expiry",
    "flows/missing_authorization": "S01: no credential",
    "flows/mismatched_request": "S04: the echoed request altered",
    "flows/invalid_challenge_id": "S04: the echoed id altered",
    "flows/missing_challenge_expires_rejected": "S10: the echoed expiry dropped",
    "flows/no_receipt_header": "client: a 200 without a receipt is a success",
    "flows/invalid_www_authenticate": "client: a challenge without a request is refused, nothing is paid",
    "flows/non_402_error": "client: a 500 passes through, nothing is paid",
    "flows/free_endpoint": "an ungated route",
    "flows/post_body_preserved_on_retry": "C05: the retry has the same body",
    "flows/body_digest_match": "S15: the digest of the same body",
    "flows/body_digest_mismatch": "S17: another body with a paid credential",
    "flows/cache_headers_success": "S26, S27: no-store and private",
    "flows/problem_details_retry_after_no_receipt": "S31: Retry-After where waiting helps, and no receipt",
    "flows/accept_payment_preference": "S32: the client's order of methods",
    "flows/cross_origin_redirect_before_402_rejected": "C09: no credential to another origin",
    "flows/idempotent_post_side_effect": "S42: one delivery per credential",
    "flows/route_bound_basic_charge": "S01: a route's own challenge",
    "flows/cross_route_credential_replay_rejected": "S04: a cheap route's credential on a dear one",
    "flows/query_bound_charge": "S01: a challenge for a path and its query",
    "flows/query_replay_rejected": "S04: another query",
    "flows/concurrent_replay_rejected": "S42: one of two at once",
    "server-verification/valid_credential_verified": "S01: a paid retry",
    "server-verification/missing_credential_expires_rejected_with_route_expiry": "S10: the echoed expiry dropped",
    "server-verification/expired_credential_rejected": "S05: the clock moved past the expiry",
    "server-verification/tampered_challenge_id_rejected": "S04: the echoed id altered",
    "server-verification/realm_mismatch_rejected": "S12: a challenge of another realm",
    "server-verification/request_mismatch_rejected": "S04: the echoed request altered",
    "server-verification/method_mismatch_rejected": "S30: a signed challenge of another method",
    "server-verification/intent_mismatch_rejected": "S30: a signed challenge of another intent",
    "server-verification/intent_verification_error_reported": "S06: a declined proof",
}
