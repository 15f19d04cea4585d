"""Models and weights of Keras in HDF5: a .keras file, a .weights.h5 file, or an older .h5 file."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from persia.errors import CorruptFile, InvalidInput, NotFound

from .numbers import conversion_of, floats_of, is_float
from .source import BLOCK_BYTES, Block, Source, SourceTable, rows_of_block
from .table_names import looks_like_a_table

__all__ = ["open_source"]

_WEIGHTS = "model.weights.h5"  # of a .keras file, which is a zip archive


def open_source(path: Path) -> Source:
    """A table is a variable (rows, dim) of floats, by the names of the layers that it lies in.

    Raises CorruptFile, InvalidInput, OSError; NotFound without h5py.
    """
    _h5py()
    if path.is_dir():
        raise InvalidInput(f"expected a .keras file, or weights in HDF5, got the directory {path}")
    _check_archive(path)
    tables: dict[str, SourceTable] = {}
    others: dict[str, str] = {}
    with _opened(path) as file:
        variables = _variables(file, path)
        kinds = {place: (shape, dtype) for place, shape, dtype in variables}
        for place, shape, dtype in variables:
            name, scales = _name_of(file, place), _scales_of(place, kinds)
            if place.partition("/")[0] in ("optimizer", "optimizer_weights"):
                others[name] = "it is the state of an optimizer"
            elif len(shape) != 2 or not (is_float(dtype) or scales) or not shape[1]:
                others[name] = f"it is {shape} of {dtype}, and a table is (rows, dim) of floats"
            elif name in tables:
                raise InvalidInput(f"{path}: two layers have the name `{name}`, so it does not name a table: rename one")
            elif scales:  # a layer without a bias whose weights are a square looks the same
                tables[name] = _quantized_table(path, name, (place, scales), shape, guess=shape[0] != shape[1])
            else:
                tables[name] = _table(path, name, place, shape, dtype, guess=_is_alone(file, place))
    return Source((path,), tables, others)


def _h5py() -> Any:
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise NotFound("reading Keras' files needs h5py: pip install 'persia-serve[keras]'") from error
    return h5py


def _check_archive(path: Path) -> None:
    """Reads all of the weights in a .keras file once, because h5py reads here and there, and so compares no checksum."""
    if not zipfile.is_zipfile(path):
        if path.suffix == ".keras":
            raise CorruptFile(str(path), "a .keras file, which is a zip archive", "another file", 0)
        return
    try:
        with zipfile.ZipFile(path) as archive, archive.open(_WEIGHTS) as member:
            while member.read(BLOCK_BYTES):
                pass
    except KeyError as error:
        raise CorruptFile(str(path), f"a .keras file, with {_WEIGHTS}", "no such member of the archive", 0) from error
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, ValueError) as error:
        raise CorruptFile(str(path), f"a .keras file with {_WEIGHTS} as it was written", str(error), 0) from error


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The weights. Raises CorruptFile for what HDF5 does not take, here or in the `with`."""
    h5py = _h5py()
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive, archive.open(_WEIGHTS) as member, h5py.File(_seekable(member), "r") as file:
                yield file
        else:
            with path.open("rb") as plain, h5py.File(plain, "r") as file:
                yield file
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, UnicodeDecodeError, zlib.error) as error:
        if isinstance(error, (CorruptFile, InvalidInput)) or (isinstance(error, OSError) and error.errno is not None):
            raise
        raise CorruptFile(str(path), "weights of Keras in HDF5", str(error) or type(error).__name__, 0) from error


def _seekable(member: IO[bytes]) -> IO[bytes]:
    """A member that is compressed can be read from its start only, so it is unpacked into memory."""
    compressed = isinstance(member, zipfile.ZipExtFile) and getattr(member, "_compress_type", 0) != zipfile.ZIP_STORED
    return io.BytesIO(member.read()) if compressed else member


def _variables(file: Any, path: Path) -> list[tuple[str, tuple[int, ...], str]]:
    """Place, shape and type of each dataset."""
    found: list[tuple[str, tuple[int, ...], str]] = []

    def take(place: str, item: Any) -> None:
        if hasattr(item, "shape"):
            found.append((place, tuple(item.shape), str(item.dtype)))

    file.visititems(take)
    if not found:
        raise InvalidInput(f"{path} has no variables")
    return found


def _name_of(file: Any, place: str) -> str:
    """`layers/embedding_1/vars/0` is the first variable of a layer whose name Keras has noted, since 3.3, at `vars`.

    Where it has not, and in older files, the place is the name.
    """
    groups, mark, number = place.rpartition("/vars/")
    if not mark:
        return place
    names, parts = [], groups.split("/")
    for i, part in enumerate(parts):
        if part not in ("layers", "_layers") or i == len(parts) - 1:
            at = "/".join([*parts[: i + 1], "vars"])
            noted = file[at].attrs.get("name") if at in file else None
            names.append(noted.decode() if isinstance(noted, bytes) else str(noted) if noted is not None else part)
    return "/".join(names) + (f"/{number}" if number != "0" else "")


def _scales_of(place: str, kinds: dict[str, tuple[tuple[int, ...], str]]) -> str:
    """The place of the scales of a layer of embeddings in int8, one for each row; empty if it has none."""
    (shape, dtype), scales = kinds[place], place.removesuffix("/vars/0") + "/vars/1"
    return scales if dtype == "int8" and kinds.get(scales) == (shape[:1], "float32") else ""


def _is_alone(file: Any, place: str) -> bool:
    """A layer of embeddings has one variable, unless it is an older file, of which the names tell."""
    groups, mark, _ = place.rpartition("/vars/")
    return len(file[f"{groups}/vars"]) == 1 if mark else looks_like_a_table(place.replace("/", ".").replace(":0", ""), ())


def _quantized_table(path: Path, name: str, places: tuple[str, str], shape: tuple[int, ...], *, guess: bool) -> SourceTable:
    """places: of the numbers (rows, dim) of int8, and of the scales (rows) by which Keras divides them."""

    def blocks() -> Iterator[Block]:
        size = rows_of_block(shape[1] * 4)
        with _opened(path) as file:
            for begin in range(0, shape[0], size):
                codes, scales = (file[place][begin : begin + size] for place in places)
                with np.errstate(divide="ignore", invalid="ignore"):  # what is no number is refused by the row's id
                    rows = codes.astype(np.float32) / scales[:, np.newaxis]
                yield np.arange(begin, begin + len(rows), dtype=np.uint64), rows

    conversion = "int8 to float32, exactly as Keras does it"
    return SourceTable(name, shape[0], shape[1], "rows", blocks, conversion, guess, is_quantized=True)


def _table(path: Path, name: str, place: str, shape: tuple[int, ...], dtype: str, *, guess: bool) -> SourceTable:
    def blocks() -> Iterator[Block]:
        size = rows_of_block(shape[1] * np.dtype(dtype).itemsize)
        with _opened(path) as file:
            for begin in range(0, shape[0], size):
                part = file[place][begin : begin + size]
                yield np.arange(begin, begin + len(part), dtype=np.uint64), floats_of(part, dtype)

    return SourceTable(name, shape[0], shape[1], "rows", blocks, conversion_of(dtype), guess)
