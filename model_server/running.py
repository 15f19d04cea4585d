"""A whole model server: listeners, the line of requests for Python, and the models."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Sequence
from pathlib import Path

from persia._core.inference import AnswerObserver, Models, Reactor
from persia.config.security import SecurityConfig
from persia.security import Refreshing
from persia.system.address import host_and_port
from persia.torchserve.ready_line import ReadyLine
from persia.torchserve.version_order import version_key

from .front_metrics_log import FrontMetricsLog
from .handler_metrics import OWN_NAMES, HandlerMetrics, read_names
from .keeper import Keeper
from .listeners import Listeners
from .management import Management
from .metrics import FrontFigures, Metrics
from .open_inference.grpc_service import add_open_inference
from .open_inference.served import ServedModels
from .protection import Protection
from .readiness import Readiness, ReadinessTeller
from .refusals import Duplicate, Refusal
from .refused_clients import RefusedClients
from .registration import Registration, ServerDefaults
from .registry import Registry
from .rest import RestManagement
from .rest_metrics import RestMetrics
from .rpc import add_inference, add_management
from .settings import Settings
from .state import StateDirectory
from .worker_output import WorkerOutput

__all__ = ["ModelServer"]

log = logging.getLogger(__name__)

THREADS = 2


class ModelServer:
    """Listens when it is made, answers after start()."""

    def __init__(
        self, settings: Settings, security: SecurityConfig, state: StateDirectory | None = None, logs: Path | None = None
    ) -> None:
        """state: where changes are kept; None: nowhere. logs: where the access log is written; None: nowhere.

        Raises ConfigError, Unavailable, InvalidInput, OSError.
        """
        models = Models()
        answers = AnswerObserver(None if logs is None else str(logs / "access_log.log"))
        handlers = HandlerMetrics(_names_of(settings), socket.gethostname())
        self._protection = Protection(settings.access, security, Path() if state is None else state.path)
        self._reactor = Reactor(THREADS)
        self._output = WorkerOutput(handlers)
        self.registry = Registry(models, self._reactor, _defaults(settings, state, self._output))
        figures = FrontFigures(models, self.registry.served, self.registry.load_seconds, answers)
        self._metrics = Metrics(figures, handlers, settings.metrics)
        readiness = Readiness(self.registry)
        self._keeper = Keeper(state, self.registry, readiness.missing) if state is not None else None
        keep = self._keeper.keep if self._keeper is not None else lambda: None
        self._management = Management(self.registry, readiness, settings.api_enabled, keep)
        self._listeners = Listeners(settings, self._protection, self._reactor, models, answers)
        inference, management = self._listeners.grpc["grpc_inference"], self._listeners.grpc["grpc_management"]
        self._health = ReadinessTeller(readiness, inference.set_serving)
        self._watching = (
            Refreshing(self._protection),
            RefusedClients(self._listeners.refused_clients),
            FrontMetricsLog(figures, settings.metrics),
            self._health,
        )
        add_inference(inference, models, self._management)
        add_open_inference(inference, models, ServedModels(self.registry, readiness))
        add_management(management, self._management)
        self.addresses = self._listeners.listen()
        self._protection.open()

    def start(self) -> None:
        """Answers from now on."""
        page = RestMetrics(self._metrics)
        self._rest = [
            RestManagement(self._management, line, roles, page, self._protection.keys)
            for roles, line in self._listeners.lines.items()
        ]
        self._listeners.start()
        for watch in self._watching:
            watch.start()

    def ready_line(self, logs: Path | None) -> ReadyLine:
        """As TorchServe's launcher says it, so that whoever waits for one of them can wait for the other. REQUIRES: it is.

        Health checks say so, too, before the line is read.
        """
        self._health.tell()
        versions = self.registry.default_versions()
        return ReadyLine.of(
            self.addresses["grpc_inference"],
            self.addresses["grpc_management"],
            http_port=_port(self.addresses["inference"]),
            http_management_port=_port(self.addresses["management"]),
            token_file=self._protection.key_file,
            logs="stderr" if logs is None else str(logs),
            health=self.addresses["grpc_inference"],
            models=[f"{name} {version.facts.archive.version}" for name, version in versions.items()],
        )

    def load(self, named: Sequence[Registration]) -> None:
        """The models that are there from the start. One that cannot be had is logged, and the others go on.

        Until it is registered or unregistered, the server is not ready.
        """
        for wanted in named if self._keeper is None else self._keeper.plan(named):
            try:
                self._management.register(wanted, synchronous=False)
            except Duplicate as refusal:
                log.warning("the model %s was not loaded: %s", wanted.url, refusal)
            except Refusal as refusal:
                log.error("the model %s was not loaded: %s", wanted.url, refusal)
                self._management.readiness.missing.add(wanted)
        self._choose_newest()
        if missing := self._management.readiness.missing.names():
            log.error(
                "the server is not ready without %s: register what is missing, or unregister it by that name",
                ", ".join(missing),
            )
        if self._keeper is not None:
            self._keeper.restored()

    def _choose_newest(self) -> None:
        """Of models whose versions all come from a store that is loaded as a whole, as with TorchServe's launcher."""
        for name, model in self.registry.kept().items():
            if all(version.facts.registration.of_whole_store for version in model.versions.values()):
                self.registry.set_default(name, max(model.versions, key=version_key))

    def stop(self, seconds: float) -> None:
        """Lets what runs finish for so long."""
        for watch in self._watching:
            watch.close()
        self._listeners.stop(seconds)
        self.registry.close(seconds)  # who waits for a worker that starts hears of it
        for rest in self._rest:
            rest.close(seconds)
        self._output.close()
        self._reactor.stop()
        self._protection.close()


def _port(address: str) -> int | None:
    """None: it is a unix socket."""
    return None if address.startswith("unix:") else int(host_and_port(address)[1])


def _names_of(settings: Settings) -> frozenset[str] | None:
    """The metrics of handlers that are shown; None: all of them."""
    metrics = settings.metrics
    if metrics.detects:
        return None
    own = OWN_NAMES if metrics.mode != "log" else frozenset[str]()
    return own if metrics.config is None else own | read_names(metrics.config)


def _defaults(settings: Settings, state: StateDirectory | None, output: WorkerOutput) -> ServerDefaults:
    if settings.metrics.config is not None:
        os.environ["TS_METRICS_CONFIG"] = str(settings.metrics.config.resolve())  # workers look for it there
    of_state = {} if state is None else {"requirements_cache": state.requirements}
    return ServerDefaults(
        store=settings.store,
        allowed_urls=settings.allowed_urls,
        response_timeout=settings.response_timeout,
        startup_timeout=settings.startup_timeout,
        unregister_timeout=settings.unregister_timeout,
        job_queue_size=settings.job_queue_size,
        max_response_bytes=settings.max_response_size,
        unpack_limits=settings.unpack_limits,
        default_workers=settings.default_workers or 0,
        default_handler=settings.default_handler,
        envelope=settings.envelope,
        per_model=settings.per_model,
        installs_requirements=settings.installs_requirements,
        gpus=settings.gpus or 0,
        first_worker=settings.first_worker,
        hidden_variables=settings.hidden_variables,
        decodes_inputs=settings.decodes_inputs,
        limits_image_pixels=settings.limits_image_pixels,
        output=output,
        **of_state,
    )
