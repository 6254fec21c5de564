"""The limits of signed tokens and key sets, each a setting. HitPay publishes none of them: they are our choice."""

import attrs

from flovia.core.errors import WiringError
from flovia.signed.names import DEFAULT_NAMES, ClaimNames


@attrs.frozen(kw_only=True)
class SignedLimits:
    """What is read, how long keys are kept, how often they are asked for. Sizes in bytes, times in seconds.

    Args:
        max_token: longest compact JWS. Grants are about 1 KB, a credential at most 16 KiB.
        max_header: longest decoded JOSE header.
        max_depth: deepest nesting of header and claims.
        skew_s: how far the issuer's clock and ours may differ (``iat``, ``nbf``, ``exp``).
        max_set: longest JWKS document.
        max_keys: most keys in it; more make the set unusable.
        fetch_s: deadline of one fetch.
        default_age_s: how long a set is fresh if its ``Cache-Control`` names no ``max-age``.
        min_age_s: the least a ``max-age`` counts, so that no answer makes us ask all the time.
        max_age_s: the most a ``max-age`` counts.
        cool_down_s: after a fetch for an unknown ``kid``, the next one waits this long. Tokens that the issuer itself
            handed to us have a fetch and a cool-down of their own.
        failure_s: after a failed fetch, the next one waits this long.
        last_good_s: how long the last good set serves while the issuer is down.
        retired_s: how long a key that is no longer published still verifies what was signed while it was. Receipts
            redeem for 7 days. 0 forgets a key with the first set that does not have it.
        strict_receipt_typ: None accepts every ``typ`` but a grant's in a receipt; a text accepts that one alone.
        path: where on the issuer's origin the set is.
        issuer: what a token has to say in ``iss``; None is the origin that its keys are asked of.
        names: what the claims are called.
    """

    max_token: int = 8192
    max_header: int = 2048
    max_depth: int = 8
    skew_s: float = 60.0
    max_set: int = 64 * 1024
    max_keys: int = 32
    fetch_s: float = 5.0
    default_age_s: float = 600.0
    min_age_s: float = 60.0
    max_age_s: float = 86400.0
    cool_down_s: float = 60.0
    failure_s: float = 10.0
    last_good_s: float = 86400.0
    retired_s: float = 7 * 86400.0
    strict_receipt_typ: str | None = None
    path: str = "/.well-known/jwks.json"
    issuer: str | None = None
    names: ClaimNames = DEFAULT_NAMES

    def __attrs_post_init__(self) -> None:
        for field in attrs.fields(SignedLimits):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and value <= 0 and field.name not in ("skew_s", "retired_s"):
                raise WiringError(f"SignedLimits({field.name}={value}): it has to be more than 0")
        if self.skew_s < 0 or self.retired_s < 0:
            raise WiringError("SignedLimits: skew_s and retired_s cannot be less than 0")
        if not self.min_age_s <= self.default_age_s <= self.max_age_s:
            raise WiringError("SignedLimits: min_age_s <= default_age_s <= max_age_s is not so")
        if not self.path.startswith("/"):
            raise WiringError(f"SignedLimits(path={self.path!r}): a path on the issuer's origin starts with /")
        if self.issuer is not None and not self.issuer:
            raise WiringError(
                "SignedLimits(issuer=''): say what tokens have in iss, or None for the origin of the keys"
            )


DEFAULT_LIMITS = SignedLimits()
