"""A proxy before a store that speaks S3: it answers as a store does that is overloaded, slow, cut off or of another time."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

SKEWED = (
    "<Error><Code>RequestTimeTooSkewed</Code><Message>The difference between the request time and the current time is too "
    "large.</Message></Error>"
)
SLOW_DOWN = "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


class FaultyStore:
    """`fault` is what happens to requests: None, "503", "skewed", "truncated" or "slow". `requests` counts them."""

    def __init__(self, endpoint: str) -> None:
        self.upstream = urlsplit(endpoint).netloc
        self.fault: str | None = None
        self.requests = 0
        self.faults = 0  # requests that met one
        self.lock = threading.Lock()
        self.released = threading.Event()  # of slow answers
        handler = type("Handler", (_Handler,), {"store": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store: FaultyStore

    def handle_one(self) -> None:
        """Passes a request on, with the host that its signature names."""
        store = self.store
        with store.lock:
            store.requests += 1
            fault = store.fault
            store.faults += fault is not None
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if fault in ("503", "skewed"):
            self._say(503 if fault == "503" else 403, (SLOW_DOWN if fault == "503" else SKEWED).encode())
            return
        connection = http.client.HTTPConnection(store.upstream)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "date", "server", "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", answer.getheader("Content-Length") or str(len(content)))
        self.end_headers()
        if fault == "truncated" and len(content) > 1:
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
        elif fault == "slow" and self.command == "GET":
            self.wfile.write(content[: len(content) // 2])
            store.released.wait()
            self.wfile.write(content[len(content) // 2 :])
        else:
            self.wfile.write(content)
        connection.close()

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = handle_one

    def _say(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nobody reads it."""


@contextmanager
def faulty_store(endpoint: str) -> Iterator[FaultyStore]:
    proxy = FaultyStore(endpoint)
    try:
        yield proxy
    finally:
        proxy.close()
