"""A whole model server: listeners, the line of requests for Python, and the models."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from persia._core.inference import ExchangeQueue, HttpServer, Models, Reactor
from persia.config.listening import is_local
from persia.errors import InvalidInput
from persia.serving.server import Server
from persia.system.address import host_and_port
from persia.torchserve.ready_line import ReadyLine

from .keeper import Keeper
from .management import Management
from .open_inference.grpc_service import SERVICES, add_open_inference
from .open_inference.served import ServedModels
from .refusals import Refusal
from .registration import Registration, ServerDefaults
from .registry import Registry
from .rest import RestManagement
from .rpc import INFERENCE, MANAGEMENT, add_inference, add_management
from .settings import Settings
from .state import StateDirectory

__all__ = ["ModelServer"]

log = logging.getLogger(__name__)

THREADS = 2


class ModelServer:
    """Listens when it is made, answers after start()."""

    def __init__(self, settings: Settings, state: StateDirectory | None = None) -> None:
        """state: where changes are kept; None: nowhere. Raises ConfigError, Unavailable, InvalidInput, OSError."""
        for place in (settings.inference, settings.management, settings.grpc_inference, settings.grpc_management):
            if not is_local(place):
                raise InvalidInput(
                    f"other machines can reach the listener on {place}, and the model server asks nobody for a token yet: "
                    "listen on 127.0.0.1, [::1] or unix:/path, and put a proxy before it that knows who calls"
                )
        self._settings = settings
        self._reactor = Reactor(THREADS)
        models = Models()
        self.registry = Registry(models, self._reactor, _defaults(settings, state))
        self._keeper = Keeper(state, self.registry) if state is not None else None
        keep = self._keeper.keep if self._keeper is not None else lambda: None
        management = Management(self.registry, settings.api_enabled, keep)
        self._lines = (ExchangeQueue(), ExchangeQueue())
        most = settings.max_request_size
        self._http = (
            HttpServer(self._reactor, self._lines[0], models=models, max_body_bytes=most),
            HttpServer(self._reactor, self._lines[1], max_body_bytes=most),
        )
        self._grpc = (Server([INFERENCE, *SERVICES]), Server([MANAGEMENT]))
        add_inference(self._grpc[0], models, management)
        add_open_inference(self._grpc[0], models, ServedModels(self.registry))
        add_management(self._grpc[1], management)
        self.addresses = {
            "inference": self._http[0].listen(settings.inference),
            "management": self._http[1].listen(settings.management),
            "grpc_inference": self._grpc[0].listen(settings.grpc_inference),
            "grpc_management": self._grpc[1].listen(settings.grpc_management),
        }
        self._management = management

    def start(self) -> None:
        """Answers from now on."""
        self._rest = (
            RestManagement(self._management, self._lines[0], manages=False),
            RestManagement(self._management, self._lines[1], manages=True),
        )
        for server in self._grpc:
            server.start()
            server.set_serving(True)

    def ready_line(self) -> ReadyLine:
        """As TorchServe's launcher says it, so that whoever waits for one of them can wait for the other. REQUIRES: it is."""
        versions = self.registry.default_versions()
        return ReadyLine.of(
            self.addresses["grpc_inference"],
            self.addresses["grpc_management"],
            http_port=_port(self.addresses["inference"]),
            http_management_port=_port(self.addresses["management"]),
            token_file="",
            logs="stderr",
            health=self.addresses["grpc_inference"],
            models=[f"{name} {version.facts.archive.version}" for name, version in versions.items()],
        )

    def load(self, named: Sequence[Registration]) -> None:
        """The models that are there from the start. One that cannot be had is logged, and the others go on."""
        for wanted in named if self._keeper is None else self._keeper.plan(named):
            try:
                self._management.register(wanted, synchronous=False)
            except Refusal as refusal:
                log.error("the model %s was not loaded: %s", wanted.url, refusal)
        if self._keeper is not None:
            self._keeper.restored()

    def stop(self, seconds: float) -> None:
        """Lets what runs finish for so long."""
        for server in self._grpc:
            server.leave()
        for http in self._http:
            http.stop(seconds)
        for server in self._grpc:
            server.stop(seconds)
        for rest in self._rest:
            rest.close()
        self.registry.close(seconds)
        self._reactor.stop()


def _port(address: str) -> int | None:
    """None: it is a unix socket."""
    return None if address.startswith("unix:") else int(host_and_port(address)[1])


def _defaults(settings: Settings, state: StateDirectory | None) -> ServerDefaults:
    of_state = {} if state is None else {"requirements_cache": state.requirements}
    return ServerDefaults(
        store=settings.store,
        allowed_urls=settings.allowed_urls,
        response_timeout=settings.response_timeout,
        startup_timeout=settings.startup_timeout,
        unregister_timeout=settings.unregister_timeout,
        job_queue_size=settings.job_queue_size,
        max_response_bytes=settings.max_response_size,
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
        **of_state,
    )
