"""The files that receipts name: checkpoints, packets and archives. What is not there is named by NotReplayable."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from persia.checkpoint_id import checkpoint_name
from persia.config import EmbeddingConfig
from persia.errors import CorruptFile, NotReplayable
from persia.formats.checkpoint import Checkpoint, open_checkpoint
from persia.formats.epoch_history import Packets
from persia.formats.epoch_log import EpochLog
from persia.formats.identity import identify
from persia.formats.layout import variant_directory
from persia.receipts.receipt import Receipt
from persia.torchserve.archive.contents import open_archive

__all__ = ["Sources", "dense_hash"]

_WORKERS = 4
_HASH_DIGITS = 16
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)  # of files within an archive
_FIRST_VERSION = 0  # of a table that has its checkpoint alone


class Sources:
    """Where the parts of answers lie. Each is opened when a receipt first names it."""

    def __init__(
        self,
        config: EmbeddingConfig,
        checkpoints: Sequence[Path] = (),
        packets: Path | None = None,
        store: Path | None = None,
        archives: Sequence[Path] = (),
    ) -> None:
        """store: a directory of archives. archives: others beside it."""
        self.config, self.packets = config, packets
        self._directories, self._store, self._archives = checkpoints, store, tuple(archives)
        self._checkpoints: dict[str, Path] | None = None
        self._hashes: dict[Path, str] | None = None  # of archives
        self._unread: dict[Path, CorruptFile | OSError] = {}  # archives
        self._log: EpochLog | None = None
        self._damage: CorruptFile | None = None  # behind the last record that could be read

    def expect_config(self, receipt: Receipt) -> None:
        """Raises NotReplayable unless ids become signs as they did for the answer."""
        if receipt.embedding_config != (here := f"{self.config.fingerprint_id:016x}"):
            raise NotReplayable(
                "embedding_config",
                f"the answer was made with the embedding config {receipt.embedding_config}, and the one that was given is "
                f"{here}: give the embedding_config.yml of that time",
            )

    def checkpoint_of(self, receipt: Receipt) -> list[Checkpoint] | None:
        """As the server of each shard opens it; None for an answer of servers without a checkpoint.

        Raises NotReplayable, CorruptFile, OSError.
        """
        if receipt.checkpoint is None:
            return None
        if self._checkpoints is None:
            opened = {path: open_checkpoint(path) for path in self._directories}
            self._checkpoints = {checkpoint_name(identify(one, _WORKERS)): path for path, one in opened.items()}
        directory = self._checkpoints.get(receipt.checkpoint)
        if directory is None:
            there = ", ".join(f"{path} is {name}" for name, path in self._checkpoints.items()) or "none was given"
            raise NotReplayable(
                "checkpoint", f"the answer was made from checkpoint {receipt.checkpoint}: {there}; give its directory"
            )
        return [open_checkpoint(directory, shard, receipt.shards) for shard in range(receipt.shards)]

    def epoch_of(self, receipt: Receipt) -> int:
        """0: the rows are those of the checkpoint. Raises NotReplayable if nothing says which packets came to them."""
        if not receipt.epoch and any(version > _FIRST_VERSION for version in receipt.table_versions):
            raise NotReplayable(
                "epoch",
                "the answer is of no epoch, and its servers had applied packets: nothing says which (docs/epochs.md says how "
                "servers follow epochs)",
            )
        return receipt.epoch or 0

    def packets_at(self, epoch: int, checkpoint: Sequence[Checkpoint] | None) -> Packets:
        """Those that come to the checkpoint's rows with an epoch. Raises NotReplayable, CorruptFile, OSError."""
        if not epoch:
            return {}
        if self.packets is None:
            raise NotReplayable("epoch", f"the answer is of epoch {epoch}: give the directory of packets")
        if self._log is None:
            self._log = EpochLog(self.packets)
            try:
                self._log.read()
            except CorruptFile as error:
                self._damage = error
        if epoch > self._log.newest and self._damage is not None:
            raise self._damage
        if epoch > self._log.newest:
            raise NotReplayable(
                "epoch", f"{self.packets} has no record of epoch {epoch}: its newest epoch is {self._log.newest}"
            )
        packets = self._log.history.packets_at(epoch)
        if checkpoint is None:
            return packets
        named = self._log.history.base_at(epoch)
        bounds = checkpoint[0].bounds if named is None else named.has
        return {name: packet for name, packet in packets.items() if not bounds.has(packet.shard, packet.unix_seconds)}

    def variant_at(self, epoch: int, variant: str) -> tuple[Packets, Path]:
        """The packets that a variant has of its own in an epoch, and below which directory they lie.

        Raises NotReplayable, CorruptFile, OSError.
        """
        self.packets_at(epoch, None)  # there is such an epoch, and its records are read
        there = {} if self._log is None else self._log.history.variants.packets_at(epoch)
        if self.packets is None or variant not in there:
            known = ", ".join(sorted(there)) or "which has none"
            raise NotReplayable("variant", f"expected a variant of epoch {epoch}, {known}, got {variant}")
        return there[variant].packets, variant_directory(self.packets, variant)

    def archive_of(self, receipt: Receipt) -> Path:
        """An archive with the dense model that scored, best that of the same name and version.

        Archives that cannot be read are named if there is no other. Raises NotReplayable, CorruptFile, OSError.
        """
        if self._hashes is None:
            in_store = sorted(self._store.glob("*.mar")) if self._store is not None else []
            self._hashes = {}
            for path in (*self._archives, *in_store):
                try:
                    self._hashes[path] = dense_hash(path)
                except (CorruptFile, OSError) as error:
                    self._unread[path] = error
        found = [path for path, digest in self._hashes.items() if digest == receipt.model_hash]
        if not found:
            has = [f"{path.name} has {digest}" for path, digest in self._hashes.items()]
            has += [f"{path.name} cannot be read ({error})" for path, error in self._unread.items()]
            there = ", ".join(has) or "no archive was given"
            raise NotReplayable(
                "archive",
                f"the answer was made by {receipt.model} {receipt.model_version}, whose dense model has the hash "
                f"{receipt.model_hash}: {there}; bring its archive back, and give it with --model-store or --archive",
            )
        named = [(one.name, one.version) == (receipt.model, receipt.model_version) for one in map(open_archive, found)]
        return found[named.index(True) if True in named else 0]


def dense_hash(archive: Path) -> str:
    """Of an archive's dense model, as details have it; empty for an archive without one. Raises CorruptFile, OSError."""
    contents = open_archive(archive)
    if not contents.model_file:
        return ""
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(archive) as opened, opened.open(contents.model_file) as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except _BROKEN as error:
        raise CorruptFile(str(archive), f"the dense model {contents.model_file}", f"{error}", 0) from error
    return digest.hexdigest()[:_HASH_DIGITS]
