"""How a server is asked for its health: with what the section `security` shows, or with TorchServe's keys."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from grpc_health.v1 import health_pb2

from persia.config import SecurityConfig
from persia.rpc.call import call
from persia.rpc.wire import HEALTH_CHECK
from persia.security import ClientSecurity
from persia.torchserve.state import KEY_FILE
from persia.torchserve.tokens import Tokens

__all__ = ["HealthCall", "KeyedCall", "PlainCall", "has_keys"]

_Answer = health_pb2.HealthCheckResponse


class HealthCall(ABC):
    """One way to ask."""

    @abstractmethod
    def ask(self, address: str, service: str, seconds: float) -> health_pb2.HealthCheckResponse.ServingStatus:
        """Raises PersiaError: Unavailable, DeadlineExceeded, NotFound: it has no such service; or what else it says."""


class PlainCall(HealthCall):
    """Shows the token of the section, if it has one."""

    def __init__(self, security: SecurityConfig) -> None:
        """Raises ConfigError."""
        self._security = ClientSecurity(security)

    def ask(self, address: str, service: str, seconds: float) -> health_pb2.HealthCheckResponse.ServingStatus:
        answer = call(address, HEALTH_CHECK, health_pb2.HealthCheckRequest(service=service), seconds, self._security)
        return _Answer.FromString(answer).status


class KeyedCall(HealthCall):
    """Shows the key for inference that a TorchServe, or a model server, has written to its file."""

    def __init__(self, file: str, security: SecurityConfig) -> None:
        """Raises ConfigError, AccessDenied: the file has no such key; Unavailable: it is not there yet."""
        from persia.rpc.grpcio import GrpcioSecurity  # grpc, which takes its time, is for keys alone

        self._metadata = Tokens(file=file).metadata("inference")
        self._security = GrpcioSecurity(security)

    def ask(self, address: str, service: str, seconds: float) -> health_pb2.HealthCheckResponse.ServingStatus:
        import grpc

        from persia.rpc.status import error_of

        with self._security.channel(address) as channel:
            check = channel.unary_unary(HEALTH_CHECK, health_pb2.HealthCheckRequest.SerializeToString, _Answer.FromString)
            try:
                answer = check(health_pb2.HealthCheckRequest(service=service), timeout=seconds, metadata=self._metadata)
            except grpc.RpcError as error:
                raise error_of(error.code().name, error.details() or "") from None
        return answer.status


def has_keys(file: str) -> bool:
    """Whether it is TorchServe's key file, by its name or its content, and no file with a token in each line."""
    if Path(file).name == KEY_FILE:
        return True
    try:
        with open(file, "rb") as content:
            return content.read(64).lstrip().startswith(b"{")
    except OSError:
        return False
