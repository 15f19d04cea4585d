"""One version of a model while it is served: its queue, its workers, and how many of them it is to have."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from persia._core.inference import ModelVersion

from .archives import Archive
from .model_settings import ModelSettings
from .refusals import Refusal, WorkerFailed
from .registration import Registration
from .worker_process import WorkerProcess

__all__ = ["Facts", "ServedVersion"]

# A worker that is not started yet: whether it is patient, and who is told when it is given up.
Hire = Callable[[bool, Callable[[WorkerProcess], None]], WorkerProcess]


@dataclass(frozen=True)
class Facts:
    """What does not change while a version is served."""

    name: str
    archive: Archive
    settings: ModelSettings
    registration: Registration
    fetched: Path | None = None  # a copy in the model store, that goes with the version


class ServedVersion:
    """Thread safety: any thread may use it."""

    def __init__(self, facts: Facts, native: ModelVersion, hire: Hire) -> None:
        self.facts = facts
        self.native = native
        self._hire = hire
        self._scaling = threading.Lock()  # one thread at a time starts and stops workers
        self._lock = threading.Lock()  # over what follows
        self._workers: list[WorkerProcess] = []
        self._wanted = (facts.settings.min_workers, facts.settings.max_workers)
        self._has_ended = False
        native.expect_workers(self._wanted[0])

    @property
    def wanted(self) -> tuple[int, int]:
        """How many workers it is to have, at least and at most."""
        return self._wanted

    @property
    def workers(self) -> list[WorkerProcess]:
        """Those that there are, or are on their way."""
        with self._lock:
            return list(self._workers)

    @property
    def is_ready(self) -> bool:
        """Whether as many workers as it is to have at least have loaded the model."""
        return sum(worker.is_ready for worker in self.workers) >= self._wanted[0]

    def scale(self, least: int, most: int) -> None:
        """Notes how many workers it is to have; start_workers() makes it so. REQUIRES: 0 <= least <= most."""
        with self._lock:
            self._wanted = (least, most)
        self.native.expect_workers(least)

    def start_workers(self, is_patient: bool) -> None:
        """Starts what is missing and retires what is too much.

        is_patient: returns at once, and workers that fail are tried again; else returns when all are ready. Raises Refusal
        when a worker that was waited for has failed; then those of this call are gone.
        """
        with self._scaling:
            hired = self._adjusted(is_patient)
            if is_patient:
                return
            try:
                for worker in hired:
                    worker.wait_ready()
            except Refusal:
                self._dismiss(hired)
                raise

    def end(self, seconds: float) -> bool:
        """Lets the workers finish, for so long at most, and ends them. Whether all had finished."""
        until = time.monotonic() + seconds
        if not any(worker.is_ready for worker in self.workers):
            self.native.expect_workers(0)  # nobody would answer what waits
        finished = self.native.wait_until_idle(seconds)
        with self._lock:
            self._has_ended = True
            self._wanted = (0, 0)
            workers, self._workers = self._workers, []
        self.native.expect_workers(0)
        for worker in workers:
            worker.stop(drain=finished)
        for worker in workers:
            if not worker.join(max(0.0, until - time.monotonic())):
                worker.stop(drain=False)
                worker.join(seconds)
        return finished

    def _adjusted(self, is_patient: bool) -> list[WorkerProcess]:
        """The new workers, which have begun to start."""
        with self._lock:
            if self._has_ended:
                raise WorkerFailed(f"the model {self.facts.name} was unregistered meanwhile")
            self._workers = [worker for worker in self._workers if not worker.join(0)]
            least, most = self._wanted
            surplus, self._workers = self._workers[most:], self._workers[:most]
            hired: list[WorkerProcess] = []
            for _ in range(least - len(self._workers)):
                hired.append(self._hire(is_patient, self._on_given_up))
            self._workers += hired
            for worker in hired:
                worker.start()
        for worker in surplus:
            worker.stop()
        return hired

    def _dismiss(self, hired: list[WorkerProcess]) -> None:
        for worker in hired:
            worker.stop(drain=False)
        with self._lock:
            self._workers = [worker for worker in self._workers if worker not in hired]
            self._wanted = (len(self._workers), len(self._workers))
            left = len(self._workers)
        self.native.expect_workers(left)

    def _on_given_up(self, lost: WorkerProcess) -> None:
        """The wish stays, so that the server is not called healthy; but nobody waits for a worker that does not come."""
        with self._lock:
            self._workers = [worker for worker in self._workers if worker is not lost]
            left = len(self._workers)
        self.native.expect_workers(left)
