"""The rows of an epoch that takes away packets which the table cannot take away any more: read again from the files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from persia import _core
from persia.formats.layout import DELETIONS, ENDS, ROWS
from persia.formats.packet import Packet
from persia.formats.sign_files import read_sign_file

from .applier import signs_with_rows

__all__ = ["put_again", "put_from_checkpoint"]

_U64 = npt.NDArray[np.uint64]
_Blocks = Iterable[tuple[_U64, npt.NDArray[np.uint32], npt.NDArray[np.float32], npt.NDArray[np.uint8]]]


def put_from_checkpoint(layer: _core.Layer, wanted: _U64, files: Iterable[Path], ends: Iterable[Path]) -> None:
    """What a checkpoint's files say of the signs, which are in order; those that it does not have are without a row."""
    layer.add_tombstones(wanted)
    for path in files:
        _put_rows(layer, wanted, _core.EmbReader(path))
    _set_ends(layer, wanted, ends)


def put_again(layer: _core.Layer, wanted: _U64, packet: Packet) -> None:
    """What a packet says of the signs goes over what the layer says of them. Raises CorruptFile, OSError."""
    for path in packet.paths(ROWS):
        _put_rows(layer, wanted, _core.IncReader(path), layer.forget)
    for path in packet.paths(DELETIONS):
        layer.add_tombstones(_chosen(read_sign_file(path).signs, wanted))
    _set_ends(layer, wanted[np.isin(wanted, signs_with_rows(packet))], packet.paths(ENDS))


def _put_rows(layer: _core.Layer, wanted: _U64, blocks: _Blocks, before: Callable[[_U64], None] = lambda signs: None) -> None:
    for signs, rows in _rows_of(blocks, wanted):
        before(signs)
        layer.put(signs, rows)


def _rows_of(blocks: _Blocks, wanted: _U64) -> Iterator[tuple[_U64, npt.NDArray[np.float32]]]:
    """The rows of the signs, by dim."""
    for signs, dims, values, _recency in blocks:
        begins = np.concatenate([[0], np.cumsum(dims, dtype=np.int64)])[:-1]
        is_wanted = np.isin(signs, wanted)
        for dim in np.unique(dims[is_wanted]):
            at = np.flatnonzero(is_wanted & (dims == dim))
            yield signs[at], values[begins[at][:, np.newaxis] + np.arange(dim)]


def _set_ends(layer: _core.Layer, wanted: _U64, paths: Iterable[Path]) -> None:
    for path in paths:
        file = read_sign_file(path)
        assert file.ends is not None
        chosen = np.isin(file.signs, wanted)
        layer.set_ends(file.signs[chosen], file.ends[chosen])


def _chosen(signs: _U64, wanted: _U64) -> _U64:
    chosen: _U64 = signs[np.isin(signs, wanted)]
    return chosen
