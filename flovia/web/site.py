"""The frame of every page: templates that escape, files that browsers keep, headers that let nothing else in."""

from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any, Final

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from flovia.words import moment, money, safe, tallied

POLICY: Final = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'; img-src 'self'"
    " data:"
)
"""Nothing from elsewhere, nothing inline: neither scripts nor styles."""
HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
}
TYPES: Final[Mapping[str, str]] = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_A_YEAR: Final = "public, max-age=31536000, immutable"


@cache
def _templates(packages: tuple[str, ...]) -> jinja2.Environment:
    """The templates of these packages: one set of them for all apps of a process, compiled now and not while somebody
    waits for a page.
    """
    env = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(name) for name in packages]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Names of endpoints, payers and workflows come from strangers: `|safely` also writes out what nobody sees.
    filters: dict[str, Any] = {"safely": safe, "moment": moment}
    helpers: dict[str, Any] = {"counted": tallied, "money": money}
    env.filters.update(filters)
    env.globals.update(helpers)
    for name in env.list_templates(extensions=["html"]):
        env.get_template(name)
    return env


class Pages:
    """The pages of one package: its ``templates`` and ``static`` folders before those of :mod:`flovia.web`.

    Args:
        package: the import package, such as ``flovia.dashboard``.
    """

    def __init__(self, package: str) -> None:
        packages = (package, "flovia.web")
        self._env = _templates(packages)
        self._static: dict[str, bytes] = {}
        for name in reversed(packages):
            folder = files(name) / "static"
            if not folder.is_dir():
                continue
            self._static |= {one.name: one.read_bytes() for one in folder.iterdir() if one.is_file()}
        self._versions = {name: sha256(content).hexdigest()[:12] for name, content in self._static.items()}

    def render(self, request: Request, template: str, status: int = 200, **members: object) -> HTMLResponse:
        """A page. In templates ``at('/funnel')`` is an address of this app and ``static('look.css')`` one of a file."""
        root = str(request.scope.get("root_path", ""))

        def at(path: str) -> str:
            return f"{root}{path}"

        def static(name: str) -> str:
            return f"{root}/static/{self._versions[name]}/{name}"

        found = self._env.get_template(template).render(at=at, static=static, here=request.url.path, **members)
        return HTMLResponse(found, status, headers=dict(HEADERS))

    def file(self, request: Request) -> Response:
        """``GET /static/{version}/{name}``: kept by browsers until its content changes."""
        name = str(request.path_params["name"])
        content = self._static.get(name)
        if content is None or request.path_params["version"] != self._versions[name]:
            return Response("no such file", 404, media_type="text/plain", headers=dict(HEADERS))
        kind = TYPES.get(name.rpartition(".")[2], "application/octet-stream")
        headers = {**HEADERS, "cache-control": _A_YEAR}
        return Response(content, media_type=kind, headers=headers)
