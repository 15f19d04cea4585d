"""One worker of a model: its process, started again when it dies, and its place among the model's workers."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from persia._core.inference import ModelVersion, WorkerLink

from .refusals import OutOfMemory, OverMemoryLimit, WorkerFailed
from .worker_loading import Loaded, load_request, read_loaded
from .worker_output import WorkerOutput
from .worker_starts import WorkerStarts

__all__ = ["WorkerPlan", "WorkerProcess", "resident_bytes"]

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0  # between two looks whether the process is there
_MEMORY_LOOK_SECONDS = 0.2  # between two looks at the memory of a worker that has a limit


@dataclass(frozen=True)
class WorkerPlan:
    """What the workers of a version are started with."""

    model_name: str
    directory: Path
    handler: str
    batch_size: int
    startup_seconds: float
    retry_seconds: float  # in which a worker that cannot start is tried again
    goodbye_seconds: float = 5.0  # that a process has to end by itself
    python: str = sys.executable
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    packages: Path | None = None  # that go before those of `python`
    envelope: str = ""
    limits_image_pixels: bool = True
    memory_limit: int = 0  # bytes; 0: none
    version: str = ""
    output: WorkerOutput | None = None  # where it writes; None: where the server does


class FirstStart(NamedTuple):
    """What the model says of its tensors, and how long it took to load it."""

    metadata: bytes = b""
    seconds: float = 0.0


class WorkerProcess:
    """Thread safety: any thread may use it. A thread of its own watches the process."""

    def __init__(
        self,
        number: int,
        plan: WorkerPlan,
        model: ModelVersion,
        gpu: int | None,
        on_given_up: Callable[[WorkerProcess], None],
        is_patient: bool,
    ) -> None:
        """is_patient: a first start that fails is tried again, as those after a death are."""
        self.id = str(number)
        self.gpu = gpu
        self.started = datetime.now(timezone.utc)
        self._plan = plan
        self._model = model
        self._on_given_up = on_given_up
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._link: WorkerLink | None = None
        self._stopping = threading.Event()
        self._first_start: Future[FirstStart] = Future()
        self._thread = threading.Thread(target=self._run, args=(is_patient,), name=f"worker-{number}", daemon=True)

    def __repr__(self) -> str:
        return f"WorkerProcess({self.id}, pid={self.pid}, ready={self.is_ready})"

    def start(self) -> None:
        """Returns at once."""
        self._thread.start()

    def wait_ready(self) -> None:
        """Until its first start has come out. Raises WorkerFailed, OutOfMemory."""
        self._first_start.result()

    @property
    def pid(self) -> int | None:
        """Of its process; None: there is none now."""
        process = self._process
        return process.pid if process is not None and not _has_ended(process) else None

    @property
    def is_ready(self) -> bool:
        """Whether it has loaded the model."""
        return self._link is not None

    @property
    def metadata(self) -> bytes:
        """What the model says of its tensors, since it was loaded for the first time; empty: nothing yet."""
        return self._first.metadata

    @property
    def load_seconds(self) -> float:
        """That its first start took, until the model was loaded."""
        return self._first.seconds

    @property
    def _first(self) -> FirstStart:
        start = self._first_start
        return start.result() if start.done() and start.exception() is None else FirstStart()

    def stop(self, drain: bool = True) -> None:
        """Lets it finish what it works on, or not. Returns at once; join() waits."""
        self._stopping.set()
        with self._lock:
            link, process = self._link, self._process
        if link is not None and drain:
            link.retire()
        elif process is not None:
            _kill(process)

    def join(self, seconds: float) -> bool:
        """Whether it has ended within so many seconds."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self, is_patient: bool) -> None:
        starts = WorkerStarts(self._plan.retry_seconds)
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                link, metadata = self._start()
            except Exception as error:
                log.warning("worker %s of %s could not start: %s", self.id, self._plan.model_name, error)
                if not is_patient and not self._first_start.done():  # who waits for it takes it away
                    self._first_start.set_exception(error if isinstance(error, WorkerFailed) else WorkerFailed(str(error)))
                    break
                self._end_process()
            else:
                if not self._first_start.done():
                    self._first_start.set_result(FirstStart(metadata, time.monotonic() - began))
                starts.load()
                ending = self._wait(link, starts)
                if ending == "retired":
                    break
                log.warning("worker %s of %s has ended: %s", self.id, self._plan.model_name, ending)
            seconds = starts.next()
            if seconds is None:
                log.error("worker %s of %s is given up after %d starts", self.id, self._plan.model_name, starts.failures)
                self._on_given_up(self)
                break
            if seconds > 0:
                log.info("worker %s of %s starts again in %d s", self.id, self._plan.model_name, seconds)
            self._stopping.wait(seconds)
        if not self._first_start.done():
            self._first_start.set_result(FirstStart())
        self._end_process()

    def _start(self) -> tuple[WorkerLink, bytes]:
        """A process that has loaded the model, among the model's workers, and what the model says of its tensors.

        Raises WorkerFailed, OutOfMemory, OverMemoryLimit, OSError.
        """
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                process = self._spawn(theirs)
            with self._lock:
                self._process = process
            if self._stopping.is_set():  # who stops it may have come before there was a process
                _kill(process)
            try:
                loaded = self._load(ours)
            except (OSError, EOFError) as error:
                why = self._why_not_loaded(process, error)
                _kill(process)
                raise WorkerFailed(why) from error
            if loaded.code == 507:
                raise OutOfMemory(loaded.message)
            if loaded.code != 200:
                raise WorkerFailed(loaded.message)
            self._check_memory(process)
            self._model.set_requests_at_once(loaded.requests_at_once)
            link = self._model.add_worker(ours.detach(), process.pid)
        with self._lock:
            self._link = link
        if self._stopping.is_set():
            link.retire()
        return link, loaded.metadata

    def _why_not_loaded(self, process: subprocess.Popen[bytes], error: Exception) -> str:
        """REQUIRES: the process was not killed for it."""
        if self._stopping.is_set():
            return "the worker was told to end while it loaded the model"
        if isinstance(error, TimeoutError):
            return f"the worker did not load the model within its startupTimeout of {self._plan.startup_seconds:g} s"
        return f"the worker {_ending(process, self._plan.goodbye_seconds)} while it loaded the model"

    def _check_memory(self, process: subprocess.Popen[bytes]) -> None:
        """Raises OverMemoryLimit."""
        limit, used = self._plan.memory_limit, resident_bytes(process.pid)
        if limit and used > limit:
            _kill(process)
            raise OverMemoryLimit(
                f"expected a worker that loads the model within its memoryLimitMiB of {limit >> 20}, got one with "
                f"{used >> 20} MiB"
            )

    def _spawn(self, theirs: socket.socket) -> subprocess.Popen[bytes]:
        plan = self._plan
        environment = dict(plan.environment)
        places = (str(plan.directory), str(plan.packages or ""), environment.get("PYTHONPATH"))
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, places))
        command = [plan.python, "-u", "-m", "persia.model_server.worker", "--socket", str(theirs.fileno())]
        # Whatever a handler starts or forks is of the worker's group, and ends with it.
        place: dict[str, Any] = {
            "cwd": plan.directory,
            "env": environment,
            "stdin": subprocess.DEVNULL,
            "start_new_session": True,
        }
        if plan.output is None:
            return subprocess.Popen(command, pass_fds=[theirs.fileno()], **place)
        pipes = plan.output.open(plan.model_name, plan.version, self.id)
        try:
            return subprocess.Popen(
                [*command, "--metrics", str(pipes.metrics)],
                pass_fds=[theirs.fileno(), pipes.metrics],
                stdout=pipes.output,
                stderr=subprocess.STDOUT,
                **place,
            )
        finally:
            pipes.close()

    def _load(self, ours: socket.socket) -> Loaded:
        plan = self._plan
        if plan.startup_seconds <= 0:
            raise WorkerFailed("the archive or the registration gives it 0 seconds to load the model")
        ours.settimeout(plan.startup_seconds)
        ours.sendall(
            load_request(
                plan.model_name,
                str(plan.directory),
                plan.batch_size,
                plan.handler,
                self.gpu,
                plan.envelope,
                plan.limits_image_pixels,
            )
        )
        loaded = read_loaded(ours)
        ours.settimeout(None)
        return loaded

    def _wait(self, link: WorkerLink, starts: WorkerStarts) -> str:
        """How it has ended, which `starts` hears of."""
        limit, ending, reason, has_outgrown = self._plan.memory_limit, "", "", False
        while not ending:
            ending, reason = link.wait(_MEMORY_LOOK_SECONDS if limit else _LOOK_SECONDS)
            if not ending and self.pid is None:
                self._kill_children()  # which hold the connection open
            if limit and not ending and (grown := resident_bytes(self.pid)) > limit:
                log.error(
                    "worker %s of %s is ended: it has %d bytes, and may have %d", self.id, self._plan.model_name, grown, limit
                )
                link.end(OutOfMemory.status, f"the worker has grown beyond its memoryLimitMiB of {limit >> 20}")
                has_outgrown = True
        (starts.outgrow if has_outgrown else starts.end)()
        with self._lock:
            self._link = None
        process = self._process
        if process is not None:
            if ending == "lost":  # asked before the process is killed, which would be its end then
                ending = reason or _ending(process, self._plan.goodbye_seconds)
            # A handler that never returns would keep the process alive.
            if ending == "retired":
                process.terminate()
            else:
                _kill(process)
            self._end_process()
        return ending

    def _end_process(self) -> None:
        """On return neither it nor anything that it has started is there."""
        process = self._process
        if process is None:
            return
        with suppress(subprocess.TimeoutExpired):
            process.wait(self._plan.goodbye_seconds)
        _kill(process)
        with self._lock:
            self._process = None  # its number may be another process's from now on

    def _kill_children(self) -> None:
        """The link has yet to see how the process itself has ended: it is not waited for."""
        with self._lock:
            if self._process is not None:
                _kill_group(self._process)


def resident_bytes(pid: int | None) -> int:
    """The memory of a process; 0: there is no such process."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Does not wait for it, as poll() would: the link sees how a process ends only as long as nobody has waited for it."""
    if process.returncode is not None:
        return True
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # the thread that watches it has waited for it just now
        return True


def _kill(process: subprocess.Popen[bytes]) -> None:
    """And what it has started or forked, also if it has ended before."""
    _kill_group(process)
    process.wait()


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Does not wait for the process."""
    with suppress(ProcessLookupError, PermissionError):  # there is nothing left, or nothing of ours
        os.killpg(process.pid, signal.SIGKILL)


def _ending(process: subprocess.Popen[bytes], seconds: float) -> str:
    """seconds: that it has to end by itself."""
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        return "closed its connection"
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
