"""Scores from a model on TorchServe: `Client(model, address).predict(batch)`, and the same for asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias, overload

import grpc

from persia.batch import PersiaBatch
from persia.errors import InvalidInput, NotReplayable
from persia.prelude import PyPersiaBatchData
from persia.receipts.receipt import KeptAnswer, receipt_of
from persia.torchserve.details import Details, split_details
from persia.torchserve.scores import BATCH, DEADLINE, DETAILS, FORMAT, NPY, VARIANT, Scores, decode_scores
from persia.torchserve.status import torchserve_error

from .grpc_calls import DEFAULT_ADDRESS, DEFAULT_TIMEOUT, BlockingCalls, GrpcCalls, checked_timeout, seconds_of_call
from .worker_check import LOOK_SECONDS

__all__ = ["DEFAULT_ADDRESS", "DEFAULT_TIMEOUT", "AsyncClient", "Client", "Prediction", "Scores", "checked_timeout"]

Batch: TypeAlias = PersiaBatch | PyPersiaBatchData | bytes | bytearray | memoryview


class Prediction(NamedTuple):
    """Scores, and what they were made of. `details` is None where the archive's handler is older, or another one."""

    scores: Scores
    details: Details | None


def _inputs(
    batch: Batch, seconds: float, details: bool, variant: str, more: Mapping[str, str | bytes] | None
) -> dict[str, bytes]:
    if isinstance(batch, (PersiaBatch, PyPersiaBatchData)):
        data = batch.to_bytes()
    elif isinstance(batch, (bytes, bytearray, memoryview)):
        data = bytes(batch)
    else:
        raise InvalidInput(f"expected a PersiaBatch or its bytes, got {type(batch).__name__}")
    deadline = str(round((time.time() + seconds) * 1000)).encode()
    others = {key: value.encode() if isinstance(value, str) else value for key, value in (more or {}).items()}
    inputs = others | {BATCH: data, FORMAT: NPY, DEADLINE: deadline}
    if variant:
        inputs[VARIANT] = variant.encode()
    if details:
        inputs[DETAILS] = b"1"
    return inputs


def _kept(inputs: dict[str, bytes], prediction: bytes) -> KeptAnswer:
    details, scores = split_details(prediction)
    if details is None:
        raise NotReplayable(
            "release", "the answer has no details, of which receipts are made: its handler is not ours, or older"
        )
    now = round(time.time() * 1000)
    receipt = receipt_of(details, inputs[BATCH], inputs[FORMAT].decode(), scores, now)
    return KeptAnswer(receipt, inputs[BATCH])


def _decoded(prediction: bytes, details: bool) -> Scores | Prediction:
    if not details:
        return decode_scores(prediction)
    found, scores = split_details(prediction)
    return Prediction(decode_scores(scores), found)


class Client(BlockingCalls):
    """Safe for use by many threads, which share one connection."""

    @overload
    def predict(
        self,
        batch: Batch,
        timeout: float | None = None,
        *,
        details: Literal[False] = False,
        variant: str = "",
        more: Mapping[str, str | bytes] | None = None,
    ) -> Scores: ...
    @overload
    def predict(
        self,
        batch: Batch,
        timeout: float | None = None,
        *,
        details: Literal[True],
        variant: str = "",
        more: Mapping[str, str | bytes] | None = None,
    ) -> Prediction: ...
    def predict(
        self,
        batch: Batch,
        timeout: float | None = None,
        *,
        details: bool = False,
        variant: str = "",
        more: Mapping[str, str | bytes] | None = None,
    ) -> Scores | Prediction:
        """Returns the scores of a batch in the shape that the handler gives them, or a dict of arrays for several outputs.

        timeout: seconds, instead of the client's. details: a Prediction is returned instead, which has the versions of model
        and tables, and says how many ids of each feature have a row. variant: whose rows are wanted, `none` for those that all
        share; empty: the archive's settings choose. more: other keys of the request's `input`, such as the one that they choose
        by. Raises DeadlineExceeded, NotFound (model, version or variant), AccessDenied (token), InvalidInput and TooLarge (the
        batch), Unavailable (another try is worth it), and PersiaError if the handler fails.
        """
        seconds = seconds_of_call(self._timeout, timeout)
        prediction = self._prediction(self._message(_inputs(batch, seconds, details, variant, more)), seconds)
        return _decoded(prediction, details)

    def predict_kept(
        self,
        batch: Batch,
        timeout: float | None = None,
        *,
        variant: str = "",
        more: Mapping[str, str | bytes] | None = None,
    ) -> KeptAnswer:
        """Returns the scores with their receipt and the request, to be kept (persia.receipts.kept) and replayed.

        Raises what predict() raises, and NotReplayable if the answer does not say all that a replay needs.
        """
        seconds = seconds_of_call(self._timeout, timeout)
        inputs = _inputs(batch, seconds, True, variant, more)
        return _kept(inputs, self._prediction(self._message(inputs), seconds))


class AsyncClient(GrpcCalls):
    """For the tasks of one event loop, in which it is made."""

    _grpc: ClassVar[Any] = grpc.aio

    @overload
    async def predict(
        self,
        batch: Batch,
        timeout: float | None = None,
        *,
        details: Literal[False] = False,
        variant: str = "",
        more: Mapping[str, str | bytes] | None = None,
    ) -> Scores: ...
    @overload
    async def predict(
        self,
        batch: Batch,
        timeout: float | None = None,
        *,
        details: Literal[True],
        variant: str = "",
        more: Mapping[str, str | bytes] | None = None,
    ) -> Prediction: ...
    async def predict(
        self,
        batch: Batch,
        timeout: float | None = None,
        *,
        details: bool = False,
        variant: str = "",
        more: Mapping[str, str | bytes] | None = None,
    ) -> Scores | Prediction:
        """Does what Client.predict does. Cancelling its task cancels the call, but the work in TorchServe may go on."""
        seconds = seconds_of_call(self._timeout, timeout)
        return _decoded(await self._asked(_inputs(batch, seconds, details, variant, more), seconds), details)

    async def predict_kept(
        self,
        batch: Batch,
        timeout: float | None = None,
        *,
        variant: str = "",
        more: Mapping[str, str | bytes] | None = None,
    ) -> KeptAnswer:
        """Does what Client.predict_kept does."""
        seconds = seconds_of_call(self._timeout, timeout)
        inputs = _inputs(batch, seconds, True, variant, more)
        return _kept(inputs, await self._asked(inputs, seconds))

    async def _asked(self, inputs: dict[str, bytes], seconds: float) -> bytes:
        request, end = self._message(inputs), time.monotonic() + seconds
        try:
            with self._traces.span("persia.predict", model=self._model):
                return bytes((await self._answer(request, seconds)).prediction)
        except grpc.RpcError as error:
            raise torchserve_error(error, request.ByteSize(), end, self._encrypts) from None

    async def _answer(self, request: Any, seconds: float) -> Any:
        """Makes the call, and looks meanwhile whether a worker is there. Raises RpcError, Unavailable."""
        call = self._call(request, timeout=seconds, metadata=self._metadata())
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
