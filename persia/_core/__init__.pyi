"""The native core. Use the modules of persia.* rather than this one."""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import Buffer

from persia._core import net as net

_U64 = npt.NDArray[np.uint64]
_RowBlock = tuple[_U64, npt.NDArray[np.uint32], npt.NDArray[np.float32], npt.NDArray[np.uint8]]
_Blocks = Iterable[tuple[_U64, npt.NDArray[np.float32]]]
_Path = str | os.PathLike[str]

def farmhash64(values: _U64) -> _U64: ...
def shard_of(signs: _U64, shards: int) -> npt.NDArray[np.uint32]: ...
def hash_strings(strings: list[str]) -> _U64:
    """FarmHash's Fingerprint64 of each string's UTF-8. Raises InvalidInput for what is no string, and half a surrogate pair."""

def hash_utf8(text: Buffer, offsets: npt.NDArray[np.int64]) -> _U64:
    """The same of texts that lie one after the other; offsets (n + 1). Raises InvalidInput for offsets that do not fit."""

# The byte batch

class BatchFeature:
    """A feature of a decoded batch. Arrays are read-only views that keep the batch alive."""

    @property
    def name(self) -> str: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def ids(self) -> _U64:
        """(ids), each once if the sender kept to the format."""
    @property
    def offsets(self) -> npt.NDArray[np.uint32]:
        """(ids + 1) into positions. A copy."""
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
    def feature_names(self) -> list[str]:
        """The names of the features, without an object for each."""
    @property
    def names_key(self) -> bytes:
        """Equal for two batches exactly if features, dense tensors and labels have the same names in the same order."""
    @property
    def has_ids(self) -> bool: ...
    @property
    def requires_grad(self) -> bool: ...
    @property
    def meta(self) -> bytes | None: ...
    @property
    def batch_id(self) -> int | None: ...
    def encode_ids(self) -> bytes:
        """The ids alone, for decode_ids: a third of the byte batch. Raises InvalidInput where there are none."""

def decode_ids(data: Buffer) -> Batch:
    """A batch with features only. Raises DecodeError, and TooLarge beyond 4 GiB."""

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
    def sample(self, shard_index: int, shard_count: int) -> tuple[float, float]:
        """Which part of the next block's rows belongs to the shard, and their mean dim; zeros at the end."""
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

# The sign table. Every class may be used from several threads at a time.

def bytes_per_row(storage: str, dim: float) -> float:
    """What a row costs in a table, with its share of the index at its emptiest. dim may be a mean."""

