"""The standard health service for probes, which TorchServe lacks: grpc.health.v1 on a port of the launcher."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from persia.errors import Unavailable

__all__ = ["Health"]

# A Check takes no time, and a Watch holds no thread.
THREADS = 4
_Status = health_pb2.HealthCheckResponse


class Health:
    """The service `""` is all of it, `NAME` a model, `NAME/VERSION` one version. NOT_SERVING until tell() says else."""

    def __init__(self, address: str) -> None:
        """Binds `host:port`, port 0 for any free one, and answers at once. Raises Unavailable if it is taken."""
        self._server = grpc.server(ThreadPoolExecutor(THREADS, thread_name_prefix="health"), options=[("grpc.so_reuseport", 0)])
        self._servicer = health.HealthServicer()
        self._servicer.set("", _Status.NOT_SERVING)
        self._services: set[str] = set()
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, self._server)
        try:
            port = self._server.add_insecure_port(address)
        except RuntimeError:  # gRPC has said why on stderr; its exception does not
            raise Unavailable(f"expected a free address for --health-port, got {address}") from None
        self.port = int(port)
        self._server.start()

    def tell(self, fit: Mapping[str, bool]) -> None:
        """Whether each model and version can answer; all of it can if each of them can."""
        for service in self._services - fit.keys():
            self._servicer.set(service, _Status.SERVICE_UNKNOWN)
        self._services = set(fit)
        for service, can_answer in fit.items():
            self._servicer.set(service, _status(can_answer))
        self._servicer.set("", _status(all(fit.values())))

    def leave(self) -> None:
        """Nothing is served from here on, whatever tell() says."""
        self._servicer.enter_graceful_shutdown()

    def stop(self) -> None:
        self.leave()
        self._server.stop(0).wait()


def _status(fit: bool) -> health_pb2.HealthCheckResponse.ServingStatus:
    return _Status.SERVING if fit else _Status.NOT_SERVING
