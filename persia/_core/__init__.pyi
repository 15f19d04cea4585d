"""The native core. Use the modules of persia.* rather than this one."""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import Buffer

from persia._core import net as net
from persia._core import security as security
from persia._core import tracing as tracing
from persia._core._table import CheckpointDiff as CheckpointDiff
from persia._core._table import Expiry as Expiry
from persia._core._table import Layer as Layer
from persia._core._table import NonFiniteRows as NonFiniteRows
from persia._core._table import Snapshot as Snapshot
from persia._core._table import Table as Table
from persia._core._table import TableBuilder as TableBuilder
from persia._core._table import TableStatus as TableStatus
from persia._core._table import bytes_per_row as bytes_per_row

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
    @property
    def weights(self) -> npt.NDArray[np.float32] | None:
        """(positions), those of one sample after the other. None without weights. FeatureError if they do not fit the ids."""

class Batch:
    """A decoded byte batch. Arrays are read-only views that keep its bytes alive."""

    @property
    def dense(self) -> list[npt.NDArray[Any]]:
        """Without the weights of ids: a tensor NAME.weights where there is a feature NAME."""
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
    @property
    def requests(self) -> int:
        """From how many batches it was merged; 1: from none."""
    @property
    def samples(self) -> int:
        """Of its first feature; 0 where it has none."""
    def encode_ids(self) -> bytes:
        """The ids alone, for decode_ids: a third of the byte batch. Raises InvalidInput where there are none."""
    def first_not_single(self, places: Sequence[int]) -> tuple[int, int, int] | None:
        """Of the features at these places, the first sample that has not exactly one id: place, sample, how many ids.

        Raises InvalidInput for a place without a feature.
        """

def decode_ids(data: Buffer) -> Batch:
    """A batch with features only. Raises DecodeError, and TooLarge beyond 4 GiB."""

def decode_batch(data: Buffer) -> Batch:
    """Raises DecodeError, and TooLarge beyond 4 GiB."""

def merge_batches(batches: list[Batch]) -> Batch:
    """Several batches as one, to be looked up together: each feature stands there once for each batch, side by side.

    Raises InvalidInput unless all have ids of the same features in the same order.
    """

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

def set_problem_lines(json: bool) -> None:
    """Whether what the core writes to stderr by itself, of what should not happen, is an object of JSON in each line."""

def problem_line(text: str) -> str:
    """Such a line, as it is written from now on."""

def json_lines(numbers: list[float]) -> bytes | None:
    """What json.dumps(numbers, indent=2) gives; None unless there are numbers, and all of them are floats and finite."""

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
    def non_finite(self) -> int:
        """Rows with a NaN or an infinite number in their embedding, of those that came so far."""
    @property
    def first_non_finite(self) -> tuple[int, int]:
        """The sign of the first of them, and the byte where its row begins."""
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
    def non_finite(self) -> int: ...
    @property
    def first_non_finite(self) -> tuple[int, int]: ...
    @property
    def unix_seconds(self) -> int:
        """When the packet was made; 0 before the iteration has ended."""
    @property
    def path(self) -> str: ...

def scan_rows(
    path: _Path, *, packet: bool, prefix_bits: int, groups: int, wanted: _U64, seconds: float
) -> tuple[int, bool, list[tuple[int, int, int, int, int]], _U64, npt.NDArray[np.uint32], npt.NDArray[np.float32], _U64]:
    """Counts the rows of a checkpoint file, or of a packet's, and takes out those of the wanted signs (distinct, ascending).

    Returns rows read; whether that is the whole file, or the seconds were over; (group, dim, rows, rows that are not finite,
    largest sign without its prefix) for each, where group 0 is no prefix and groups + 1 one that is too large; signs (n), dims
    (n) and values of wanted rows; some signs that are in no group.
    """

def summarize_emb(path: _Path) -> dict[str, Any]:
    """Checks the whole file. {"rows": int, "rows_by_dim": {dim: rows}}."""

def write_emb(path: _Path, blocks: _Blocks) -> None:
    """Writes the file whole or not at all. blocks: signs (n) and contiguous rows (n, dim), least recently used first."""

