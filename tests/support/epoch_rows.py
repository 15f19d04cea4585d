"""Packets whose rows tell where they come from, and what the rows of each epoch have to be.

All numbers of a file's rows are one number that no other file has. So an answer that mixes two epochs, or is not of the epoch
that it names, is found by its numbers.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import numpy.typing as npt

from persia import _core
from persia.batch import IDTypeFeatureWithSingleID, PersiaBatch
from persia.config import EmbeddingConfig, SlotConfig
from persia.errors import CorruptFile
from persia.formats.epoch import EpochRecord
from persia.formats.epoch_history import EpochHistory, Packets
from persia.formats.epoch_log import EpochLog
from persia.formats.layout import PACKET_MARKER, variant_directory
from persia.formats.sign_files import write_sign_file
from persia.signs import signs_of
from persia.writers import write_checkpoint

IDS = 256
DIM = 4
CONFIG = EmbeddingConfig(slots_config={"a": SlotConfig(dim=DIM)})
CONFIG_TEXT = f"slots_config:\n  a: {{dim: {DIM}}}\n"
SIGNS = signs_of(np.arange(IDS, dtype=np.uint64), CONFIG.slots["a"])[0]
ALL = np.arange(IDS)  # places in SIGNS
CHECKPOINT_VALUE = 1.0
MOST_FILES = 2000  # whose numbers f16 tells apart

Places = npt.NDArray[np.int64]

_START = 1_800_000_000
_SECONDS_BETWEEN = 10  # so that packets which come late have a time of their own


def batch_of(places: Places) -> bytes:
    """A batch whose ids are those at the places, in their order."""
    return PersiaBatch([IDTypeFeatureWithSingleID("a", places.astype(np.uint64))], requires_grad=False).to_bytes()


BATCH = batch_of(ALL)


def answer_of(values: npt.NDArray[np.float16]) -> bytes:
    """The numbers of an answer to BATCH in which the rows have these values."""
    return np.repeat(values.astype(np.float16), DIM).tobytes()


@dataclass(frozen=True)
class _File:
    value: float  # 0: it deletes
    places: Places


class EpochTrainer:
    """Leaves packets, and knows what is in them."""

    def __init__(self, root: Path, numbers: Iterator[int] | None = None) -> None:
        """numbers: of files, for trainers whose files are to have other numbers than those of another one."""
        self.root = root
        self.files: dict[str, dict[str, _File]] = {}  # of each packet, by its name in records
        self.checkpoints: dict[str, float] = {}  # the number of all rows of each, by its directory
        self.variants: dict[str, EpochTrainer] = {}  # by their names
        self._newest = 0
        self._numbers = itertools.count(1) if numbers is None else numbers

    def of_variant(self, name: str) -> EpochTrainer:
        """Who leaves packets for a variant."""
        if name not in self.variants:
            self.variants[name] = EpochTrainer(variant_directory(self.root, name), self._numbers)
        return self.variants[name]

    def leave(self, places: Places = ALL, *, seconds_late: int = 0, complete: bool = True) -> Path:
        """A packet with rows at these places, which moves in as our dumper's does; returns its directory.

        seconds_late: it is so much older than the newest one. REQUIRES: less than 10, and no other one is as late.
        """
        if not seconds_late:
            self._newest += _SECONDS_BETWEEN
        second = self._newest - seconds_late
        draft, directory = self.root / "s0" / ".writer" / "packet", self.root / "s0" / f"inc_2026{second:010d}"
        draft.mkdir(parents=True)
        self._write(draft / "0_0.inc", directory, places)
        if complete:
            (draft / PACKET_MARKER).touch()
        draft.rename(directory)
        return directory

    def grow(self, directory: Path, places: Places, *, deletes: bool = False) -> None:
        """Adds a file to a packet, of rows or of deletions. The next scan of a server finds it whole or not at all."""
        name = f"0_{len(self.files[name_of(directory)])}.{'del' if deletes else 'inc'}"
        draft = directory.parent / ".writer" / name
        draft.parent.mkdir(exist_ok=True)
        self._write(draft, directory, places)
        draft.rename(directory / name)

    def dump(self, directory: Path, shards: int) -> Path:
        """A checkpoint that is newer than all packets, with one number in all rows; returns its directory."""
        value = 1.0 + next(self._numbers)
        when = datetime.fromtimestamp(_START + self._newest + _SECONDS_BETWEEN // 2, timezone.utc)
        rows = np.full((IDS, DIM), value, np.float32)
        write_checkpoint(directory, [(SIGNS, rows)], shards=shards, files_per_shard=2, datetime=when)
        self.checkpoints[str(directory.resolve())] = value
        return directory

    def value_of(self, directory: Path) -> float:
        """That of the rows in the packet's first file."""
        return self.files[name_of(directory)]["0_0.inc"].value

    def _write(self, path: Path, directory: Path, places: Places) -> None:
        number = next(self._numbers)
        assert number <= MOST_FILES
        seconds = _START + int(directory.name.removeprefix("inc_2026"))
        deletes = path.suffix == ".del"
        if deletes:
            write_sign_file(path, SIGNS[places], seconds)
        else:
            rows = np.full((len(places), DIM), 1.0 + number, np.float32)
            _core.write_inc(path, [(SIGNS[places], rows)], unix_seconds=seconds)
        file = _File(0.0 if deletes else 1.0 + number, places)
        self.files.setdefault(name_of(directory), {})[path.name] = file


