"""numpy's own files: a directory with rows.npy, and with ids.npy unless ids are row numbers; or such directories of tables."""

from __future__ import annotations

from pathlib import Path
from tokenize import TokenError

import numpy as np

from persia.errors import CorruptFile, InvalidInput

from .arrays import keyed_table, numbered_table
from .numbers import FLOATS, INTEGERS
from .source import Source, SourceTable
from .stored import StoredArray

__all__ = ["open_source"]

IDS, ROWS = "ids.npy", "rows.npy"


def open_source(path: Path) -> Source:
    """Tables have the names of their directories. Raises InvalidInput, CorruptFile, OSError."""
    directories = [path] if (path / ROWS).exists() else sorted(file.parent for file in path.glob(f"*/{ROWS}"))
    if not directories:
        raise InvalidInput(f"expected {ROWS} in {path}, or in directories of it, one for each table; there is none")
    tables = {directory.resolve().name: _table(directory) for directory in directories}
    files = [file for directory in directories for file in (directory / IDS, directory / ROWS) if file.exists()]
    return Source(tuple(files), tables)


def _table(directory: Path) -> SourceTable:
    name = directory.resolve().name
    rows = read_header(directory / ROWS)
    if len(rows.shape) != 2 or rows.dtype not in FLOATS or not rows.shape[1]:
        raise InvalidInput(f"{rows.path}: expected an array (n, dim) of floats, got {rows.shape} of {rows.dtype}")
    if not (directory / IDS).exists():
        _check_no_other_ids(directory, rows.shape[0])
        return numbered_table(name, rows)
    ids = read_header(directory / IDS)
    if len(ids.shape) != 1 or ids.dtype not in INTEGERS:
        raise InvalidInput(f"{ids.path}: expected an array (n) of integers, got {ids.shape} of {ids.dtype}")
    if ids.shape[0] != rows.shape[0]:
        raise CorruptFile(str(ids.path), f"an id for each of the {rows.shape[0]} rows of {ROWS}", f"{ids.shape[0]} ids", 0)
    return keyed_table(name, [(ids, rows)])


def _check_no_other_ids(directory: Path, rows: int) -> None:
    """Raises InvalidInput for an array that looks like the ids of the rows, and has another name."""
    for path in sorted(directory.glob("*.npy")):
        try:
            other = read_header(path)
        except (CorruptFile, InvalidInput):  # it is not a file of ours
            continue
        if path.name != ROWS and other.shape == (rows,) and other.dtype in INTEGERS:
            raise InvalidInput(
                f"{path} has an integer for each row of {ROWS}: if these are the ids of the rows, name it {IDS}; if ids are "
                "the numbers of the rows, move it elsewhere"
            )


def read_header(path: Path) -> StoredArray:
    """The array of an .npy file, which has to have all of its bytes and no more. Raises CorruptFile, OSError."""
    with path.open("rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(file)
        except (ValueError, EOFError, SyntaxError, TypeError, TokenError) as error:  # numpy reads the header as Python's text
            raise CorruptFile(str(path), "an .npy file, as numpy.save writes it", str(error), 0) from error
        array = StoredArray(path, file.tell(), dtype.name, shape)
    if dtype.name not in {**FLOATS, **INTEGERS} or dtype.byteorder == ">" or (fortran and len(shape) > 1):
        order = " in Fortran's order" if fortran else ""
        raise InvalidInput(
            f"{path}: expected numbers in C's order, little-endian, got {dtype.str}{order}: save a copy of the array"
        )
    array.check_room()
    if (size := path.stat().st_size) > array.byte + array.bytes:
        raise CorruptFile(
            str(path), f"the end of the file after {shape} of {dtype.name}", f"{size} bytes", array.byte + array.bytes
        )
    return array
