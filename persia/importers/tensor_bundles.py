"""TensorFlow's checkpoints (TensorBundle), read without TensorFlow: an index of tensors, and files with their numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from persia._core import crc32c
from persia.errors import CorruptFile, InvalidInput

from .numbers import FLOATS, INTEGERS
from .sorted_tables import entries_of, unmasked
from .stored import StoredArray
from .wire_fields import fields_of

__all__ = ["Bundle", "Tensor", "find_index", "read_bundle"]

INDEX = ".index"
DTYPES = {
    1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 9: "int64", 10: "bool", 14: "bfloat16",
    17: "uint16", 19: "float16", 22: "uint32", 23: "uint64",
}  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """`parts` are its rows in order: one array, or several where a variable was partitioned. None: not numbers of ours."""

    dtype: str
    shape: tuple[int, ...]
    parts: tuple[StoredArray, ...] | None


@dataclass(frozen=True)
class Bundle:
    files: tuple[Path, ...]
    tensors: dict[str, Tensor]


@dataclass(frozen=True)
class _Entry:
    dtype: str
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int
    slices: tuple[tuple[int, ...], ...]  # for each part, where it begins in each dimension


def find_index(path: Path) -> Path:
    """The index of a checkpoint: the file, or the only one in a directory, or in its `variables`. Raises InvalidInput."""
    if path.is_file():
        if path.suffix != INDEX:
            raise InvalidInput(f"expected the index of a TensorFlow checkpoint, such as model.ckpt-100.index, got {path}")
        return path
    found = sorted(path.glob(f"*{INDEX}")) or sorted((path / "variables").glob(f"*{INDEX}"))
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise InvalidInput(f"expected one TensorFlow checkpoint (*{INDEX}) in {path}, got {names}: name the one that is meant")
    return found[0]


def read_bundle(index: Path) -> Bundle:
    """What a checkpoint has. Files of data have to be there and long enough. Raises CorruptFile, OSError."""
    shards = 0
    plain: dict[str, _Entry] = {}
    slices: list[tuple[bytes, _Entry]] = []
    try:
        for key, value in entries_of(index):
            if not key:
                shards = _shards(value)
            elif key.startswith(b"\0"):
                slices.append((key, _entry(value)))
            else:
                plain[key.decode()] = _entry(value)
    except (IndexError, ValueError, TypeError) as error:
        raise CorruptFile(str(index), "entries of a TensorFlow checkpoint", f"{type(error).__name__}: {error}", 0) from error
    stem = index.name.removesuffix(INDEX)
    files = [index.with_name(f"{stem}.data-{i:05}-of-{shards:05}") for i in range(shards)]
    for file in files:
        if not file.exists():
            raise CorruptFile(str(index), f"a file {file.name} beside it", "none: the checkpoint is not complete", 0)
    _check_ends(index, files, [*plain.values(), *(entry for _, entry in slices)])
    tensors = {name: _tensor(index, name, entry, slices, files) for name, entry in plain.items()}
    return Bundle((index, *files), tensors)


def _check_ends(index: Path, files: list[Path], entries: list[_Entry]) -> None:
    """Whether each file has all that the index says, also of tensors that are no numbers. Raises CorruptFile, OSError."""
    ends = [0] * len(files)
    for entry in entries:
        if entry.shard >= len(files):
            raise CorruptFile(str(index), f"tensors in {len(files)} files", f"one in file {entry.shard}", 0)
        if not entry.slices:
            ends[entry.shard] = max(ends[entry.shard], entry.offset + entry.size)
    for file, end in zip(files, ends, strict=True):
        if (size := file.stat().st_size) < end:
            raise CorruptFile(str(file), f"{end} bytes, by {index.name}", f"{size}", size)


def _shards(header: bytes) -> int:
    values = dict(fields_of(header))
    if values.get(2, 0):
        raise ValueError("a checkpoint that is big-endian")
    return int(values.get(1, 1))


def _entry(message: bytes) -> _Entry:
    values: dict[int, int] = {}
    shape: tuple[int, ...] = ()
    slices: list[tuple[int, ...]] = []
    for number, value in fields_of(message):
        if isinstance(value, int):
            values[number] = value
        elif number == 2:
            shape = tuple(_number(dim, 1) for field, dim in fields_of(value) if field == 2)
        elif number == 7:
            slices.append(tuple(_number(extent, 1) for field, extent in fields_of(value) if field == 1))
    dtype = DTYPES.get(values.get(1, 0), f"TensorFlow's type {values.get(1, 0)}")
    shard, offset, size = (values.get(number, 0) for number in (3, 4, 5))
    return _Entry(dtype, shape, shard, offset, size, unmasked(values.get(6, 0)), tuple(slices))


def _number(message: int | bytes, field: int) -> int:
    """A field of a message in a message; 0 if it is not there."""
    if isinstance(message, int):
        raise ValueError(f"the number {message} in the place of a message")
    value = dict(fields_of(message)).get(field, 0)
    if not isinstance(value, int):
        raise ValueError(f"bytes in the place of the number {field}")
    return value


def _tensor(index: Path, name: str, entry: _Entry, slices: list[tuple[bytes, _Entry]], files: list[Path]) -> Tensor:
    if entry.dtype not in {**FLOATS, **INTEGERS}:
        return Tensor(entry.dtype, entry.shape, None)
    if not entry.slices:
        return Tensor(entry.dtype, entry.shape, (_array(index, name, entry, files),))
    own = [part for key, part in slices if key.startswith(b"\0" + _ordered(name))]
    begins = sorted(entry.slices)
    arrays = tuple(_array(index, name, part, files) for part in own)
    rows = 0
    for begin, array in zip(begins, arrays, strict=False):
        if begin[:1] != (rows,) or any(begin[1:]) or array.shape[1:] != entry.shape[1:]:
            return Tensor(f"{entry.dtype}, cut in more than rows", entry.shape, None)
        rows += array.shape[0]
    if len(begins) != len(arrays) or rows != entry.shape[0]:
        raise CorruptFile(
            str(index), f"{len(begins)} parts of `{name}` with {entry.shape[0]} rows", f"{len(arrays)} with {rows}", 0
        )
    return Tensor(entry.dtype, entry.shape, arrays)


def _ordered(name: str) -> bytes:
    """A name as the keys of parts have it: bytes that would end it are escaped, and two bytes end it."""
    return name.encode().replace(b"\xff", b"\xff\0").replace(b"\0", b"\0\xff") + b"\0\1"


def _array(index: Path, name: str, entry: _Entry, files: list[Path]) -> StoredArray:
    file = files[entry.shard]
    array = StoredArray(file, entry.offset, entry.dtype, entry.shape or (1,), entry.checksum, crc32c)
    if array.bytes != entry.size:
        raise CorruptFile(str(index), f"{array.bytes} bytes of `{name}`, by its shape {entry.shape}", f"{entry.size}", 0)
    return array
