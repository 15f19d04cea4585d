"""Archives of one dense model that tell which version they are, swapped with their rows while clients ask without pause."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from persia.client.dense_switch import DenseSwitch
from persia.client.predict import Client
from persia.client.swap import swap
from persia.errors import PersiaError, Superseded
from persia.torchserve.management import Management
from persia.torchserve.model import Model
from persia.writers import EpochCommitter
from tests.support.dense_pairs import MODEL, Judgement, Pair, judge_pairs
from tests.support.epoch_deployments import EpochDeployment
from tests.support.epoch_rows import BATCH, CONFIG, DIM
from tests.support.servers import PATIENCE, once_available, wait_until
from tests.support.torchserves import PERSIA_HANDLER, make_archive


class Telltale(torch.nn.Module):
    """Answers the first number of each row, and after them the version."""

    def __init__(self, version: float) -> None:
        super().__init__()
        self.version = version

    def forward(self, dense: list[torch.Tensor], embeddings: list[torch.Tensor]) -> torch.Tensor:
        return torch.cat([embeddings[0][:, 0].float(), torch.full((1,), self.version)])


def make_version(store: Path, number: int) -> str:
    """The name of the archive of that version in the store."""
    model = store.with_name(f"telltale-{number}.pt")
    torch.jit.script(Telltale(float(number))).save(str(model))
    return make_archive(store, MODEL, f"{number}.0", PERSIA_HANDLER, model=model)


@dataclass(frozen=True)
class Home:
    """Where the dense model is served: a TorchServe, or a model server."""

    client: Callable[[str | None], Client]  # of a version; None: of the default
    management: Management


class Load:
    """Clients of the default version, each in a thread, until the end of the `with`."""

    def __init__(self, home: Home, threads: int = 3) -> None:
        self.pairs: list[Pair] = []
        self.failures: list[PersiaError] = []
        self._home, self._done, self._counts = home, threading.Event(), [0] * threads
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(threads)]

    def _run(self, number: int) -> None:
        with self._home.client(None) as client:
            while not self._done.is_set():
                try:
                    scores, details = client.predict(BATCH, details=True)
                except PersiaError as error:
                    self.failures.append(error)
                    continue
                assert details is not None and details.embedding_config == f"{CONFIG.fingerprint_id:016x}"
                *rows, version = np.reshape(scores, -1)
                # The version that scored, by its score; by its details it has to be the same.
                scored = f"{int(version)}.0"
                named = scored if scored == details.model_version else f"{scored}, said to be {details.model_version}"
                numbers = np.repeat(np.array(rows, np.float16), DIM).tobytes()
                self.pairs.append(Pair(named, details.epoch or 0, numbers))
                self._counts[number] += 1

    def wait_for(self, version: str) -> None:
        wait_until(lambda: self.failures or any(pair.version == version for pair in self.pairs[-50:]), f"{version} answers")

    def drain(self) -> None:
        """Until no client waits for an answer that was asked for before."""
        before = list(self._counts)
        wait_until(
            lambda: self.failures or all(now > then + 1 for now, then in zip(self._counts, before, strict=True)), "it drains"
        )

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()


class Trainer:
    """Commits packets as time goes by, and, if it is told so, with a version of the dense model."""

    def __init__(self, deployment: EpochDeployment) -> None:
        self._trainer, self._committer = deployment.trainer, EpochCommitter(deployment.packets)
        self._lock = threading.Lock()

    def commit(self, version: str | None = None) -> int:
        with self._lock:
            packet, dense = self._trainer.leave(), None if version is None else {MODEL: version}
            while True:
                try:
                    return self._committer.commit([packet], dense)
                except Superseded:  # a swap has committed
                    self._committer.refresh()

    @contextmanager
    def working(self, each: float) -> Iterator[None]:
        """A packet each so many seconds."""
        done = threading.Event()

        def run() -> None:
            while not done.wait(each):
                self.commit()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def smoke(home: Home) -> Callable[[Model], None]:
    """A check of a swap, which waits for the epoch."""

    def check(model: Model) -> None:
        with home.client(model.version) as client:
            once_available(lambda: client.predict(BATCH))

    return check


def swap_pairs(
    home: Home,
    deployment: EpochDeployment,
    trainer: Trainer,
    store: Path,
    numbers: range,
    report: Callable[[str], None] = print,
) -> Judgement:
    """Swaps to these versions one after the other under load. The record comes from the trainer and from the swap by turns.

    Raises AssertionError for a lost request. REQUIRES: the version before the first one is the default, and a record names it.
    """
    with Load(home) as load:
        for number in numbers:
            old, new, archive = f"{number - 1}.0", f"{number}.0", make_version(store, number)
            load.wait_for(old)
            if number % 2:
                trainer.commit(new)
            switch = DenseSwitch(deployment.packets)
            swap(home.management, MODEL, archive, drain=0, check=smoke(home), keep_old=True, switch=switch, wait=5 * PATIENCE)
            load.wait_for(new)
            load.drain()
            home.management.unregister(MODEL, old)
            (store / f"{MODEL}-{old}.mar").unlink()
            report(f"{number} of {numbers[-1]}: {len(load.pairs)} answers, {len(load.failures)} failures")
    assert load.failures == []
    return judge_pairs(load.pairs, deployment.packets, deployment.oracle())
