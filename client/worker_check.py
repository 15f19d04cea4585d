"""Whether a model has a worker that answers, for callers that shall not wait for one that is gone.

TorchServe keeps a request for a model without workers, and answers it when a worker is there again: after seconds, or never.
"""

from __future__ import annotations

import contextlib
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from persia.errors import Unavailable
from persia.torchserve.schema import open_channel

__all__ = ["LOOK_SECONDS", "WorkerCheck"]

# Calls that take less pay nothing for it.
LOOK_SECONDS = 0.25
_CHECK_SECONDS = 2.0


class WorkerCheck:
    """Asks the health service of a TorchServe's launcher (`--health-port`). A launcher that does not answer says nothing."""

    def __init__(self, address: str, model: str, version: str | None, module: Any = grpc) -> None:
        self._channel = open_channel(address, module)
        self._check = health_pb2_grpc.HealthStub(self._channel).Check
        self._service = f"{model}/{version}" if version else model

    def check(self) -> None:
        """Raises Unavailable if the model cannot answer now."""
        with contextlib.suppress(grpc.RpcError):
            self._judge(self._check(health_pb2.HealthCheckRequest(service=self._service), timeout=_CHECK_SECONDS))

    async def check_async(self) -> None:
        """As check, where the channel is of grpc.aio."""
        with contextlib.suppress(grpc.RpcError):
            self._judge(await self._check(health_pb2.HealthCheckRequest(service=self._service), timeout=_CHECK_SECONDS))

    def _judge(self, answer: health_pb2.HealthCheckResponse) -> None:
        if answer.status == health_pb2.HealthCheckResponse.NOT_SERVING:
            raise Unavailable(
                f"{self._service} has no worker that is READY, so the call waited for one to start: given up (its work may "
                "still run), as the client has a health_address"
            )

    def close(self) -> Any:
        """To be awaited where the channel is of grpc.aio."""
        return self._channel.close()
