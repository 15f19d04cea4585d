"""A whole model server: listeners, the line of requests for Python, and the models."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from persia._core.inference import ExchangeQueue, HttpServer, Models, Reactor
from persia.config.listening import is_local
from persia.errors import InvalidInput
from persia.serving.server import Server

from .management import Management
from .open_inference.grpc_service import SERVICES, add_open_inference
from .open_inference.served import ServedModels
from .refusals import Refusal
from .registry import Registration, Registry, ServerDefaults
from .rest import RestManagement
from .rpc import INFERENCE, MANAGEMENT, add_inference, add_management
from .settings import Settings

__all__ = ["ModelServer"]

log = logging.getLogger(__name__)

THREADS = 2


class ModelServer:
    """Listens when it is made, answers after start()."""

    def __init__(self, settings: Settings) -> None:
        """Raises Unavailable, InvalidInput, OSError."""
        for place in (settings.inference, settings.management, settings.grpc_inference, settings.grpc_management):
            if not is_local(place):
                raise InvalidInput(
                    f"other machines can reach the listener on {place}, and the model server asks nobody for a token yet: "
                    "listen on 127.0.0.1, [::1] or unix:/path, and put a proxy before it that knows who calls"
                )
        self._settings = settings
        self._reactor = Reactor(THREADS)
        models = Models()
        defaults = ServerDefaults(
            store=settings.store,
            response_timeout=settings.response_timeout,
            startup_timeout=settings.startup_timeout,
            unregister_timeout=settings.unregister_timeout,
            job_queue_size=settings.job_queue_size,
            max_response_bytes=settings.max_response_size,
            default_workers=settings.default_workers or 0,
            default_handler=settings.default_handler,
            envelope=settings.envelope,
        )
        self.registry = Registry(models, self._reactor, defaults)
        management = Management(self.registry, settings.api_enabled)
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

    def load(self, wanted: Sequence[Registration]) -> None:
        """Models that are there from the start. One that cannot be had is logged, and the others go on."""
        for registration in wanted:
            try:
                self._management.register(registration, synchronous=False)
            except Refusal as refusal:
                log.error("the model %s was not loaded: %s", registration.url, refusal)

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
