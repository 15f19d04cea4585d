"""Starting `persia-launcher up` for an export, as one would in a terminal, and calling what it serves."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from persia.batch import PersiaBatch
from persia.client.predict import Client
from persia.export import Export
from persia.system.address import free_ports

Scores = npt.NDArray[np.float32]

PATIENCE = 60.0
SECONDS_BETWEEN = 0.01  # two requests of a caller


class Up:
    """`persia-launcher up` for an export. With `with`, it is stopped at the end, and finishes what it was asked by then."""

    def __init__(self, export: Export, directory: Path) -> None:
        self.export = export
        middleware, self.port, management = free_ports(3)
        self.state = directory
        command = [sys.executable, "-m", "persia.launcher", "up"]
        command += ["--global-config", str(export.global_config), "--embedding-config", str(export.embedding_config)]
        command += ["--model-store", str(export.model_store), "--state", str(self.state)]
        command += ["--shards", "2", "--middleware-port", str(middleware)]
        command += ["--", "--port", str(self.port), "--management-port", str(management), "--drain", "1"]
        directory.mkdir(parents=True, exist_ok=True)
        self.log = directory / "up.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def client(self) -> Client:
        return Client(self.export.name, f"127.0.0.1:{self.port}", token_file=self.state / "ts" / "key_file.json")

    def wait_ready(self) -> Up:
        """Returns once all is served. Raises SystemExit with what `up` said if it ends instead."""

        def is_ready() -> bool:
            if self.process.poll() is not None:
                raise SystemExit(f"persia-launcher up ended with {self.process.returncode}:\n{self.log.read_text()}")
            return "Ctrl-C stops all" in self.log.read_text()

        wait_until(is_ready)
        return self

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait()

    def __enter__(self) -> Up:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


class Caller:
    """Asks for scores again and again, as the callers of a service do, and moves to another deployment when it is told to.

    With `with`, it stops at the end.
    """

    def __init__(self, client: Client, batch: PersiaBatch) -> None:
        self.asking = client, batch
        self.answered: Client | None = None  # by whom, at last
        self.answers = 0
        self.errors: list[Exception] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def move(self, client: Client, batch: PersiaBatch) -> None:
        """Returns when the first answer has come from there, so nobody waits for the old deployment any more."""
        self.asking = client, batch
        wait_until(lambda: self.errors or self.answered is client)

    def stop(self) -> None:
        self._end.set()
        self._thread.join()

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _ask(self) -> None:
        while not self._end.wait(SECONDS_BETWEEN) and not self.errors:
            client, batch = self.asking
            try:
                client.predict(batch)
                self.answers, self.answered = self.answers + 1, client
            except Exception as error:  # of whatever kind: it would be a lost request
                self.errors.append(error)


def wait_until(condition: Callable[[], object]) -> None:
    """Asks again and again until it is so. Raises SystemExit after a minute."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"waited {PATIENCE:.0f} s in vain")
        time.sleep(0.02)


def difference(one: Scores, other: Scores) -> float:
    """The largest one of any sample."""
    return float(np.abs(one - other).max())
