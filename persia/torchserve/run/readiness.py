"""When a TorchServe can answer: its own Ping says Healthy long before, without workers, and while they die one by one."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import grpc

from persia.errors import DeadlineExceeded, PersiaError
from persia.torchserve.management import Management
from persia.torchserve.model import Model
from persia.torchserve.run.process import TorchServe
from persia.torchserve.run.restoring import Planned
from persia.torchserve.schema import new_message, open_channel, predictions_call
from persia.torchserve.scores import BATCH
from persia.torchserve.status import torchserve_error

__all__ = ["Readiness", "has_traceback"]

log = logging.getLogger("torchserve")

POLL_SECONDS = 0.05
LOG_SECONDS = 2.0
SMOKE_SECONDS = 60.0  # for the first answer
# The JVM compiles what runs often, and a handler's first calls open connections: so the first callers need not wait for it.
WARM_UP_CALLS = 20
WARM_UP_SECONDS = 2.0
# Up to the last line, which has no spaces before it.
_TRACEBACK = re.compile(r" MODEL_LOG - Traceback .*\n(?:.* MODEL_LOG - (?: .*)?\n)+.* MODEL_LOG - \S.*\n")


class Readiness:
    """Looks at a TorchServe that was started, and mends what it cannot be told at its start: the default and the workers.

    models: what it is to have. batches: what models of a name must answer.
    """

    def __init__(self, server: TorchServe, models: Sequence[Planned], batches: Mapping[str, bytes]) -> None:
        self._server = server
        self._models = models
        self._batches = batches
        self._tokens = server.tokens()
        self._management = Management(server.management_address, self._tokens)
        self._scaled: set[Planned] = set()

    def __enter__(self) -> Readiness:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._management.close()

    def wait(self, seconds: float, stop: Callable[[], bool] = lambda: False) -> bool:
        """False if `stop` says so before it is ready.

        Raises Unavailable if TorchServe ends, DeadlineExceeded with the end of its logs, and what a smoke prediction raises,
        which is given up at the end of these seconds, too.
        """
        end = time.monotonic() + seconds
        deaths = 0
        while waits_for := self._missing():
            if stop():
                self._server.check()
                return False
            if (seen := self._deaths()) > deaths:
                deaths = seen
                log.warning("a worker died while it loaded; TorchServe tries again:\n%s", self._server.log_tail())
            if time.monotonic() > end:
                raise DeadlineExceeded(f"not ready after {seconds:.0f} s: {waits_for}\n{self._server.log_tail()}")
            self._server.check()
            time.sleep(POLL_SECONDS)
        for planned in self._models:
            if planned.name in self._batches and not self._answers(planned.name, planned.version, end, stop):
                self._server.check()
                return False
        return True

    def _missing(self) -> str | None:
        """What is not there yet."""
        try:
            there = {(model.name, model.version): model for model in self._management.list()}
            found = [(planned, there.get((planned.name, planned.version))) for planned in self._models]
            for planned, model in found:
                if model is None:
                    return f"{planned.name} {planned.version} is not registered"
                self._scale(planned, model)
            for planned, model in found:
                assert model is not None
                if not model.all_ready or not _is_scaled(planned, model):
                    workers = planned.min_workers or max(1, model.min_workers)
                    return f"{planned.name} {planned.version}: {model.ready} of {workers} workers are READY"
            for planned, model in found:
                assert model is not None
                if planned.is_default and not model.is_default:
                    self._management.set_default(planned.name, planned.version)
                    return f"{planned.name} {planned.version} is not the default"
        except PersiaError as error:
            return str(error)  # the key file and the port come after a second or two; a worker may die at any moment
        return None

    def _scale(self, planned: Planned, model: Model) -> None:
        """Asks for workers, once: those of the archive may not be as many as are wanted."""
        if not _is_scaled(planned, model) and planned not in self._scaled:
            assert planned.min_workers is not None and planned.max_workers is not None
            self._management.set_workers(planned.name, planned.version, planned.min_workers, planned.max_workers)
            self._scaled.add(planned)

    def _deaths(self) -> int:
        return self._server.logged("model_log.log").count("Backend worker process died.")

    def _answers(self, name: str, version: str, end: float, stop: Callable[[], bool]) -> bool:
        """Waits for a model's first answer, and asks a while longer. False if `stop` says so before. Raises PersiaError."""
        batch = self._batches[name]
        request = new_message("PredictionsRequest", model_name=name, model_version=version, input={BATCH: batch})
        logged = len(self._server.logged("model_log.log"))
        enough = end
        with open_channel(self._server.address) as channel:
            call = predictions_call(channel)
            for number in range(WARM_UP_CALLS):
                seconds = SMOKE_SECONDS if number else min(SMOKE_SECONDS, max(0.0, end - time.monotonic()))
                metadata, late = self._tokens.metadata("inference"), time.monotonic() + seconds
                answer = call.future(request, timeout=seconds, metadata=metadata, wait_for_ready=True)
                try:
                    if not _comes(answer, stop):
                        return False
                except grpc.RpcError as error:
                    self._wait_for_traceback(logged)
                    log.error("%s %s does not answer the smoke prediction:\n%s", name, version, self._server.log_tail())
                    raise torchserve_error(error, len(batch), late) from None
                if not number:
                    enough = min(end, time.monotonic() + WARM_UP_SECONDS)
                if time.monotonic() > enough:
                    break
        return True

    def _wait_for_traceback(self, begin: int) -> None:
        """What a worker prints is in the log a moment after its answer has come; one that is killed prints nothing."""
        end = time.monotonic() + LOG_SECONDS
        while not has_traceback(self._server.logged("model_log.log")[begin:]) and time.monotonic() < end:
            time.sleep(POLL_SECONDS)


def _is_scaled(planned: Planned, model: Model) -> bool:
    return planned.min_workers is None or (model.min_workers, model.max_workers) == (planned.min_workers, planned.max_workers)


def _comes(answer: grpc.Future[Any], stop: Callable[[], bool]) -> bool:
    """Waits for it. False, and it is cancelled, if `stop` says so before. Raises RpcError."""
    while True:
        try:
            answer.result(POLL_SECONDS)
            return True
        except grpc.FutureTimeoutError:
            if stop():
                answer.cancel()
                return False


def has_traceback(logged: str) -> bool:
    """Whether there is a whole one in what TorchServe has logged."""
    return _TRACEBACK.search(logged) is not None
