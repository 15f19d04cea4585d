"""Kills embedding servers with SIGKILL at random moments while packets arrive, and compares all rows with an oracle.

`make crash-test KILLS=1000` runs it, SEED=... with the same choices again; the moments of the processes are their own. With
EPOCHS=1 servers follow epochs, and the rows of every epoch that they can answer from are compared. With STORE=s3 checkpoint
and packets are in a bucket of a real store, and now and then a server that was killed finds its local disk empty. On a
difference the directory stays.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import numpy.typing as npt

from persia import _core
from tests.support.crash_places import CrashDirectories, CrashPlaces, CrashStore
from tests.support.crash_trainer import SIGNS, Trainer, Values
from tests.support.persia_packets import CONFIG, DIM
from tests.support.s3_servers import running_s3_server
from tests.support.servers import PATIENCE, EmbeddingServer, wait_until

KILLS_BETWEEN_CHECKS = 6
PACKETS_PER_SECOND = 200
LOST_DISKS = 0.1  # of the kills


class DifferenceError(AssertionError):
    """Rows of the servers are not those of the oracle."""


class CrashLoop:
    def __init__(self, directory: Path, places: CrashPlaces, seed: int, shards: int, epochs: bool) -> None:
        self._rng = random.Random(seed)
        self._places = places
        self._trainer = Trainer(places, directory, random.Random(seed + 1))
        self._next_step = 0.0
        self._epochs = epochs
        self.epochs_compared = 0
        self._shard_of = _core.shard_of(SIGNS, shards)
        self._servers = [
            EmbeddingServer(
                directory,
                CONFIG,
                checkpoint=places.checkpoint,
                incremental_dir=places.packets,
                index=index,
                count=shards,
                settings={**places.settings(index), "enable_epochs": epochs},
            )
            for index in range(shards)
        ]
        self.kills: Counter[str] = Counter()  # by what the server was doing

    def run(self, kills: int) -> None:
        """Raises DifferenceError."""
        while self.kills.total() < kills:
            for _ in range(min(KILLS_BETWEEN_CHECKS, kills - self.kills.total())):
                server = self._rng.choice(self._servers)
                self._train_until(self._moment_after_start(server))
                self._kill(server)
                server.start()
            self._check_while_serving()
            self._check_after_restart()

    def close(self) -> None:
        for server in self._servers:
            server.kill()
        self._trainer.close()

    def _moment_after_start(self, server: EmbeddingServer) -> float:
        """Spread so that a server is killed while it starts, while it loads and catches up, and while it serves."""
        if self._rng.random() < 0.2:
            return time.monotonic() + self._rng.uniform(0, 0.8)
        wait_until(lambda: self._train() or "listening on" in server.log(), "the server listens")
        return time.monotonic() + self._rng.choice([0.002, 0.02, 0.06, 0.4]) * self._rng.random()

    def _train(self) -> bool:
        """A step of the trainer, if it is time for one. False, to stand before a condition that is waited for."""
        if time.monotonic() >= self._next_step:
            self._trainer.step()
            self._next_step = time.monotonic() + self._rng.expovariate(PACKETS_PER_SECOND)
        return False

    def _train_until(self, end: float) -> None:
        while (left := end - time.monotonic()) > 0:
            self._train()
            try:
                code = self._servers[0].process.wait(min(left, 0.005))
            except subprocess.TimeoutExpired:
                continue
            raise AssertionError(f"a server ended by itself with {code}:\n{self._servers[0].log()}")

    def _kill(self, server: EmbeddingServer) -> None:
        assert server.process.poll() is None, f"a server ended by itself:\n{server.log()}"
        server.kill()
        log = server.log()
        doing = next((name for name in ("serving version", "packet", "loading", "listening on") if name in log), "starting")
        self.kills[{"packet": "catching up"}.get(doing, doing.split()[0])] += 1
        if self._rng.random() < LOST_DISKS:
            self._places.lose_disk(self._servers.index(server))

    def _check_while_serving(self) -> None:
        """The trainer rests; when the servers have seen all that it left, their rows are the oracle's."""
        for server in self._servers:
            server.wait_ready()
        steps = self._trainer.steps + 10
        wait_until(lambda: self._train() or self._trainer.steps >= steps, "the trainer has left some more")
        self._trainer.settle()
        expected, end = self._trainer.rows(), time.monotonic() + PATIENCE
        while not np.array_equal(self._rows(), expected):
            if time.monotonic() > end:
                raise DifferenceError(_differences(expected, self._rows()))
        self._check_epochs()

    def _check_after_restart(self) -> None:
        """A server that is ready has all that was there when it started: its first answer is compared."""
        for server in self._servers:
            self._kill(server)
        for packed in (False, True):
            if packed:
                self._trainer.save()
            for server in self._servers:
                server.start()
            for server in self._servers:
                server.wait_ready()
            expected = self._trainer.rows()
            if not np.array_equal(self._rows(), expected):
                raise DifferenceError(_differences(expected, self._rows()))
            self._check_epochs()
            if not packed:
                for server in self._servers:
                    self._kill(server)

    def _check_epochs(self) -> None:
        """Each epoch that a server can answer from has the rows that its record says."""
        if not self._epochs:
            return
        log = self._places.epoch_log()
        log.read()
        for index, server in enumerate(self._servers):
            status = server.status()
            for epoch in range(status.epoch_low, status.epoch + 1):
                expected = np.where(self._shard_of == index, self._trainer.rows_of(log.history.packets_at(epoch)), 0)
                rows, answer = server.rows(SIGNS, DIM, epoch)
                if answer.epoch != epoch:
                    continue  # it has been given up since
                self.epochs_compared += 1
                if not np.array_equal(_values_of(rows), expected):
                    raise DifferenceError(f"epoch {epoch} of shard {index}: {_differences(expected, _values_of(rows))}")

    def _rows(self) -> Values:
        """All rows of all servers; a row that another shard should have, or that is torn, is NaN."""
        found = np.zeros(len(SIGNS), np.float32)
        for index, server in enumerate(self._servers):
            value = _values_of(server.rows(SIGNS, DIM)[0])
            mine = self._shard_of == index
            found[mine] = value[mine]
            found[~mine & (value != 0)] = np.nan
        return found


