"""A page over HTTP that shows a deployment, and the values that it asks for again and again."""

from __future__ import annotations

import gzip
import logging
import threading
from collections.abc import Callable, Sequence
from http import HTTPStatus
from importlib.resources import files
from typing import Any

import msgspec

from persia import _core
from persia.config.security import SecurityConfig
from persia.monitoring.asking import Asker
from persia.monitoring.view import View
from persia.security.http_server import GuardedHandler, GuardedServer

__all__ = ["Console", "Source"]

log = logging.getLogger(__name__)

# What else is shown: entries for the page. Raises PersiaError, OSError.
Source = Callable[[], Sequence[dict[str, Any]]]

# The page has no other parts, so nothing else may be loaded or asked.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:"


class Console:
    """Bound on construction. start() and close() once each. `latest`: the values as JSON; None: nobody was asked yet."""

    def __init__(
        self,
        asker: Asker,
        sources: dict[str, Source],
        every: float,
        place: tuple[str, int],
        config: SecurityConfig,
        guard: _core.security.Guard | None,
    ) -> None:
        """sources: of `models` and of `drift`. every: seconds between two rounds. place: host and port. Raises OSError."""
        self._asker, self._sources, self._every = asker, sources, every
        self._view = View()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="console", daemon=True)
        self.latest: bytes | None = None
        self._server = GuardedServer(*place, _handler_of(self), config, guard, "console-http")
        self.port = int(self._server.server_port)

    def start(self) -> None:
        self._thread.start()
        self._server.start()

    def close(self) -> None:
        self._ending.set()
        self._server.close()
        self._thread.join()
        self._asker.close()

    def look(self) -> None:
        """One round."""
        found = self._asker.ask()
        values = self._view.add(found, self._entries("models"), self._entries("drift"))
        self.latest = msgspec.json.encode({**values, "every": self._every})

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                self.look()
            except Exception:  # the next round may go well
                log.exception("internal error of a round")
            self._ending.wait(self._every)

    def _entries(self, name: str) -> Sequence[dict[str, Any]]:
        source = self._sources.get(name)
        if source is None:
            return ()
        try:
            return source()
        except Exception as error:  # of grpcio and files, too: the rest of the page is there all the same
            return [{"problem": str(error) or repr(error)}]


def _handler_of(console: Console) -> type[GuardedHandler]:
    page = (files("persia.monitoring") / "console.html").read_bytes()

    class Handler(GuardedHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/":  # has no values: who may not have these sees a page that asks for a token
                self._answer(page, "text/html; charset=utf-8")
            elif path != "/data":
                self._answer(b"expected / or /data\n", "text/plain", HTTPStatus.NOT_FOUND)
            elif not self.may_ask():
                self.refuse()
            elif console.latest is None:
                self._answer(b"the first round is not over\n", "text/plain", HTTPStatus.SERVICE_UNAVAILABLE)
            else:
                self._answer(console.latest, "application/json")

        def _answer(self, body: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
            self.send_response(status)
            if "gzip" in self.headers.get("Accept-Encoding", ""):
                body = gzip.compress(body, 1)
                self.send_header("Content-Encoding", "gzip")
            for name, value in (
                ("Content-Type", kind),
                ("Content-Length", str(len(body))),
                ("Cache-Control", "no-store"),
                ("Content-Security-Policy", _POLICY),
                ("X-Content-Type-Options", "nosniff"),
                ("Referrer-Policy", "no-referrer"),
            ):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Pages that ask every other second are no news."""

    return Handler