class TableBuilder:
    """Fills a table before it serves. storage: f32, f16 or int8. capacity: rows, 0 for no limit.

    Beyond the capacity the least recently used rows go, as far as checkpoint files tell; `evicted` counts them.
    An error while loading a file spoils the builder: all later calls raise InvalidInput.
    """

    def __init__(self, storage: str = "f32", capacity: int = 0) -> None: ...
    def put(self, signs: _U64, rows: npt.NDArray[np.float32], shard_index: int = 0, shard_count: int = 1) -> int:
        """signs (n), rows (n, dim). Returns how many signs belong to the shard; only these are kept."""
    def load_emb(self, path: _Path, shard_index: int = 0, shard_count: int = 1) -> int:
        """Returns how many rows of the file belong to the shard. Raises CorruptFile, OSError."""
    def reserve(self, rows: int) -> None:
        """Makes room for so many rows more at once, which saves growing step by step."""
    @property
    def rows(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def evicted(self) -> int: ...

class Layer:
    """A batch of changes, until it is published. An error in load_inc loses all of it: no part can be published."""

    def __init__(self, storage: str = "f32") -> None: ...
    def put(self, signs: _U64, rows: npt.NDArray[np.float32], shard_index: int = 0, shard_count: int = 1) -> int:
        """As TableBuilder.put. Of two rows of one sign the later counts."""
    def reserve(self, rows: int) -> None:
        """Makes room at once for so many rows, where that is known."""
    def load_inc(self, path: _Path, shard_index: int = 0, shard_count: int = 1) -> tuple[int, int]:
        """Returns how many rows of the file belong to the shard, and the file's unix seconds."""
    def delete(self, signs: _U64) -> None:
        """From this layer on the signs have no row."""
    def drop(self, signs: _U64) -> None:
        """Takes out of the layer what it says about the signs."""
    @property
    def size(self) -> int:
        """Signs that the layer changes."""
    @property
    def bytes(self) -> int: ...

class Snapshot:
    """One version of a table. While it lives, it holds up folding; so keep it for one request only."""

    @property
    def version(self) -> int: ...
    def rows(self, signs: _U64, dim: int) -> tuple[npt.NDArray[np.float32], int, int]:
        """signs (n) -> rows (n, dim), zeros where there is none; signs without a row; signs whose row has another dim."""
    def signs(self) -> _U64:
        """Every sign that has a row, in no order."""

class TableStatus:
    @property
    def version(self) -> int: ...
    @property
    def base_rows(self) -> int: ...
    @property
    def base_rows_by_dim(self) -> dict[int, int]: ...
    @property
    def layer_rows(self) -> int:
        """Rows and deletions that wait to be folded."""
    @property
    def layers(self) -> int: ...
    @property
    def evicted(self) -> int: ...
    @property
    def snapshots(self) -> int:
        """In use, the current one included."""
    @property
    def base_bytes(self) -> int: ...
    @property
    def layer_bytes(self) -> int: ...
    @property
    def fold_error(self) -> str | None:
        """Why the last fold failed. Its layer stays, and is served from where it is."""

class Table:
    """A shard's rows while it serves. A thread of its own folds published layers into the base."""

    def __init__(self, builder: TableBuilder) -> None:
        """Takes the rows out of the builder."""
    def pin(self) -> Snapshot: ...
    def publish(self, layer: Layer) -> int:
        """Makes the layer the newest version, at once and as a whole, and returns the version."""
    def wait_folded(self, seconds: float) -> bool:
        """Waits until no layer is left; False when the seconds are over first."""
    def status(self) -> TableStatus: ...

# Routing

class Slots:
    def __init__(self, slots: Sequence[tuple[str, int, int, bool, bool, int, int, int]], prefix_bits: int) -> None:
        """slots: name, dim, sample_fixed_size, summation, sqrt_scaling, hash_stack_rounds, hash_stack_size, prefix."""

class ShardRequest:
    """What one shard is asked, in columns; read-only views that keep the plan alive."""

    @property
    def parts(self) -> npt.NDArray[np.uint32]:
        """(k, 6): feature, answer kind (0 rows, 1 sums, 2 halves), dim, samples, signs, positions."""
    @property
    def signs(self) -> _U64: ...
    @property
    def sum_counts(self) -> npt.NDArray[np.uint32]:
        """For the signs of sums parts: how many positions each has."""
    @property
    def sum_samples(self) -> npt.NDArray[np.uint16]:
        """The sample of each of these positions."""
    @property
    def answer_size(self) -> int:
        """Numbers of four bytes in the answer; 0 for a shard that need not be asked."""

class Plan:
    @property
    def feature_names(self) -> list[str]: ...
    @property
    def requests(self) -> list[ShardRequest]: ...
    def room(self) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.uint32]]:
        """Memory for the numbers of all tensors, not initialised, and their shapes as in ForwardResponse, both of one dim."""
    def assemble(self, answers: Sequence[npt.NDArray[np.float32] | None], room: npt.NDArray[np.float16]) -> None:
        """One answer per shard, None for a missing one -> the numbers of all tensors, in the order of the features."""

def make_plan(batch: Batch, slots: Slots, shards: int, max_numbers: int = 1 << 29) -> Plan:
    """max_numbers: of all tensors together. Raises FeatureError for a feature that is not configured or has another batch
    size than the others; TooLarge.
    """

def answer(
    snapshot: Snapshot, parts: Buffer, signs: Buffer, sum_counts: Buffer, sum_samples: Buffer, max_numbers: int
) -> tuple[npt.NDArray[np.float32], int, int]:
    """A request's columns as bytes -> the answer; absent signs; signs of another dim. InvalidInput, TooLarge."""