def _values_of(rows: npt.NDArray[np.float32]) -> Values:
    """NaN for a row that is torn."""
    return np.where((rows == rows[:, :1]).all(1), rows[:, 0], np.float32(np.nan))


def _differences(expected: Values, got: Values) -> str:
    wrong = np.flatnonzero(~(got == expected))
    lines = [f"sign {SIGNS[k]}: expected {expected[k]:g}, got {got[k]:g}" for k in wrong[:10]]
    return "\n".join([f"{len(wrong)} of {len(SIGNS)} rows differ", *lines])


def run(directory: Path, kills: int, seed: int, shards: int, *, epochs: bool = False, url: str = "") -> str:
    """Returns a line that says what was done. Raises DifferenceError; the directory is left as it is.

    url: of an empty directory of a store, in which checkpoint and packets are to be, instead of the local one.
    """
    places = CrashStore(directory, url) if url else CrashDirectories(directory)
    loop = CrashLoop(directory, places, seed, shards, epochs)
    try:
        loop.run(kills)
    finally:
        loop.close()
    moments = ", ".join(f"{count} {doing}" for doing, count in sorted(loop.kills.items()))
    compared = f", {loop.epochs_compared} times all rows of an epoch" if epochs else ""
    return f"{loop.kills.total()} kills ({moments}), {loop._trainer.steps} steps of the trainer{compared}, no difference"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--epochs", action="store_true")
    parser.add_argument("--store", choices=["s3"])
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="persia-crash-"))
    print(f"seed {options.seed}, directory {directory}", flush=True)
    try:
        with running_s3_server(directory / "store") if options.store else nullcontext() as server:
            url = server.url("crash") if server else ""
            print(run(directory, options.kills, options.seed, options.shards, epochs=options.epochs, url=url))
    except AssertionError as error:
        sys.exit(f"{error}\nseed {options.seed}; kept: {directory}")
    shutil.rmtree(directory)


if __name__ == "__main__":
    main()
