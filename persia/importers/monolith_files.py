"""The hash tables of Monolith: records of an id and its row, of all slots of a table together, in several files."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from persia.errors import CorruptFile, InvalidInput

from .source import Block, Source, SourceTable, rows_of_block
from .tf_records import read_record, records_of

__all__ = ["open_source"]

_FILE = re.compile(r"(?P<name>.+)-(?P<part>\d{5})-of-(?P<parts>\d{5})")
_ID, _NUMBER, _OPTIMIZER, _UPDATED = 0x09, 0x15, 0x1A, 0x20  # what stands before each field of an EntryDump
_AFTER = (b"", bytes((_OPTIMIZER,)), bytes((_UPDATED,)))
_HEAD = 9  # the field of the id
_STEP = 5  # a number with what stands before it
_SLOT_AT, _SLOT_MASK = 48, 0x7FFF


class _Place(NamedTuple):
    """Where the records of a slot begin in a file."""

    path: Path
    bytes: array[int]


def open_source(path: Path) -> Source:
    """A directory with the files of one hash table or of several. All is read once here, to know what slots it has.

    Raises CorruptFile, InvalidInput, OSError.
    """
    files = _files_of(path)
    tables = {}
    for name, parts in files.items():
        for slot, (dim, places) in sorted(_slots_of(parts).items()):
            own = f"slot_{slot}" if len(files) == 1 else f"{name}.slot_{slot}"
            tables[own] = _table(own, dim, places)
    return Source(tuple(sorted(file for parts in files.values() for file in parts)), tables)


def _files_of(path: Path) -> dict[str, list[Path]]:
    """The files of each hash table, in the order of their numbers."""
    found: dict[str, dict[int, Path]] = {}
    counts: dict[str, int] = {}
    for file in sorted(path.iterdir()) if path.is_dir() else []:
        form = _FILE.fullmatch(file.name)
        if form is None or form["name"].endswith(".data"):  # a checkpoint of TensorFlow beside it
            continue
        name, count = form["name"], int(form["parts"])
        if counts.setdefault(name, count) != count:
            raise CorruptFile(str(file), f"one of {counts[name]} files of `{name}`", f"one of {count} files", 0)
        found.setdefault(name, {})[int(form["part"])] = file
    if not found:
        raise InvalidInput(f"expected a directory with files of Monolith, named NAME-0000I-of-0000N; there are none in {path}")
    for name, parts in found.items():
        if missing := sorted(set(range(counts[name])).symmetric_difference(parts)):
            raise CorruptFile(
                str(path), f"{counts[name]} files of `{name}`", f"{len(parts)}: {missing[0]:05} is missing or too much", 0
            )
    return {name: [parts[number] for number in sorted(parts)] for name, parts in found.items()}


def _slots_of(files: list[Path]) -> dict[int, tuple[int, list[_Place]]]:
    """The dim of each slot, and where its rows are. Raises CorruptFile."""
    slots: dict[int, tuple[int, list[_Place]]] = {}
    for path in files:
        for byte, record in records_of(path):
            slot, dim = _look_at(record, path, byte)
            expected, places = slots.setdefault(slot, (dim, []))
            if dim != expected:
                raise CorruptFile(str(path), f"{expected} numbers in a row of slot {slot}", str(dim), byte)
            if not places or places[-1].path != path:
                places.append(_Place(path, array("Q")))
            places[-1].bytes.append(byte)
    return slots


def _look_at(record: bytes, path: Path, byte: int) -> tuple[int, int]:
    """Slot and dim. What follows the numbers is what an optimizer knows of the row, and when the row was last updated."""
    before = record[_HEAD::_STEP]
    dim = len(before) - len(before.lstrip(bytes((_NUMBER,))))
    end = _HEAD + _STEP * dim
    if len(record) < end or record[:1] != bytes((_ID,)) or not dim or record[end : end + 1] not in _AFTER:
        raise CorruptFile(str(path), "an EntryDump with an id and numbers", f"{record[:32].hex()}", byte)
    return int.from_bytes(record[1:_HEAD], "little") >> _SLOT_AT & _SLOT_MASK, dim


def _table(name: str, dim: int, places: list[_Place]) -> SourceTable:
    size = _STEP * dim

    def blocks() -> Iterator[Block]:
        most = rows_of_block(4 * dim)
        for path, bytes_of in places:
            end = path.stat().st_size
            with path.open("rb") as file:
                for begin in range(0, len(bytes_of), most):
                    ids, numbers = bytearray(), bytearray()
                    for byte in bytes_of[begin : begin + most]:
                        file.seek(byte)
                        record = read_record(file, path, end)
                        if _look_at(record, path, byte)[1] != dim:
                            raise CorruptFile(str(path), "a file that stays as it is", "one that has changed", byte)
                        ids += record[1:_HEAD]
                        numbers += record[_HEAD : _HEAD + size]
                    rows = np.frombuffer(numbers, np.uint8).reshape(-1, dim, _STEP)[:, :, 1:]
                    yield np.frombuffer(ids, "<u8"), np.ascontiguousarray(rows).view("<f4").reshape(-1, dim)

    return SourceTable(name, sum(len(place.bytes) for place in places), dim, "keys", blocks)
