"""What a snippet meets when it is run: a server around its app, or a site to call. A process of its own.

python -m tests.docs.harness serve {wsgi|asgi} VERB PATH FILE
python -m tests.docs.harness visit {python|sh} FILE [EXAMPLE]
"""

import runpy
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx

import flovia
from flovia.cli.demo_site import listen, mock_route, serving
from flovia.client import Budget, MockWallet, PendingFiles
from flovia.client.httpx import PayingTransport, payment_info
from flovia.testing.servers import serve_asgi, serve_wsgi
from tests.patience import PATIENT_S
from tests.tree import ROOT

STANDS_FOR_THE_SITE = ("http://127.0.0.1:8402", "https://api.example.com")


def serve(kind: str, http_method: str, path: str, file: str) -> None:
    """Serve the ``app`` of a snippet; without a payment it must ask for one, with one it must answer."""
    app = runpy.run_path(file)["app"]
    with (
        serve_wsgi(app) if kind == "wsgi" else serve_asgi(app) as url,
        tempfile.TemporaryDirectory() as pending,
    ):
        unpaid = httpx.request(http_method, url + path, trust_env=False, timeout=PATIENT_S)
        assert unpaid.status_code == 402, f"unpaid: {unpaid.status_code} {unpaid.text}"
        assert unpaid.headers["www-authenticate"].startswith("Payment ")
        transport = PayingTransport(MockWallet(), budget=Budget("100.00 USD"), pending=PendingFiles(pending))
        with httpx.Client(transport=transport, timeout=PATIENT_S) as agent:
            paid = agent.request(http_method, url + path)
        info = payment_info(paid)
        assert paid.is_success, f"paid: {paid.status_code} {paid.text}"
        assert info is not None
        assert info.receipt is not None, info.receipt_problem


@contextmanager
def demo_site() -> Generator[str]:
    """The demo's site with the default ledger, as the reader's own app would have it; yields its URL."""
    own = flovia.Flovia(realm="flovia demo")
    listener = listen(None)
    with serving(mock_route(own), listener):
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    own.close()


def visit(language: str, file: str, example: str | None = None) -> None:
    """Run a snippet while the demo's site is up, or the WSGI app of a file in ``examples/``."""
    up = serve_wsgi(runpy.run_path(str(ROOT / "examples" / example))["make_app"]()) if example else demo_site()
    with up as url:
        text = Path(file).read_text(encoding="utf-8")
        for address in STANDS_FOR_THE_SITE:
            text = text.replace(address, url)
        Path(file).write_text(text, encoding="utf-8")
        if language == "sh":
            subprocess.run(["sh", "-eu", file], check=True)
        else:
            runpy.run_path(file, run_name="__main__")


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a text stream, unless replaced
    if sys.argv[1] == "serve":
        serve(*sys.argv[2:])
    else:
        visit(*sys.argv[2:])
