"""The scope in the opaque parameter: what was issued for a request is read for it, and for no other."""

from hypothesis import given
from hypothesis import strategies as st

from flovia.core.http import Headers, HttpRequest
from flovia.core.scope import Scopes, opaque_param, read_opaque

TOKENS = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", min_size=22, max_size=22)
PATHS = st.text(max_size=40).map(lambda text: "/" + text)
EXTRAS = st.dictionaries(st.sampled_from(["charge", "rh", "zz"]), st.text("abc", max_size=9), max_size=2)


def request_to(path: str) -> HttpRequest:
    """A GET of this path."""
    return HttpRequest("GET", path, "", Headers.of(()))


def test_a_path_that_is_no_utf8_has_a_scope_of_its_own() -> None:
    """A server hands such bytes on as lone surrogates: nothing raises, and no two paths are taken for one."""
    scopes = Scopes("test")
    found = {scopes.of(request_to(path)) for path in ("/\udcff", "/\udcfe", "/?", "/\xff", "/")}
    assert 5 == len(found)


@given(nonce=TOKENS, path=PATHS, other=PATHS, extra=EXTRAS)
def test_an_opaque_parameter_is_read_for_its_own_request(
    nonce: str, path: str, other: str, extra: dict[str, str]
) -> None:
    """Read by comparing or by decoding: the same nonce, scope and additions; None for another path."""
    scopes = Scopes("test")
    text = opaque_param(nonce, scopes.of(request_to(path)), extra)
    decoded, found = read_opaque(text), scopes.read(text, request_to(path))
    assert (nonce, scopes.of(request_to(path)), extra) == (decoded.nonce, decoded.scope, found)
    assert (path == other) == (scopes.read(text, request_to(other)) is not None)
