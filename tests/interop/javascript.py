"""mppx in a Node process of its own, asked line by line (``node/main.mjs``)."""

import json
import os
import select
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from flovia.core.encoding import JsonObject, JsonValue
from tests.require import node

PROGRAM = Path(__file__).parent / "node" / "main.mjs"
ANSWERED_WITHIN_S = 60.0


class Javascript:
    """The process. Skips the test (or fails, see tests/require.py) where there is no Node or no mppx."""

    def __init__(self) -> None:
        executable, modules = node()
        self._process = subprocess.Popen(
            [executable, str(PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"FLOVIA_NODE_MODULES": str(modules)},
        )
        self._buffer = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the process: it ends by itself when its input does."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def call(self, op: str, **members: JsonValue) -> JsonObject:
        """The answer to one operation of ``node/*.mjs``."""
        return cast(JsonObject, self._exchange({"op": op, **members}))

    def calls(self, requests: Sequence[JsonObject]) -> list[JsonObject]:
        """The answers to many at once, each with its own ``op``."""
        return cast("list[JsonObject]", self._exchange(requests))

    def _exchange(self, request: JsonValue) -> JsonValue:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        reply = cast(JsonObject, json.loads(self._line()))
        if "failed" in reply:
            raise AssertionError(f"the Node program failed: {reply['failed']}")
        return reply["value"]

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        give_up = time.monotonic() + ANSWERED_WITHIN_S
        while b"\n" not in self._buffer:
            readable, _, _ = select.select([descriptor], [], [], max(0.0, give_up - time.monotonic()))
            if not readable:
                raise AssertionError(f"no answer from Node within {ANSWERED_WITHIN_S} s")
            chunk = os.read(descriptor, 1 << 20)
            if not chunk:
                raise AssertionError(f"Node ended with status {self._process.wait()}; see its standard error")
            self._buffer += chunk
        line, _, rest = bytes(self._buffer).partition(b"\n")
        self._buffer = bytearray(rest)
        return line
