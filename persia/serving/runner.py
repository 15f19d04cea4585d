"""A server's process from its command line to its end: read the configs, listen, serve, drain."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, Protocol

from persia.cli.failures import give_up
from persia.config import EmbeddingConfig, GlobalConfig, load_embedding_config, load_global_config
from persia.core_spans import CoreSpans, core_spans
from persia.errors import ConfigError, PersiaError
from persia.serving.process import DRAIN_SECONDS, Listeners, set_up
from persia.serving.server import Server
from persia.system.signals import StopSignal
from persia.tracing import traces_of

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from persia.serving.old_metric_names import OldName

__all__ = ["RunningServer", "ServerArguments", "Service", "Startup"]


@dataclass(frozen=True)
class ServerArguments:
    """What `server_options` puts on the command line."""

    port: int
    host: str
    listen: tuple[str, ...]
    metrics_port: int | None
    global_config: str | None
    embedding_config: str | None
    log_level: str
    log_format: str


class Service(Protocol):
    """What answers. `stopping`: callers are told to go elsewhere, and answered all the same."""

    stopping: bool

    def add_to(self, server: Server) -> None:
        """Adds its methods, before the server starts."""


class Startup:
    """A server that is about to start. What is wrong with its arguments ends the process with one line, and with 2."""

    def __init__(self, program: str, log: logging.Logger, arguments: ServerArguments) -> None:
        self._program, self._log, self._arguments = program, log, arguments
        set_up(log, arguments.log_level, arguments.log_format)
        self.config, self.embedding_config = self._read_configs()

    def _read_configs(self) -> tuple[GlobalConfig, EmbeddingConfig]:
        try:
            return load_global_config(self._arguments.global_config), load_embedding_config(self._arguments.embedding_config)
        except (ConfigError, OSError) as error:
            self.give_up(str(error))

    def give_up(self, reason: str) -> NoReturn:
        """Ends the process because of how it was called."""
        give_up(self._program, reason)

    @property
    def wants_metrics(self) -> bool:
        return self.config.common_config.metrics_config.enable_metrics or self._arguments.metrics_port is not None

    def with_old_names(self, registry: CollectorRegistry, old_names: Mapping[str, OldName]) -> CollectorRegistry:
        """The metrics as the config wants them: with their earlier names as well, or as they are."""
        config = self.config.common_config.metrics_config
        if not config.legacy_names:
            return registry
        from persia.serving.old_metric_names import with_old_names  # Prometheus takes its time

        return with_old_names(registry, config.job_name, old_names)

    def start_spans(self) -> CoreSpans | None:
        """Those of the lookups whose callers are sampled, from now on; None: no traces are wanted."""
        try:
            traces_of(f"persia-{self._program}")
        except ConfigError as error:
            self.give_up(str(error))
        spans = core_spans()
        if spans is not None:
            spans.start()
            self._log.info("lookups whose callers are sampled are traced")
        return spans

    def listen(self, name: str, registry: CollectorRegistry | None = None, workers: int = 0) -> RunningServer:
        """Takes the places where the service of that full name is going to answer, and where its metrics are fetched."""
        arguments = self._arguments
        stop = StopSignal()
        try:
            listeners = Listeners(arguments.host, arguments.port, arguments.listen, name, self.config.security, workers=workers)
            if registry is not None:
                self._log.info("metrics on %s", listeners.offer_metrics(registry, arguments.metrics_port or 0))
        except PersiaError as error:
            self.give_up(str(error))
        return RunningServer(listeners, stop, self._log)


class RunningServer:
    """A server that listens, until it has drained."""

    def __init__(self, listeners: Listeners, stop: StopSignal, log: logging.Logger) -> None:
        self._listeners, self._stop, self._log = listeners, stop, log

    def start(self, service: Service) -> str:
        """Answers from now on; health checks hear NOT_SERVING. Returns where it listens."""
        service.add_to(self._listeners.server)
        self._listeners.start()
        return " and ".join([self._listeners.address, *self._listeners.more])

    def serve(self) -> None:
        """From here on there are calls to finish: a signal no longer ends the process at once."""
        self._stop.serving()

    def set_health(self, serving: bool) -> None:
        """What health checks hear."""
        self._listeners.server.set_serving(serving)

    def wait(self, service: Service) -> None:
        """Until a signal asks for the end, of which the service then tells its callers."""
        self._stop.wait()
        service.stopping = True
        self._log.info("stopping: up to %.0f s for calls that run", DRAIN_SECONDS)

    def drain(self) -> None:
        """Answers calls that run, and takes no new ones."""
        self._listeners.stop(DRAIN_SECONDS)

    def abandon(self) -> None:
        """Stops at once."""
        self._listeners.stop(0)
