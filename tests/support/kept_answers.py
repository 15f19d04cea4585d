"""Answers of servers with epochs in the test's own process, kept with their receipts, to be replayed."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from persia import _core
from persia.embedding_server.options import ShardOptions
from persia.embedding_server.service import EmbeddingService
from persia.embedding_server.shard import ShardServer
from persia.receipts.receipt import KeptAnswer, receipt_of
from persia.serving.server import Server
from persia.torchserve.archive.handler_loading import handler_class, set_requests, unpacked_context
from persia.torchserve.details import split_details
from persia.writers import EpochCommitter, IncrementalDumper, VariantCommitter
from tests.support.golden import golden
from tests.support.servers import wait_until
from tests.support.torchserves import MIX, PERSIA_HANDLER, make_archive

CONFIG = MIX / "embedding_config.yml"
CHECKPOINT = MIX / "ckpt"
BATCHES = [path.with_suffix(".bin").read_bytes() for path in golden("mix/golden/batch*.npz")]
MODEL = "ctr"


class Shards(ExitStack):
    """Servers of golden/mix's checkpoint. packets: whose epochs they follow; None: they follow nothing."""

    def __init__(self, packets: Path | None, count: int, storage: str = "f32") -> None:
        super().__init__()
        self.servers: list[ShardServer] = []
        self.addresses: list[list[str]] = []
        self._listening: list[Server] = []
        for index in range(count):
            shard = ShardServer(
                ShardOptions(index, count, CHECKPOINT, packets, storage=storage, workers=1, epochs=packets is not None)
            )
            self.callback(shard.stop)
            shard.load()
            server = Server([])
            EmbeddingService(shard).add_to(server)
            self.addresses.append([server.listen("127.0.0.1:0")])
            server.start()
            self.callback(server.stop, 0)
            self.servers.append(shard)
            self._listening.append(server)

    def lose(self, index: int) -> None:
        """The server of a shard answers nobody any more."""
        self._listening[index].stop(0)

    def wait_for_epoch(self, epoch: int) -> None:
        wait_until(lambda: all(server.status().epoch >= epoch for server in self.servers), f"epoch {epoch} is built")


class Trainer:
    """Commits packets of random rows of the checkpoint's signs, with deletions, and rows that end much later."""

    def __init__(self, packets: Path, seed: int = 0) -> None:
        self.packets, self._random = packets, np.random.default_rng(seed)
        self._committer = EpochCommitter(packets)
        self._signs: dict[int, np.ndarray] = {}  # by dim
        for path in CHECKPOINT.glob("s*/*.emb"):
            for signs, dims, _values, _recency in _core.EmbReader(path):
                for dim in np.unique(dims).tolist():
                    self._signs[dim] = np.append(self._signs.get(dim, np.zeros(0, np.uint64)), signs[dims == dim])

    def signs(self, dim: int) -> np.ndarray:
        """Those of the checkpoint's rows of that dim."""
        return self._signs[dim]

    @property
    def newest(self) -> int:
        """The newest epoch that it has committed."""
        return self._committer.newest

    def refresh(self) -> None:
        """Goes on from what others have committed."""
        self._committer.refresh()

    def commit(self, share: float = 0.3, variant: str = "") -> tuple[int, Path]:
        """The epoch, and the directory of its packet. variant: to which it comes; it has no rows that end then."""
        with IncrementalDumper(self.packets, seconds=3600.0, embedding_config=CONFIG, variant=variant) as dumper:
            for dim, signs in self._signs.items():
                chosen = signs[self._random.random(len(signs)) < share]
                rows = self._random.standard_normal((len(chosen), dim)).astype(np.float32)
                kinds = self._random.random(len(chosen))
                dumper.commit(chosen[kinds < 0.8], rows[kinds < 0.8])
                dumper.commit(chosen[kinds >= 0.9], rows[kinds >= 0.9], ttl=None if variant else 1e6)
                dumper.delete(chosen[(kinds >= 0.8) & (kinds < 0.9)])
            packet = dumper.flush()
        assert packet is not None
        if not variant:
            return self._committer.commit([packet]), packet
        epoch = VariantCommitter(self.packets, variant).commit([packet])
        self._committer.refresh()
        return epoch, packet


class HandlerOf:
    """The handler of an archive, which asks these shards, as in a worker."""

    def __init__(self, archive: Path, addresses: list[list[str]], settings: Mapping[str, Any] | None = None) -> None:
        self._directory = tempfile.TemporaryDirectory()
        unpacked = Path(self._directory.name)
        ours = {"addresses": addresses, "embedding_config": str(CONFIG), **(settings or {})}
        try:
            self.context = unpacked_context(archive, unpacked, ours)
            self.handler = handler_class(unpacked / self.context.manifest["model"]["handler"])()
            self.handler.initialize(self.context)
        except BaseException:
            self._directory.cleanup()
            raise

    def answers(self, *requests: Mapping[str, Any]) -> list[Any]:
        set_requests(self.context, len(requests))
        return list(self.handler.handle([dict(request) for request in requests], self.context))

    def kept(self, batch: bytes, scores_format: str = "npy", min_epoch: int = 0, variant: str = "none") -> KeptAnswer:
        """An answer of that epoch, or a later one."""

        def ask() -> KeptAnswer | None:
            request = {"batch": batch, "format": scores_format.encode(), "details": b"1", "variant": variant.encode()}
            (answer,) = self.answers(request)
            details, scores = split_details(answer)
            assert details is not None
            receipt = receipt_of(details, batch, scores_format, scores, round(time.time() * 1000))
            return KeptAnswer(receipt, batch, f"epoch {details.epoch}") if (details.epoch or 0) >= min_epoch else None

        answer = wait_until(ask, f"the handler answers at epoch {min_epoch}")
        assert isinstance(answer, KeptAnswer)
        return answer

    def __enter__(self) -> HandlerOf:
        return self

    def __exit__(self, *_: object) -> None:
        self.handler.persia_context.close()
        self._directory.cleanup()


def store_of(directory: Path, *versions: str, **persia: Any) -> Path:
    """A model store with an archive of golden/mix's model for each version. persia: settings of the handler."""
    for version in versions:
        make_archive(directory, MODEL, version, PERSIA_HANDLER, persia=persia)
    return directory


def any_batches(count: int, seed: int = 0) -> list[bytes]:
    return random.Random(seed).choices(BATCHES, k=count)
