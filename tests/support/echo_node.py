"""@grpc/grpc-js of npm, which `make node` installs, in a process of its own (node/client.mjs)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from base64 import b64decode, b64encode
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from tests.support.echo_clients import Answer, Begun, Client, Failed, Request, Value
from tests.support.places import ROOT, TESTS
from tests.support.servers import PATIENCE

MODULES = ROOT / "build" / "node" / "node_modules"


class NodeClient(Client):
    """Skips the test where node or the package is missing."""

    sends_gzip = True

    def __init__(self, address: str, certificates: Path | None) -> None:
        node = shutil.which("node")
        if node is None:
            pytest.skip("needs node")
        if not (MODULES / "@grpc" / "grpc-js").is_dir():
            pytest.skip(f"needs @grpc/grpc-js in {MODULES}: make node")
        script = TESTS / "support" / "node" / "client.mjs"
        command = [node, str(script), address, *([str(certificates)] if certificates else [])]
        environment = os.environ | {"PERSIA_NODE_MODULES": str(MODULES)}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment, text=True)
        self._lock = threading.Lock()
        self._waiting: dict[int, Future[dict[str, Any]]] = {}
        self._next = 0
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def begin(self, request: Request) -> Begun:
        return self._ask(request, message=b64encode(request.message).decode())

    def echoes(self, path: str, size: int) -> bool:
        return bool(self._ask(Request(path), size=size).line()["same"])

    def write(self, line: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        with self._lock:
            self._process.stdin.write(json.dumps(line) + "\n")
            self._process.stdin.flush()

    def _ask(self, request: Request, **what: Any) -> _Begun:
        self._next += 1
        begun = _Begun(self, self._next)
        self._waiting[begun.number] = begun.future
        metadata = [_to_entry(key, value) for key, value in request.metadata.items()]
        how = {"metadata": metadata, "seconds": request.seconds, "gzip": request.gzip}
        self.write({"id": begun.number, "path": request.path, **how, **what})
        return begun

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answer = json.loads(line)
            self._waiting.pop(answer["id"]).set_result(answer)
        for future in self._waiting.values():
            future.set_exception(AssertionError("node has ended"))

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        self._process.stdout.close()


class _Begun:
    def __init__(self, client: NodeClient, number: int) -> None:
        self._client, self.number = client, number
        self.future: Future[dict[str, Any]] = Future()

    def cancel(self) -> None:
        self._client.write({"id": self.number, "cancel": True})

    def line(self) -> dict[str, Any]:
        line = self.future.result(2 * PATIENCE)
        if line["code"] != 0:
            raise Failed(line["code"], line["details"], _trailers(line))
        return line

    def result(self) -> Answer:
        line = self.line()
        return Answer([b64decode(message) for message in line["messages"]], _trailers(line))


def _to_entry(key: str, value: Value) -> list[str]:
    return [key, value, ""] if isinstance(value, str) else [key, "", b64encode(value).decode()]


def _trailers(line: dict[str, Any]) -> dict[str, Value]:
    return {key: b64decode(binary) if binary else text for key, text, binary in line["trailers"]}
