"""Forms that change something: only from a page of this very site, and no larger than they can be."""

from contextlib import aclosing
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

from flovia.core.errors import CallerError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

MOST: Final = 64 * 1024
"""Bytes of a form."""
MEMBERS: Final = 20
FORM: Final = "application/x-www-form-urlencoded"


def is_same_origin(request: "Request", *known: str) -> bool:
    """Whether a browser says that a page of this origin sent the form.

    Another site's page can make a browser send a form here, with the visitor's cookies or from the visitor's machine.
    Browsers say in ``Sec-Fetch-Site`` who sent it; to an origin without TLS that is not this machine they do not, and
    there ``Origin`` says it. Where both are missing, it is no browser's form.

    Args:
        request: the POST.
        known: origins that are this site's, besides the one that the request was sent to: behind a proxy only the app
            knows.
    """
    headers = request.headers
    if len(headers.getlist("sec-fetch-site")) > 1 or len(headers.getlist("origin")) > 1:
        return False
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        return site == "same-origin"
    own = {f"{request.url.scheme}://{headers.get('host', '')}".lower(), *(one.lower() for one in known)}
    return origin is not None and origin.lower() in own


async def read_form(request: "Request") -> "Mapping[str, str]":
    """The members of a form, each once.

    Raises:
        CallerError: it is too large, or no form.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != FORM:
        raise CallerError(f"a form is sent as {FORM}")
    body = bytearray()
    async with aclosing(request.stream()) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > MOST:
                raise CallerError(f"a form has at most {MOST} bytes")
    try:
        found = parse_qs(body.decode("ascii"), keep_blank_values=True, max_num_fields=MEMBERS, errors="strict")
    except ValueError:
        raise CallerError("the form cannot be read") from None
    if any(len(values) > 1 for values in found.values()):
        raise CallerError("the form says something twice")
    return {name: values[0] for name, values in found.items()}
