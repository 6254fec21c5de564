"""The head of the response that an admitted request gets: what the handler said, and what the payment adds."""

from flovia.core.fields import payment_challenges
from flovia.core.http import Headers
from flovia.core.passage import DROP, DROP_CHALLENGES, PRIVATE, Passage, Start, private_cache_control


def response_head(passage: Passage, status: int, headers: Headers) -> Start:
    """The head of an admitted request's response: the receipt on 2xx only, never a shared cache."""
    settled, policy = passage.settled, passage.policy
    if status == 402 or settled is None or policy is None:
        # A 402 without a challenge must not leave us, and one with a challenge would ask twice.
        return Start(passage.raised())
    if status == 412:
        # It may carry the whole answer, and whoever sends an If-Match that fails has not been delivered to.
        return Start(passage.unfulfilled())
    cache_control = headers.get("cache-control")
    private = PRIVATE if cache_control is None else ("cache-control", private_cache_control(cache_control))
    drop = DROP
    kept: tuple[tuple[str, str], ...] = ()
    if asked := headers.get_all("www-authenticate"):
        # A payer is not asked to pay again; another scheme's challenge (a login) is the handler's business.
        drop = DROP_CHALLENGES
        kept = tuple(("www-authenticate", value) for value in asked if not payment_challenges([value]))
    if status < 300 and passage.problem is None and status in policy.statuses:
        if settled.headers:
            drop = drop | {name.lower() for name, _ in settled.headers}
        return Start(None, drop, (("payment-receipt", settled.receipt), private, *settled.headers, *kept))
    return Start(None, drop, (private, *kept))
