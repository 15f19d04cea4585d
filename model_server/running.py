"""A whole model server: listeners, the lines of requests for Python, and the models."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Sequence
from pathlib import Path

from persia._core.inference import Models, Reactor, Traffic
from persia.config.security import SecurityConfig
from persia.security import Refreshing

from .handler_metrics import OWN_NAMES, HandlerMetrics, read_names
from .listeners import Listeners
from .management import Management
from .metrics import Metrics
from .protection import Protection
from .refusals import Refusal
from .registry import Registration, Registry, ServerDefaults
from .rest import RestManagement
from .rest_metrics import RestMetrics
from .rpc import add_inference, add_management
from .settings import Settings
from .system_metrics import SystemMetrics
from .worker_output import WorkerOutput

__all__ = ["ModelServer"]

log = logging.getLogger(__name__)

THREADS = 2


class ModelServer:
    """Listens when it is made, answers after start()."""

    def __init__(self, settings: Settings, security: SecurityConfig, log_location: Path | None = None) -> None:
        """log_location: where the access log is written; None: nowhere.

        Raises Unavailable, InvalidInput, ConfigError, OSError.
        """
        hostname = socket.gethostname()
        models = Models()
        traffic = Traffic(None if log_location is None else str(log_location / "access_log.log"))
        handlers = HandlerMetrics(_names_of(settings), hostname)
        self._protection = Protection(settings.access, security)
        self._files = Refreshing(self._protection)
        self._reactor = Reactor(THREADS)
        self._output = WorkerOutput(handlers)
        self.registry = Registry(models, self._reactor, _defaults_of(settings, self._output))
        system = SystemMetrics(hostname) if settings.metrics.of_system else None
        self._metrics = Metrics(hostname, models, self.registry.served, traffic, handlers, system)
        self._management = Management(self.registry, settings.api_enabled)
        self._listeners = Listeners(settings, self._protection, self._reactor, models, traffic)
        add_inference(self._listeners.grpc["grpc_inference"], models, self._management)
        add_management(self._listeners.grpc["grpc_management"], self._management)
        self.addresses = self._listeners.listen()
        self._protection.open()

    def start(self) -> None:
        """Answers from now on."""
        self._files.start()
        lines = self._listeners.lines
        self._rest: list[RestManagement | RestMetrics] = [
            RestManagement(self._management, lines["inference"], manages=False),
            RestManagement(self._management, lines["management"], manages=True, keys=self._protection.keys),
            RestMetrics(self._metrics, lines["metrics"]),
        ]
        self._listeners.start()

    def load(self, wanted: Sequence[Registration]) -> None:
        """Models that are there from the start. One that cannot be had is logged, and the others go on."""
        for registration in wanted:
            try:
                self._management.register(registration, synchronous=False)
            except Refusal as refusal:
                log.error("the model %s was not loaded: %s", registration.url, refusal)

    def stop(self, seconds: float) -> None:
        """Lets what runs finish for so long."""
        self._listeners.stop(seconds)
        for rest in self._rest:
            rest.close()
        self.registry.close(seconds)
        self._output.close()
        self._reactor.stop()
        self._files.close()
        self._protection.close()


def _names_of(settings: Settings) -> frozenset[str] | None:
    """The metrics of handlers that are shown; None: all of them."""
    metrics = settings.metrics
    if metrics.detects:
        return None
    return OWN_NAMES if metrics.config is None else OWN_NAMES | read_names(metrics.config)


def _defaults_of(settings: Settings, output: WorkerOutput) -> ServerDefaults:
    if settings.metrics.config is not None:
        os.environ["TS_METRICS_CONFIG"] = str(settings.metrics.config.resolve())  # workers look for it there
    return ServerDefaults(
        store=settings.store,
        response_timeout=settings.response_timeout,
        startup_timeout=settings.startup_timeout,
        unregister_timeout=settings.unregister_timeout,
        job_queue_size=settings.job_queue_size,
        max_response_bytes=settings.max_response_size,
        default_workers=settings.default_workers or 0,
        default_handler=settings.default_handler,
        envelope=settings.envelope,
        output=output,
    )
