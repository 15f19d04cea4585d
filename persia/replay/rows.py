"""What a checkpoint and packets say of some signs: each file is read once, and only these signs are kept of it."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from persia import _core
from persia.errors import CorruptFile, NotReplayable
from persia.formats.checkpoint import Checkpoint
from persia.formats.epoch import CommittedPacket
from persia.formats.epoch_history import Packets
from persia.formats.layout import DELETIONS, ENDS, ROWS
from persia.formats.sign_files import SignFile, read_sign_file
from persia.signs import shard_of

__all__ = ["RowFiles", "State"]

_U64 = npt.NDArray[np.uint64]
_I64 = npt.NDArray[np.int64]
_NO_ROW = -1
_ALL = float("inf")  # seconds for reading a file


@dataclass
class State:
    """Of each wanted sign: where its row begins among all numbers (-1: it has none), its dim, and the second when it ends."""

    begins: _I64
    dims: npt.NDArray[np.uint32]
    ends: _U64  # 0: never

    def copy(self) -> State:
        return State(self.begins.copy(), self.dims.copy(), self.ends.copy())


@dataclass(frozen=True)
class _Said:
    """What a packet says: of these places among the wanted signs."""

    places: _I64
    state: State  # of these places


class RowFiles:
    """Of wanted signs, distinct and in ascending order, in a checkpoint that `shards` servers load."""

    def __init__(self, wanted: _U64, shards: int, packets: Path | None) -> None:
        """packets: the directory of packets; None: there is none."""
        self.wanted, self.shards = wanted, shards
        self.shard_of_wanted = shard_of(wanted, shards)
        self._packets = packets
        self._numbers: list[npt.NDArray[np.float32]] = []
        self._count = 0  # numbers so far
        self._said: dict[tuple[Path, CommittedPacket], _Said] = {}
        self._last: tuple[list[CommittedPacket], State] | None = None  # most epochs go on from the one before

    def empty(self) -> State:
        """No sign has a row."""
        count = len(self.wanted)
        return State(np.full(count, _NO_ROW, np.int64), np.zeros(count, np.uint32), np.zeros(count, np.uint64))

    def of_checkpoint(self, of_shards: Sequence[Checkpoint]) -> State:
        """of_shards: the checkpoint as the server of each shard opens it. Raises CorruptFile, OSError."""
        state = self.empty()
        for path in sorted({path for checkpoint in of_shards for path in checkpoint.files}):
            here = [shard for shard, checkpoint in enumerate(of_shards) if path in checkpoint.files]
            self._take_rows(state, path, self.wanted[np.isin(self.shard_of_wanted, here)], packet=False)
        for path in sorted({path for checkpoint in of_shards for path in checkpoint.ends}):
            self._take_ends(state, read_sign_file(path))
        return state

    def at_epoch(self, checkpoint: State, packets: Packets) -> State:
        """The checkpoint's state, overlaid by packets in their order. Raises CorruptFile, NotReplayable, OSError."""
        ordered = sorted(packets.values(), key=lambda packet: packet.key)
        done, state = (
            self._last if self._last is not None and self._last[0] == ordered[: len(self._last[0])] else ([], checkpoint)
        )
        state = state.copy()
        for packet in ordered[len(done) :]:
            assert self._packets is not None, "packets have a directory"
            self._overlay(state, packet, self._packets)
        self._last = ordered, state
        return state

    def of_variant(self, shared: State, packets: Packets, root: Path) -> State:
        """The shared state, overlaid by the packets of a variant, which lie below `root`; they go before all others."""
        state = shared.copy()
        for packet in sorted(packets.values(), key=lambda packet: packet.key):
            self._overlay(state, packet, root)
        return state

    def _overlay(self, state: State, packet: CommittedPacket, root: Path) -> None:
        """Says over the state what the packet says. Raises CorruptFile, NotReplayable, OSError."""
        if (root, packet) not in self._said:
            self._said[root, packet] = self._read(packet, root)
        said = self._said[root, packet]
        state.begins[said.places], state.dims[said.places] = said.state.begins, said.state.dims
        state.ends[said.places] = said.state.ends

    def rows_of(self, state: State, dim: int, of_shard: int, now: int) -> tuple[_U64, npt.NDArray[np.float32]]:
        """The signs (n) of a shard with a row (n, dim) of that dim which has not ended at that second."""
        lives = (state.begins != _NO_ROW) & ((state.ends == 0) | (state.ends > now))
        at = np.flatnonzero(lives & (state.dims == dim) & (self.shard_of_wanted == of_shard))
        return self.wanted[at], self._all_numbers()[state.begins[at][:, np.newaxis] + np.arange(dim)]

    def _all_numbers(self) -> npt.NDArray[np.float32]:
        if len(self._numbers) != 1:
            self._numbers = [np.concatenate([np.zeros(0, np.float32), *self._numbers])]
        return self._numbers[0]

    def _read(self, packet: CommittedPacket, root: Path) -> _Said:
        """A packet as its record describes it: rows first, then deletions, then when rows end."""
        state = self.empty()
        touched = np.zeros(len(self.wanted), np.bool_)
        paths = [_checked(packet, at, root) for at in range(len(packet.files))]
        for path in (path for path in paths if path.suffix == ROWS):
            touched[self._take_rows(state, path, self.wanted, packet=True)] = True
        for path in (path for path in paths if path.suffix == DELETIONS):
            places = self._places(read_sign_file(path).signs)
            state.begins[places], touched[places] = _NO_ROW, True
        for path in (path for path in paths if path.suffix == ENDS):
            self._take_ends(state, read_sign_file(path))
        places = np.flatnonzero(touched)
        return _Said(places, State(state.begins[places], state.dims[places], state.ends[places]))

    def _take_rows(self, state: State, path: Path, wanted: _U64, *, packet: bool) -> _I64:
        """The rows of a file; of several rows of one sign the last one counts. Returns the places that it has rows of."""
        _, _, _, signs, dims, values, _ = _core.scan_rows(
            path, packet=packet, prefix_bits=1, groups=1, wanted=wanted, seconds=_ALL
        )
        places = self._places(signs)
        state.begins[places] = self._count + np.cumsum(dims, dtype=np.int64) - dims
        state.dims[places] = dims
        state.ends[places] = 0
        self._numbers.append(values)
        self._count += len(values)
        return places

    def _take_ends(self, state: State, file: SignFile) -> None:
        """What is said of signs without a row is passed over."""
        assert file.ends is not None
        is_wanted = np.isin(file.signs, self.wanted)
        places, ends = self._places(file.signs[is_wanted]), np.maximum(file.ends[is_wanted], 1)
        has_row = state.begins[places] != _NO_ROW
        state.ends[places[has_row]] = ends[has_row]

    def _places(self, signs: _U64) -> _I64:
        """Of those of the signs that are wanted, the places among the wanted ones."""
        places = np.searchsorted(self.wanted, signs[np.isin(signs, self.wanted)])
        return places.astype(np.int64)


def _checked(packet: CommittedPacket, at: int, root: Path) -> Path:
    """A file of a packet, which has the bytes that its record says."""
    file = packet.files[at]
    path = root / packet.packet / file.name
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise NotReplayable(
            "packet", f"packet {packet.packet} of the epoch is not there: expected its file {path}; bring the packet back"
        ) from error
    if (got := (len(data), f"{zlib.crc32(data):08x}")) != (file.bytes, file.crc32):
        expected = f"{file.bytes} bytes of CRC-32 {file.crc32}, by the epoch's record"
        raise CorruptFile(str(path), expected, f"{got[0]} bytes of CRC-32 {got[1]}", 0)
    return path
