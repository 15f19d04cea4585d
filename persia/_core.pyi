"""The native core. Use the modules of persia.* rather than this one."""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import Buffer

_U64 = npt.NDArray[np.uint64]
_RowBlock = tuple[_U64, npt.NDArray[np.uint32], npt.NDArray[np.float32], npt.NDArray[np.uint8]]
_Blocks = Iterable[tuple[_U64, npt.NDArray[np.float32]]]
_Path = str | os.PathLike[str]

def farmhash64(values: _U64) -> _U64: ...
def shard_of(signs: _U64, shards: int) -> npt.NDArray[np.uint32]: ...

# The byte batch

class BatchFeature:
    """A feature of a decoded batch. Arrays are read-only views that keep the batch alive."""

    @property
    def name(self) -> str: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def ids(self) -> _U64:
        """(ids), each once."""
    @property
    def offsets(self) -> npt.NDArray[np.uint32]:
        """(ids + 1) into positions."""
    @property
    def positions(self) -> npt.NDArray[np.uint16]:
        """(positions, 2): sample and column."""
    @property
    def ids_per_sample(self) -> npt.NDArray[np.uint32]:
        """(batch_size), duplicates included."""

class Batch:
    """A decoded byte batch. Arrays are read-only views that keep its bytes alive."""

    @property
    def dense(self) -> list[npt.NDArray[Any]]: ...
    @property
    def dense_names(self) -> list[str | None]: ...
    @property
    def labels(self) -> list[npt.NDArray[Any]]: ...
    @property
    def label_names(self) -> list[str | None]: ...
    @property
    def features(self) -> list[BatchFeature]: ...
    @property
    def has_ids(self) -> bool: ...
    @property
    def requires_grad(self) -> bool: ...
    @property
    def meta(self) -> bytes | None: ...
    @property
    def batch_id(self) -> int | None: ...

def decode_batch(data: Buffer) -> Batch:
    """Raises DecodeError, and TooLarge beyond 4 GiB."""

class BatchEncoder:
    """Puts a byte batch together; copies what it is given. Raises FeatureError. Not for use by two threads at a time."""

    def __init__(self) -> None: ...
    def add_dense(self, data: npt.NDArray[Any], name: str) -> None:
        """data (batch, ...), contiguous."""
    def add_label(self, data: npt.NDArray[Any], name: str) -> None: ...
    def add_ids(self, name: str, values: _U64, offsets: npt.NDArray[np.int64]) -> None:
        """values (ids); offsets (batch + 1)."""
    def add_single_ids(self, name: str, values: _U64) -> None:
        """values (batch)."""
    def add_id_lists(self, name: str, samples: Sequence[_U64] | _U64) -> None:
        """samples (batch) of arrays (ids of the sample)."""
    def set_requires_grad(self, value: bool) -> None: ...
    def set_meta(self, meta: Buffer) -> None: ...
    def set_batch_id(self, batch_id: int) -> None: ...
    def to_bytes(self) -> bytes: ...

# Checkpoint and packet files. Errors: CorruptFile, OSError.

class EmbReader:
    """Iterates over a checkpoint file in blocks: signs (n), dims (n), values (sum of dims), recency (n) or (0).

    Recency is 0 for the least recently used quarter of the rows to 3. Not for use by two threads at a time.
    """

    def __new__(cls, path: _Path, recency: bool = False) -> EmbReader: ...
    def __iter__(self) -> Iterator[_RowBlock]: ...
    def __next__(self) -> _RowBlock: ...
    @property
    def rows(self) -> int: ...
    @property
    def nodes(self) -> int: ...
    @property
    def path(self) -> str: ...

class IncReader:
    """Iterates over a packet file, as EmbReader does over a checkpoint file."""

    def __new__(cls, path: _Path) -> IncReader: ...
    def __iter__(self) -> Iterator[_RowBlock]: ...
    def __next__(self) -> _RowBlock: ...
    @property
    def rows(self) -> int: ...
    @property
    def unix_seconds(self) -> int:
        """When the packet was made; 0 before the iteration has ended."""
    @property
    def path(self) -> str: ...

def summarize_emb(path: _Path) -> dict[str, Any]:
    """Checks the whole file. {"rows": int, "rows_by_dim": {dim: rows}}."""

def write_emb(path: _Path, blocks: _Blocks) -> None:
    """Writes the file whole or not at all. blocks: signs (n) and contiguous rows (n, dim), least recently used first."""

def write_inc(path: _Path, blocks: _Blocks, unix_seconds: int) -> None: ...
