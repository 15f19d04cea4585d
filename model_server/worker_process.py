"""One worker of a model: its process, started again when it dies, and its place among the model's workers."""

from __future__ import annotations

import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from persia._core.inference import ModelVersion, Worker

from .refusals import OutOfMemory, WorkerFailed
from .worker_output import WorkerOutput

__all__ = ["WorkerPlan", "WorkerProcess"]

log = logging.getLogger(__name__)

# Seconds before each new start after a death, as TorchServe has them; the last goes on.
BACK_OFF = (0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55)
_GOODBYE_SECONDS = 5.0  # that a process has to end by itself


@dataclass(frozen=True)
class WorkerPlan:
    """What the workers of a version are started with."""

    model_name: str
    directory: Path
    handler: str
    batch_size: int
    startup_seconds: float
    retry_seconds: float  # in which a worker that cannot start is tried again
    python: str = sys.executable
    environment: Mapping[str, str] | None = None
    envelope: str = ""
    version: str = ""
    output: WorkerOutput | None = None  # where it writes; None: where the server does


class WorkerProcess:
    """Thread safety: any thread may use it. A thread of its own watches the process."""

    def __init__(
        self, number: int, plan: WorkerPlan, model: ModelVersion, gpu: int | None, on_given_up: Callable[[], None]
    ) -> None:
        self.id = str(number)
        self.gpu = gpu
        self.started = datetime.now(timezone.utc)
        self._plan = plan
        self._model = model
        self._on_given_up = on_given_up
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._worker: Worker | None = None
        self._stopping = threading.Event()
        self._first_start: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name=f"worker-{number}", daemon=True)

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
        return process.pid if process is not None and process.poll() is None else None

    @property
    def is_ready(self) -> bool:
        """Whether it has loaded the model."""
        return self._worker is not None

    def stop(self, drain: bool = True) -> None:
        """Lets it finish what it works on, or not. Returns at once; join() waits."""
        self._stopping.set()
        with self._lock:
            worker, process = self._worker, self._process
        if worker is not None and drain:
            worker.retire()
        elif process is not None:
            _kill(process)

    def join(self, seconds: float) -> bool:
        """Whether it has ended within so many seconds."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        failures = 0
        first_failure = 0.0
        while not self._stopping.is_set():
            try:
                worker = self._start()
            except Exception as error:
                log.warning("worker %s of %s could not start: %s", self.id, self._plan.model_name, error)
                if not self._first_start.done():  # the registration fails, and takes the worker away
                    self._first_start.set_exception(error if isinstance(error, WorkerFailed) else WorkerFailed(str(error)))
                    break
            else:
                if not self._first_start.done():
                    self._first_start.set_result(None)
                failures = 0
                ending = self._wait(worker)
                if ending == "retired":
                    break
                log.warning("worker %s of %s has ended: %s", self.id, self._plan.model_name, ending)
            now = time.monotonic()
            first_failure = now if failures == 0 else first_failure
            if now - first_failure > self._plan.retry_seconds:
                log.error("worker %s of %s is given up after %d starts", self.id, self._plan.model_name, failures)
                self._on_given_up()
                break
            self._stopping.wait(BACK_OFF[min(failures, len(BACK_OFF) - 1)])
            failures += 1
        if not self._first_start.done():
            self._first_start.set_result(None)
        self._end_process()

    def _start(self) -> Worker:
        """A process that has loaded the model, among the model's workers. Raises WorkerFailed, OutOfMemory, OSError."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                process = self._spawn(theirs)
            with self._lock:
                self._process = process
            try:
                code, message = self._load(ours)
            except (OSError, EOFError) as error:
                _kill(process)
                raise self._failed(f"the worker {_ending(process)} while it loaded the model") from error
            if code == 507:
                raise OutOfMemory(message)
            if code != 200:
                raise self._failed(message)
            worker = self._model.add_worker(ours.detach())
        with self._lock:
            self._worker = worker
        if self._stopping.is_set():
            worker.retire()
        return worker

    def _failed(self, why: str) -> WorkerFailed:
        return WorkerFailed(f"Failed to start workers for model {self._plan.model_name}: {why}")

    def _spawn(self, theirs: socket.socket) -> subprocess.Popen[bytes]:
        plan = self._plan
        environment = dict(os.environ if plan.environment is None else plan.environment)
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(plan.directory), environment.get("PYTHONPATH"))))
        command = [plan.python, "-u", "-m", "persia.model_server.worker", "--socket", str(theirs.fileno())]
        if plan.output is None:
            return subprocess.Popen(
                command, cwd=plan.directory, env=environment, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
            )
        pipes = plan.output.open(plan.model_name, plan.version, self.id)
        try:
            return subprocess.Popen(
                [*command, "--metrics", str(pipes.metrics)],
                cwd=plan.directory,
                env=environment,
                pass_fds=[theirs.fileno(), pipes.metrics],
                stdin=subprocess.DEVNULL,
                stdout=pipes.output,
                stderr=subprocess.STDOUT,
            )
        finally:
            pipes.close()

    def _load(self, ours: socket.socket) -> tuple[int, str]:
        plan = self._plan
        ours.settimeout(plan.startup_seconds or None)
        ours.sendall(
            b"L"
            + _text(plan.model_name)
            + _text(str(plan.directory))
            + struct.pack("!i", plan.batch_size)
            + _text(plan.handler)
            + struct.pack("!i", -1 if self.gpu is None else self.gpu)
            + _text(plan.envelope)
            + b"\1"
        )
        code, length = struct.unpack("!ii", _exactly(ours, 8))
        message = _exactly(ours, length + 4)[:length].decode()
        ours.settimeout(None)
        return code, message

    def _wait(self, worker: Worker) -> str:
        """How it has ended."""
        ending = ""
        while not ending:
            ending = worker.wait(60.0)
        with self._lock:
            self._worker = None
        process = self._process
        if process is not None:
            # A handler that never returns would keep the process alive.
            (process.kill if ending == "timed out" else process.terminate)()
            self._end_process()
            if ending == "lost":
                ending = _ending(process)
        return ending

    def _end_process(self) -> None:
        process = self._process
        if process is None:
            return
        try:
            process.wait(_GOODBYE_SECONDS)
        except subprocess.TimeoutExpired:
            _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def _ending(process: subprocess.Popen[bytes]) -> str:
    try:
        code = process.wait(_GOODBYE_SECONDS)
    except subprocess.TimeoutExpired:
        return "closed its connection"
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"


def _text(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("!i", len(encoded)) + encoded


def _exactly(connection: socket.socket, count: int) -> bytes:
    received = bytearray()
    while len(received) < count:
        part = connection.recv(count - len(received))
        if not part:
            raise EOFError("the worker has closed the connection")
        received += part
    return bytes(received)
