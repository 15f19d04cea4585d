"""Scores from a model on TorchServe: `Client(model, address).predict(batch)`, and the same for asyncio."""

from __future__ import annotations

import asyncio
import os
import time
from types import TracebackType
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias, overload

import grpc

from persia.batch import PersiaBatch
from persia.errors import DeadlineExceeded, InvalidInput
from persia.prelude import PyPersiaBatchData
from persia.seconds import LONGEST_SECONDS
from persia.torchserve import Tokens, decode_scores
from persia.torchserve.details import Details, split_details
from persia.torchserve.schema import new_message, open_channel, predictions_call
from persia.torchserve.scores import BATCH, DEADLINE, DETAILS, FORMAT, NPY, Scores
from persia.torchserve.status import torchserve_error

from .worker_check import LOOK_SECONDS, WorkerCheck

__all__ = ["DEFAULT_ADDRESS", "DEFAULT_TIMEOUT", "AsyncClient", "Client", "Prediction", "Scores", "checked_timeout"]

DEFAULT_ADDRESS = "127.0.0.1:7070"
# Every call has a deadline: TorchServe leaves some unanswered for ever, such as those of a version that is unregistered.
DEFAULT_TIMEOUT = 10.0

Batch: TypeAlias = PersiaBatch | PyPersiaBatchData | bytes | bytearray | memoryview


class Prediction(NamedTuple):
    """Scores, and what they were made of. `details` is None where the archive's handler is older, or another one."""

    scores: Scores
    details: Details | None


def checked_timeout(seconds: float) -> float:
    """For all calls of a client. Raises InvalidInput."""
    if not 0 < seconds <= LONGEST_SECONDS:
        raise InvalidInput(f"expected a timeout over 0 and up to {LONGEST_SECONDS:.0f} seconds, got {seconds}")
    return seconds


class _Calls:
    """What both clients share: how they are made, and how a request is."""

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
    ) -> None:
        """model: its name; version: the default one unless given; timeout: seconds that each call may take.

        token_file: TorchServe's key file, which is read again when it changes; or the token itself. health_address: the
        launcher's; with it a call that waits for a worker, as none is there, raises Unavailable within about a second.
        """
        self._model = model
        self._version = version or ""
        self._tokens = Tokens(token, token_file)
        self._timeout = checked_timeout(timeout)
        self._channel = open_channel(address, self._grpc)
        self._call = predictions_call(self._channel)
        self._worker_check = WorkerCheck(health_address, model, version, self._grpc) if health_address else None

    def _seconds(self, timeout: float | None) -> float:
        """For one call. What a caller has left may be nothing, which is no mistake of its."""
        if timeout is None:
            return self._timeout
        if timeout <= 0:
            raise DeadlineExceeded(f"expected time left for the call, got {timeout} seconds")
        return checked_timeout(timeout)

    def _request(self, batch: Batch, seconds: float, details: bool) -> Any:
        if isinstance(batch, (PersiaBatch, PyPersiaBatchData)):
            data = batch.to_bytes()
        elif isinstance(batch, (bytes, bytearray, memoryview)):
            data = bytes(batch)
        else:
            raise InvalidInput(f"expected a PersiaBatch or its bytes, got {type(batch).__name__}")
        deadline = str(round((time.time() + seconds) * 1000)).encode()
        inputs = {BATCH: data, FORMAT: NPY, DEADLINE: deadline}
        if details:
            inputs[DETAILS] = b"1"
        return new_message("PredictionsRequest", model_name=self._model, model_version=self._version, input=inputs)


def _decoded(prediction: bytes, details: bool) -> Scores | Prediction:
    if not details:
        return decode_scores(prediction)
    found, scores = split_details(prediction)
    return Prediction(decode_scores(scores), found)


class Client(_Calls):
    """Safe for use by many threads, which share one connection."""

    @overload
    def predict(self, batch: Batch, timeout: float | None = None, *, details: Literal[False] = False) -> Scores: ...
    @overload
    def predict(self, batch: Batch, timeout: float | None = None, *, details: Literal[True]) -> Prediction: ...
    def predict(self, batch: Batch, timeout: float | None = None, *, details: bool = False) -> Scores | Prediction:
        """The scores of a batch in the shape that the handler gives; of several outputs a dict of arrays.

        timeout: seconds, instead of the client's. details: gives a Prediction instead, with the versions of model and tables,
        and how the ids of each feature fared. Raises DeadlineExceeded, NotFound (model or version), AccessDenied (token),
        InvalidInput and TooLarge (the batch), Unavailable (worth another try), and PersiaError when the handler fails.
        """
        seconds = self._seconds(timeout)
        request, end = self._request(batch, seconds, details), time.monotonic() + seconds
        try:
            answer = self._answer(request, seconds)
        except grpc.RpcError as error:
            raise torchserve_error(error, request.ByteSize(), end) from None
        return _decoded(answer.prediction, details)

    def _answer(self, request: Any, seconds: float) -> Any:
        """Raises RpcError, Unavailable."""
        metadata = self._tokens.metadata("inference")
        if self._worker_check is None:
            return self._call(request, timeout=seconds, metadata=metadata)
        call = self._call.future(request, timeout=seconds, metadata=metadata)
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

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class AsyncClient(_Calls):
    """For the tasks of one event loop, in which it is made."""

    _grpc: ClassVar[Any] = grpc.aio

    @overload
    async def predict(self, batch: Batch, timeout: float | None = None, *, details: Literal[False] = False) -> Scores: ...
    @overload
    async def predict(self, batch: Batch, timeout: float | None = None, *, details: Literal[True]) -> Prediction: ...
    async def predict(self, batch: Batch, timeout: float | None = None, *, details: bool = False) -> Scores | Prediction:
        """As Client.predict. A task that is cancelled cancels the call; the work in TorchServe may still run."""
        seconds = self._seconds(timeout)
        request, end = self._request(batch, seconds, details), time.monotonic() + seconds
        try:
            answer = await self._answer(request, seconds)
        except grpc.RpcError as error:
            raise torchserve_error(error, request.ByteSize(), end) from None
        return _decoded(answer.prediction, details)

    async def _answer(self, request: Any, seconds: float) -> Any:
        """Raises RpcError, Unavailable."""
        call = self._call(request, timeout=seconds, metadata=self._tokens.metadata("inference"))
        if self._worker_check is None:
            return await call
        ended = asyncio.ensure_future(call)
        try:
            while not ended.done():
                await asyncio.wait({ended}, timeout=LOOK_SECONDS)
                if not ended.done():
                    await self._worker_check.check_async()
            return ended.result()
        finally:
            ended.cancel()  # without effect on one that has ended

    async def close(self) -> None:
        await self._channel.close()
        if self._worker_check is not None:
            await self._worker_check.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
