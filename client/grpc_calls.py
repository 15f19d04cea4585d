"""What clients of TorchServe's inference over gRPC have in common: how they are made, and how a request is sent."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar

import grpc

from persia.config import SecurityConfig
from persia.errors import DeadlineExceeded, InvalidInput
from persia.rpc.grpcio import GrpcioSecurity
from persia.seconds import LONGEST_SECONDS
from persia.torchserve.schema import new_message, open_channel, predictions_call
from persia.torchserve.status import torchserve_error
from persia.torchserve.tokens import Tokens
from persia.tracing import traces_of

from .worker_check import LOOK_SECONDS, WorkerCheck

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["DEFAULT_ADDRESS", "DEFAULT_TIMEOUT", "BlockingCalls", "GrpcCalls", "checked_timeout", "seconds_of_call"]

DEFAULT_ADDRESS = "127.0.0.1:7070"
# Every call has a deadline: TorchServe leaves some unanswered for ever, such as those of a version that is unregistered.
DEFAULT_TIMEOUT = 10.0


def checked_timeout(seconds: float) -> float:
    """For all calls of a client. Raises InvalidInput."""
    if not 0 < seconds <= LONGEST_SECONDS:
        raise InvalidInput(f"expected a timeout over 0 and up to {LONGEST_SECONDS:.0f} seconds, got {seconds}")
    return seconds


def seconds_of_call(usual: float, timeout: float | None) -> float:
    """The timeout of a call. A caller whose own deadline is over gives 0 or less, which is no mistake."""
    if timeout is None:
        return usual
    if timeout <= 0:
        raise DeadlineExceeded(f"no time is left for the call: its timeout is {timeout} seconds")
    return checked_timeout(timeout)


class GrpcCalls:
    """A channel to a model, and the messages for it."""

    _grpc: ClassVar[Any] = grpc

    def __init__(
        self,
        model: str,
        address: str = DEFAULT_ADDRESS,
        *,
        version: str | None = None,
        token: str | None = None,
        token_file: str | os.PathLike[str] | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        health_address: str | None = None,
        security: SecurityConfig | None = None,
    ) -> None:
        """model: its name; version: the default one unless given; timeout: seconds that each call may take.

        token_file: TorchServe's key file, which is read again when it changes; or the token itself. health_address: the
        launcher's; with it a call that waits for a worker, as none is there, raises Unavailable within about a second.
        security: the config's section: with its `ca` TLS is spoken, and its `token` is shown where no other one is given.
        Raises ConfigError for files of it that are of no use.
        """
        shown = GrpcioSecurity(security or SecurityConfig())
        self._model = model
        self._version = version or ""
        self._tokens = Tokens(token, token_file, shown.metadata)
        self._timeout = checked_timeout(timeout)
        self._channel = open_channel(address, self._grpc, shown)
        self._encrypts = shown.encrypts
        self._call = predictions_call(self._channel)
        self._traces = traces_of("persia-client")
        self._worker_check = WorkerCheck(health_address, model, version, self._grpc) if health_address else None

    def _metadata(self) -> list[tuple[str, str]]:
        """What goes with a call: the token, and the span that it is for."""
        return [*(self._tokens.metadata("inference") or ()), *self._traces.headers().items()]

    def _message(self, inputs: Mapping[str, bytes]) -> Any:
        return new_message("PredictionsRequest", model_name=self._model, model_version=self._version, input=inputs)


class BlockingCalls(GrpcCalls):
    """Safe for use by many threads, which share one connection."""

    def _prediction(self, message: Any, seconds: float) -> bytes:
        """Returns what the handler answered. Raises the errors of Client.predict."""
        end = time.monotonic() + seconds
        try:
            with self._traces.span("persia.predict", model=self._model):
                return bytes(self._answer(message, seconds).prediction)
        except grpc.RpcError as error:
            raise torchserve_error(error, message.ByteSize(), end, self._encrypts) from None

    def _answer(self, message: Any, seconds: float) -> Any:
        """Makes the call, and looks meanwhile whether a worker is there. Raises RpcError, Unavailable."""
        metadata = self._metadata()
        if self._worker_check is None:
            return self._call(message, timeout=seconds, metadata=metadata)
        call = self._call.future(message, timeout=seconds, metadata=metadata)
        try:
            while True:
                try:
                    return call.result(LOOK_SECONDS)
                except grpc.FutureTimeoutError:
                    self._worker_check.check()
        finally:
            call.cancel()  # without effect on one that has ended

    def close(self) -> None:
        self._channel.close()
        if self._worker_check is not None:
            self._worker_check.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
