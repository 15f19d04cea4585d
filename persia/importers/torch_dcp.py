"""A directory of torch.distributed.checkpoint, with which TorchRec's sharded models are saved: chunks of tensors in files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from persia.errors import CorruptFile, InvalidInput

from .managed_collisions import with_raw_ids
from .numbers import conversion_of, dtype_of, floats_of, is_float
from .source import Block, Source, SourceTable, rows_of_block
from .stored import StoredArray
from .table_names import looks_like_a_table
from .torch_archives import TorchArchive
from .torch_pickles import Record, TensorView, load_pickle

__all__ = ["open_source"]

METADATA = ".metadata"  # written last: without it the checkpoint is not complete


@dataclass(frozen=True)
class _Chunk:
    """A rectangle of a table, and the part of a file that has it."""

    row: int
    column: int
    rows: int
    columns: int
    path: Path
    byte: int
    length: int


def open_source(path: Path) -> Source:
    """A table is a tensor (rows, dim) of floats, by its name in the state_dict. Raises CorruptFile, InvalidInput, OSError."""
    metadata = path / METADATA
    if not metadata.exists():
        raise InvalidInput(
            f"expected a directory of torch.distributed.checkpoint, with a file {METADATA}, which is written last; there is "
            f"none in {path}"
        )
    content = load_pickle(metadata.read_bytes(), metadata, 0)
    try:
        return _source(path, content)
    except InvalidInput:  # which is a ValueError, too
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        expected = "the Metadata of torch.distributed.checkpoint"
        raise CorruptFile(str(metadata), expected, f"{type(error).__name__}: {error}", 0) from error


def _source(path: Path, content: Record) -> Source:
    tensors: Mapping[str, Record] = content["state_dict_metadata"]
    places = {(index["fqn"], _offsets(index)): info for index, info in content["storage_data"].items()}
    tables: dict[str, SourceTable] = {}
    others: dict[str, str] = {}
    files: set[Path] = {path / METADATA}
    for name, tensor in sorted(tensors.items()):
        if not tensor.name.endswith("TensorStorageMetadata"):
            others[name] = f"it is a {tensor.name}"
            continue
        dtype, shape = tensor["properties"].state[0], tuple(tensor["size"])
        if len(shape) != 2 or not is_float(dtype) or not shape[1]:
            others[name] = f"it is {shape} of {dtype}, and a table is (rows, dim) of floats"
            continue
        chunks = [_chunk(path, name, chunk, places) for chunk in tensor["chunks"]]
        files |= {chunk.path for chunk in chunks}
        tables[name] = _table(name, dtype, shape, chunks, path, guess=looks_like_a_table(name, tensors))

    def integers(name: str) -> list[Any]:
        """A tensor of managed collisions, in the part of each process."""
        parts = _vectors(name, tensors[name], path, places)
        files.update(part.path for part in parts)
        return [part.whole() for part in parts]

    keyed = with_raw_ids(tables, tensors, integers)
    return Source(tuple(sorted(files)), keyed, others)


def _offsets(index: Record) -> tuple[int, ...] | None:
    return None if index["offset"] is None else tuple(index["offset"])


def _chunk(path: Path, name: str, chunk: Record, places: Mapping[Any, Record]) -> _Chunk:
    (row, column), (rows, columns) = ((*chunk[field], *default)[:2] for field, default in (("offsets", [0]), ("sizes", [1])))
    place = places.get((name, tuple(chunk["offsets"]))) or places.get((name, None))
    if place is None:
        raise CorruptFile(str(path / METADATA), f"the file of `{name}` from row {row}, column {column} on", "none", 0)
    file = path / place["relative_path"]
    if file.parent != path or not file.exists():
        raise CorruptFile(str(path / METADATA), f"the file {file.name} of `{name}` in {path}", "no such file", 0)
    byte, length = place["offset"], place["length"]
    if byte + length > (size := file.stat().st_size):
        raise CorruptFile(
            str(file), f"{length} bytes of `{name}` from byte {byte} on", f"a file of {size} bytes", min(byte, size)
        )
    return _Chunk(row, column, rows, columns, file, byte, length)


def _table(name: str, dtype: str, shape: tuple[int, int], chunks: list[_Chunk], path: Path, *, guess: bool) -> SourceTable:
    strips = _strips(name, shape, chunks, path)

    def blocks() -> Iterator[Block]:
        size = rows_of_block(shape[1] * dtype_of(dtype).itemsize)
        for strip in strips:
            begin = strip[0].row
            arrays = [_array(name, dtype, chunk, (chunk.rows, chunk.columns)) for chunk in strip]
            for parts in zip(*(array.parts(size) for array in arrays), strict=True):
                rows = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
                yield np.arange(begin, begin + len(rows), dtype=np.uint64), floats_of(rows, dtype)
                begin += len(rows)

    return SourceTable(name, shape[0], shape[1], "rows", blocks, conversion_of(dtype), guess)


def _strips(name: str, shape: tuple[int, int], chunks: list[_Chunk], path: Path) -> list[list[_Chunk]]:
    """Chunks of the same rows beside each other, from the first rows to the last. Raises CorruptFile where one is missing."""
    strips: dict[int, list[_Chunk]] = {}
    for chunk in sorted(chunks, key=lambda chunk: (chunk.row, chunk.column)):
        if chunk.rows:
            strips.setdefault(chunk.row, []).append(chunk)
    row = 0
    for begin, strip in strips.items():
        column = 0
        for chunk in strip:
            if (begin, chunk.column, chunk.rows) != (row, column, strip[0].rows):
                break
            column += chunk.columns
        if begin != row or column != shape[1]:
            raise _hole(name, row, column, path)
        row += strip[0].rows
    if row != shape[0]:
        raise _hole(name, row, 0, path)
    return list(strips.values())


def _hole(name: str, row: int, column: int, path: Path) -> CorruptFile:
    return CorruptFile(
        str(path / METADATA), f"chunks of `{name}` that follow each other", f"none from row {row}, column {column}", 0
    )


def _vectors(name: str, tensor: Record, path: Path, places: Mapping[Any, Record]) -> list[StoredArray]:
    """The parts of a tensor (n) of int64, one after the other. Raises CorruptFile."""
    dtype, shape = tensor["properties"].state[0], tuple(tensor["size"])
    if dtype != "int64" or len(shape) != 1:
        raise CorruptFile(str(path / METADATA), f"`{name}` (n) of int64", f"{shape} of {dtype}", 0)
    strips = _strips(name, (*shape, 1), [_chunk(path, name, chunk, places) for chunk in tensor["chunks"]], path)
    return [_array(name, dtype, strip[0], (strip[0].rows,)) for strip in strips]


def _array(name: str, dtype: str, chunk: _Chunk, shape: tuple[int, ...]) -> StoredArray:
    """Where the numbers of a chunk lie. Raises CorruptFile if its part of the file has another tensor."""
    archive = TorchArchive(chunk.path, chunk.byte, chunk.length)
    view = archive.content
    if not isinstance(view, TensorView) or view.shape != shape or view.storage.dtype != dtype:
        got = f"{view.shape} of {view.storage.dtype}" if isinstance(view, TensorView) else type(view).__name__
        raise CorruptFile(str(chunk.path), f"{shape} of {dtype}, for `{name}`", got, chunk.byte)
    return archive.array(name, view)