def write_inc(path: _Path, blocks: _Blocks, unix_seconds: int) -> None: ...

class GrowingFiles:
    """Checkpoint files that grow side by side. Not for use by two threads at a time."""

    def __new__(cls, paths: Sequence[_Path], *, saved: list[list[int]] = ..., memory: int) -> GrowingFiles:
        """Begins the files, or goes on with what save() told of them. `memory` bytes of rows wait to be written, at most."""
    def add(self, signs: _U64, rows: npt.NDArray[np.float32]) -> None:
        """signs (n), rows (n, dim): each row is appended to the file farmhash64(sign) % files."""
    def save(self) -> list[list[int]]:
        """Puts all on disk. The rows of each file, its bytes, and the byte of its last row."""
    def finish(self) -> None:
        """The files are whole, and on disk."""

def digest_rows(signs: _U64, rows: npt.NDArray[np.float32]) -> tuple[int, int, int]:
    """signs (n), rows (n, dim) -> n, and two sums of hashes of each sign with all bytes of its row, modulo 2^64."""

def inexact_rows(storage: str, rows: npt.NDArray[np.float32]) -> int:
    """rows (n, dim): how many of them a server with that row_storage would not give as they are."""

def digest_emb(path: _Path, prefix_bits: int) -> tuple[_U64, dict[int, tuple[int, int, int]]]:
    """All signs of a checkpoint file, in its order, and what digest_rows tells of the rows of each prefix."""

def crc32c(data: Buffer, before: int = 0) -> int:
    """CRC-32C of the bytes, which follow others whose checksum is `before`."""

# Routing

class Slot:
    def __init__(
        self,
        name: str,
        dim: int,
        *,
        sample_fixed_size: int = 10,
        summation: bool = True,
        sqrt_scaling: bool = False,
        mean: bool = False,
        weighted: bool = False,
        keep_last: bool = False,
        hash_stack_rounds: int = 0,
        hash_stack_size: int = 0,
        prefix: int = 0,
        f32: bool = False,
        modulo: int = 0,
        ids_are_signs: bool = False,
        default_value: float | None = None,
        default_id: int | None = None,
        keep_all: bool = False,
    ) -> None:
        """What the planner needs to know of a slot of an embedding config. Slots looks whether it can be one."""

class Slots:
    def __init__(self, slots: Sequence[Slot], prefix_bits: int) -> None:
        """Raises InvalidInput for prefix_bits outside 1 to 63, FeatureError for a slot that cannot be one, or a name twice."""

class ShardRequest:
    """What one shard is asked, in columns; read-only views that keep the plan alive."""

    @property
    def parts(self) -> npt.NDArray[np.uint32]:
        """(k, 6): feature, answer kind (0 rows, 1 sums, 2 halves, 3 rows and marks), dim, samples, signs, positions. The
        feature is the lower half of the fingerprint of its name.
        """
    @property
    def part_count(self) -> int: ...
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

class FeatureCounts:
    """How the ids of each feature fared, summed up over lookups. Any thread may use it."""

    def __init__(self, names: Sequence[str]) -> None: ...
    def totals(self) -> list[tuple[str, int, int, int, int]]:
        """Name, ids, those without a row, those whose row has another dim, those cut off. The last one, with the name "", is of
        all other features.
        """

class Plan:
    @property
    def feature_names(self) -> list[str]: ...
    @property
    def cut_ids(self) -> list[int]:
        """Of each feature: ids of its samples beyond sample_fixed_size, which its raw tensor has no place for."""
    @property
    def requests(self) -> list[ShardRequest]: ...
    def count(self, misses: Sequence[bytes | None], counts: FeatureCounts) -> npt.NDArray[np.uint32]:
        """How ids fared, four numbers for each feature of the batch: ids, without a row, of another dim, cut; `counts` gets
        them too. misses: of each shard those by part, None for a missing shard. Raises InvalidInput.
        """
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
) -> tuple[npt.NDArray[np.float32], int, int, bytes]:
    """A request's columns as bytes -> the answer; absent signs; signs of another dim; both by part, two u32 each, or empty
    where there are none at all. InvalidInput, TooLarge.
    """
