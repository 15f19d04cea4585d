"""Keeps answers of a home while packets come and the epochs go back and forth, and makes all of them again.

`make replay-test RECEIPTS=10000` runs it. If an answer is another one, the directory stays.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from click.testing import CliRunner

from persia.client.predict import Client
from persia.formats.epoch import Draft
from persia.formats.epoch_log import EpochLog
from persia.receipts.kept import kept_files, write_kept
from persia.receipts.receipt import KeptAnswer
from persia.replay.command import replay
from tests.support.dense_homes import HOMES
from tests.support.kept_answers import CHECKPOINT, CONFIG, MODEL, Trainer, any_batches, store_of
from tests.support.middlewares import Middleware
from tests.support.servers import EmbeddingServer, wait_until

SHARDS = 2
CLIENTS = 3
PACKET_SHARE = 0.05  # of all rows
RETURN_EACH = 7  # packets: then the epochs go back by two


@dataclass(frozen=True)
class Place:
    """Where the files of a deployment lie."""

    directory: Path

    @property
    def packets(self) -> Path:
        return self.directory / "packets"

    @property
    def store(self) -> Path:
        return self.directory / "store"

    @property
    def kept(self) -> Path:
        """Of the callers."""
        return self.directory / "kept"

    @property
    def ring(self) -> Path:
        """Of the handler."""
        return self.directory / "ring"


@contextmanager
def served(place: Place, home: str, stack: ExitStack) -> Iterator[Any]:
    """A home whose handler asks two shards that follow epochs."""
    place.packets.mkdir(parents=True, exist_ok=True)
    shards = [
        stack.enter_context(
            EmbeddingServer(
                place.directory / f"shard-{index}",
                CONFIG,
                checkpoint=CHECKPOINT,
                incremental_dir=place.packets,
                index=index,
                count=SHARDS,
                settings={"enable_epochs": True},
            )
        )
        for index in range(SHARDS)
    ]
    for shard in shards:
        shard.wait_ready()
    middleware = stack.enter_context(Middleware(place.directory / "middleware", CONFIG, [shard.address for shard in shards]))
    middleware.wait_ready()
    with HOMES[home](place.directory / "served", place.store, f"{MODEL}-1.0.mar", middleware.address) as serving:
        yield serving


@contextmanager
def packets_coming(place: Place, trainer: Trainer, each: float) -> Iterator[None]:
    """A packet each so many seconds, and a return to an earlier epoch now and then."""
    done = threading.Event()

    def work() -> None:
        count = 0
        while not done.wait(each):
            count += 1
            epoch, _ = trainer.commit(PACKET_SHARE)
            if count % RETURN_EACH == 0:
                log = EpochLog(place.packets)
                log.read()
                log.commit_after(epoch, Draft(revert_to=epoch - 2), "operator")
                trainer.refresh()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def keep_answers(directory: Path, answers: int, home: str = "model-server", each: float = 0.2) -> Place:
    """So many answers, of clients that ask without pause, in files of kept answers. each: seconds from packet to packet."""
    place = Place(directory)
    place.kept.mkdir(parents=True)
    store_of(place.store, "1.0", kept_answers=str(place.ring), kept_share=1.0, kept_mib=4096)
    with ExitStack() as stack:
        trainer = Trainer(place.packets)
        home_there = stack.enter_context(served(place, home, stack))
        stack.enter_context(packets_coming(place, trainer, each))
        each_client = -(-answers // CLIENTS)

        def ask(number: int) -> None:
            with home_there.client(None) as client:
                write_kept(place.kept / f"{number}.kept", _asked(client, any_batches(each_client, number), trainer))

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_until(lambda: answers_in(place.ring) >= CLIENTS * each_client, "the handler has kept all answers")
    return place


def answers_in(directory: Path) -> int:
    """How many files of kept answers have, while somebody writes them."""
    return sum(1 for file in kept_files(directory) for _ in file)


def _asked(client: Client, batches: Sequence[bytes], trainer: Trainer) -> Iterator[KeptAnswer]:
    """The last half of the answers comes when there are some epochs more."""
    for number, batch in enumerate(batches):
        if number == len(batches) // 2:
            newest = trainer.newest
            wait_until(lambda: trainer.newest > newest + 2, "more epochs come")  # noqa: B023
        yield client.predict_kept(batch)


def replay_all(place: Place) -> dict[str, Any]:
    """What `persia-launcher replay --json` says of the kept answers, those of the callers and those of the handler."""
    config = place.directory / "global_config.yml"
    infer = {"infer_config": {"embedding_checkpoint": str(CHECKPOINT)}}
    server = {"enable_incremental_update": True, "incremental_dir": str(place.packets), "enable_epochs": True}
    config.write_text(yaml.safe_dump({"common_config": infer, "embedding_parameter_server_config": server}))
    given = [
        place.kept,
        place.ring,
        "--json",
        "--global-config",
        config,
        "--embedding-config",
        CONFIG,
        "--model-store",
        place.store,
    ]
    result = CliRunner().invoke(replay, [*map(str, given)])
    assert result.stdout, result.stderr
    told: dict[str, Any] = json.loads(result.stdout)
    assert (result.exit_code == 0) == (told["same"] == told["answers"])
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--receipts", type=int, default=10_000)
    parser.add_argument("--home", choices=list(HOMES), default="model-server")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="persia-replay-"))
    began = time.monotonic()
    place = keep_answers(directory, -(-options.receipts // 2), options.home)
    kept = time.monotonic()
    told = replay_all(place)
    ended = time.monotonic()
    log = EpochLog(place.packets)
    epochs = log.read()
    if told["same"] != told["answers"]:
        sys.exit(f"{json.dumps(told, indent=2)}\nkept: {directory}")
    print(
        f"{told['answers']} receipts, one half of callers and one of the handler's ring, over {epochs} epochs, kept in "
        f"{kept - began:.0f} s and replayed in {ended - kept:.0f} s: all are the same to the byte"
    )
    shutil.rmtree(directory)


if __name__ == "__main__":
    main()
