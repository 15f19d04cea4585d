"""Keys in one file and rows in another, both without any header: what several systems dump."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from persia.errors import CorruptFile, InvalidInput

from .arrays import keyed_table
from .numbers import dtype_of
from .source import BLOCK_ROWS, SourceTable
from .stored import StoredArray

__all__ = ["array_after", "array_of_file", "paired_table"]


def paired_table(name: str, pairs: list[tuple[Path, Path]]) -> SourceTable:
    """A table of keys of int64 and rows of float32, in pairs of files. Its dim follows from their sizes.

    Raises CorruptFile for files that do not fit each other, InvalidInput for keys of 32 bits, OSError.
    """
    arrays = []
    dim = 0
    for keys_path, rows_path in pairs:
        keys = array_of_file(keys_path, "int64")
        size = rows_path.stat().st_size
        if not keys.shape[0]:
            if size:
                raise CorruptFile(str(rows_path), f"no rows, as {keys_path.name} has no keys", f"{size} bytes", 0)
            continue
        here, rest = divmod(size, 4 * keys.shape[0])
        if rest or not here or here != (dim or here):
            wanted = f"{dim} numbers" if dim else "a number of floats"
            expected = f"rows of float32 for {keys.shape[0]} keys of {keys_path.name}, each of {wanted}"
            raise CorruptFile(str(rows_path), expected, f"{size} bytes", size - rest)
        dim = here
        _check_width(name, keys)
        arrays.append((keys, StoredArray(rows_path, 0, "float32", (keys.shape[0], dim))))
    if not arrays:
        raise CorruptFile(str(pairs[0][0]), f"keys of table `{name}`", "an empty file", 0)
    return replace(keyed_table(name, arrays), assumed="if keys are int64 and numbers float32, which the files do not say")


_ENOUGH = 16  # keys, for it to be no accident


def _check_width(name: str, keys: StoredArray) -> None:
    """Raises InvalidInput for keys of 32 bits, of which two look like one, and their two rows like one of twice the dim.

    Numbers of 64 bits whose halves are all different, and none of them negative, are none but by an accident of 1 in 4^n.
    """
    first = next(keys.parts(BLOCK_ROWS))
    halves = np.ascontiguousarray(first).view("<i4")
    if len(first) >= _ENOUGH and halves.min() >= 0 and len(np.unique(halves)) == len(halves):
        raise InvalidInput(
            f"the keys of table `{name}` in {keys.path} are numbers of 32 bits, and have to be of 64: write them as int64, or "
            "import keys and rows as `numpy`"
        )


def array_of_file(path: Path, dtype: str) -> StoredArray:
    """All of a file as one array (n). Raises CorruptFile, OSError."""
    return array_after(path, 0, dtype, None)


def array_after(path: Path, byte: int, dtype: str, count: int | None) -> StoredArray:
    """What follows that byte of a file as an array (n), which has to have `count` numbers if that is given.

    Raises CorruptFile, OSError.
    """
    size = path.stat().st_size
    width = dtype_of(dtype).itemsize
    found, rest = divmod(size - byte, width)
    if size < byte or rest:
        raise CorruptFile(
            str(path), f"numbers of {dtype}, {width} bytes each, from byte {byte} on", f"{size} bytes", size - rest
        )
    if count is not None and found != count:
        raise CorruptFile(
            str(path), f"{count} numbers of {dtype} from byte {byte} on", str(found), min(size, byte + count * width)
        )
    return StoredArray(path, byte, dtype, (found,))
