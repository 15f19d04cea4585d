"""What the command lines of our servers have in common: options, logging, and the places where they listen."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from persia.cli.log_lines import log_format_option, log_to_stderr
from persia.config.listening import check_listen
from persia.config.security import SecurityConfig
from persia.errors import Unavailable
from persia.security import Refreshing, ServerSecurity
from persia.serving.server import Server
from persia.system.address import join_address
from persia.system.process import keep_freed_memory

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["DRAIN_SECONDS", "Listeners", "server_options", "set_up"]

# How long calls that run may go on after the first signal.
DRAIN_SECONDS = 10.0

# How long a thread that works in Python may keep one waiting that has a lookup to answer. Python's own 5 ms are several.
_SWITCH_SECONDS = 0.0005

_Port = click.IntRange(0, 65_535)
_Command = TypeVar("_Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--host", default="127.0.0.1", help="The address to listen on; 0.0.0.0 for all."),
    click.option("--listen", multiple=True, help="One more place to listen at: HOST:PORT, or unix:/path. May be repeated."),
    click.option("--metrics-port", type=_Port, help="Where Prometheus finds the metrics, on the same host."),
    click.option("--global-config", type=click.Path(), help="Instead of $PERSIA_GLOBAL_CONFIG."),
    click.option("--embedding-config", type=click.Path(), help="Instead of $PERSIA_EMBEDDING_CONFIG."),
    click.option(
        "--log-level", default="info", envvar="LOG_LEVEL", type=click.Choice(["debug", "info", "warning", "error"], False)
    ),
    log_format_option,
)


def server_options(port: int) -> Callable[[_Command], _Command]:
    """--port with that default, --host, --listen, --metrics-port, both configs, --log-level, --log-format."""

    def decorate(command: _Command) -> _Command:
        for option in reversed(_OPTIONS):
            command = option(command)
        return click.option("--port", type=_Port, default=port, help="0: any free one, which the log names.")(command)

    return decorate


def set_up(log: logging.Logger, level: str, form: str = "text") -> None:
    """Logging and warnings to stderr, how threads take turns, and how much freed memory is kept."""
    log_to_stderr(level, form)
    # Without the place in our code and its source: the message names the place in the file.
    warnings.showwarning = lambda message, *_: log.warning("%s", message)
    sys.setswitchinterval(_SWITCH_SECONDS)
    keep_freed_memory()


class Listeners:
    """gRPC and metrics on one host. Bound on construction: so a port that is taken is known before anything else."""

    def __init__(
        self, host: str, port: int, more: Sequence[str], service: str, security: SecurityConfig, workers: int = 0
    ) -> None:
        """It listens from now on, and serves from start() on.

        Args:
            host: A name or an address.
            port: 0: any free one.
            more: Other places: `host:port`, `unix:/path`.
            service: The full name.
            security: Who may call.
            workers: As for a Server.

        Raises:
            Unavailable: A place is taken, or none of this machine.
            ConfigError: The section `security` does not go with the places, or with its files.
        """
        self._host = host.strip("[]")
        places = [join_address(self._host, port), *more]
        for place in places:
            check_listen(place, security)
        self._security = security
        self._protection = ServerSecurity(security)
        self._files = Refreshing(self._protection)
        self.server = Server([service], guard=self._protection.guard, tls=self._protection.tls, workers=workers)
        self.address, *self.more = map(self.server.listen, places)

    def offer_metrics(self, registry: CollectorRegistry, port: int) -> str:
        """Over HTTP, to those who may call; port 0 for any free one. Returns the URL. Raises Unavailable."""
        from persia.security.metrics_server import MetricsServer  # a server without metrics starts sooner

        try:
            server = MetricsServer(self._host, port, registry, self._security, self._protection.guard)
        except OSError as error:
            raise Unavailable(f"expected a free address for metrics, got {join_address(self._host, port)}: {error}") from None
        server.start()
        scheme = "http" if self._security.certificate is None else "https"
        return f"{scheme}://{join_address(self._host, server.server_port)}/metrics"

    def start(self) -> None:
        self._files.start()
        self.server.start()

    def stop(self, seconds: float) -> None:
        """As Server.stop."""
        self.server.stop(seconds)
        self._files.close()