def _put(packets: Packets, trainer: EpochTrainer, values: npt.NDArray[np.float16]) -> None:
    for packet in sorted(packets.values(), key=lambda packet: packet.key):
        files = trainer.files[packet.packet]
        for name in sorted((file.name for file in packet.files), key=lambda name: (name.endswith(".del"), name)):
            values[files[name].places] = files[name].value


def name_of(directory: Path) -> str:
    """By which records name a packet."""
    return f"{directory.parent.name}/{directory.name}"


def read_sound(log: EpochLog) -> None:
    """Takes over the records before one that is damaged, if there is such a one."""
    with suppress(CorruptFile):
        log.read()


class EpochOracle:
    """What an answer of each epoch has to be, by the records and by what the trainer has left."""

    def __init__(self, trainer: EpochTrainer) -> None:
        self._trainer = trainer
        self._log = EpochLog(trainer.root)
        self._answers: dict[tuple[int, str], bytes] = {}

    def answer(self, epoch: int, variant: str = "") -> bytes:
        """To BATCH. An epoch without the variant has an empty answer."""
        if (epoch, variant) not in self._answers:
            values = self._values(epoch, variant)
            self._answers[epoch, variant] = b"" if values is None else answer_of(values)
        return self._answers[epoch, variant]

    def brought_back(self) -> list[str]:
        """Packets that servers have committed again although a return had left them behind."""
        history, left, found = EpochHistory(), set[str](), list[str]()
        for record in self.records():
            found += [added.packet for added in record.add if record.by == "server" and added.packet in left]
            before = set(history.packets) if record.revert_to is not None else set()
            history.append(record)
            left = (left | before) - history.packets.keys()
        return found

    def records(self) -> list[EpochRecord]:
        return self.history.records

    @property
    def history(self) -> EpochHistory:
        """What the log says by now."""
        read_sound(self._log)
        return self._log.history

    def _values(self, epoch: int, variant: str) -> npt.NDArray[np.float16] | None:
        self._read(epoch)
        base = self._log.history.base_at(epoch)
        values = np.full(IDS, CHECKPOINT_VALUE if base is None else self._trainer.checkpoints[base.checkpoint], np.float16)
        packets = self._log.history.packets_at(epoch)
        if base is not None:
            packets = {name: one for name, one in packets.items() if not base.has.has(one.shard, one.unix_seconds)}
        _put(packets, self._trainer, values)
        if variant:
            own = self._log.history.variants.packets_at(epoch).get(variant)
            if own is None:
                return None
            _put(own.packets, self._trainer.of_variant(variant), values)
        return values

    def _read(self, epoch: int) -> None:
        if self._log.newest < epoch:
            read_sound(self._log)
        assert self._log.newest >= epoch, f"expected a record of epoch {epoch}, got none: the newest is {self._log.newest}"
