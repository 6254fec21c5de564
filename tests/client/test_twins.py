"""The shape of the package: twins that stay twins, and imports that stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import flovia.client
import flovia.client.httpx
import flovia.client.httpx2


def test_the_httpx2_module_is_the_httpx_module() -> None:
    """Both faces are the same code: what is fixed in one is fixed in the other."""
    one = Path(flovia.client.httpx.__file__).read_text(encoding="utf-8")
    other = Path(flovia.client.httpx2.__file__).read_text(encoding="utf-8")
    assert ast.dump(ast.parse(one.replace("httpx", "httpx2"))) == ast.dump(ast.parse(other)), (
        "change flovia/client/httpx.py, then write httpx2 for httpx in a copy of it, and format that"
    )


def test_importing_the_client_loads_no_http_library() -> None:
    """Wallets, budgets and policies can be used without httpx, anyio or asyncio being loaded."""
    program = "import sys, flovia.client; print(sorted({'httpx', 'httpx2', 'anyio', 'asyncio'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=_env())
    assert "[]" == done.stdout.strip()


def _env() -> dict[str, str]:
    return {"PYTHONPATH": ":".join(path for path in sys.path if path)}


def test_public_names_are_sorted_and_exist() -> None:
    """What the package promises is there."""
    assert sorted(flovia.client.__all__) == flovia.client.__all__
    assert [] == [name for name in flovia.client.__all__ if not hasattr(flovia.client, name)]
