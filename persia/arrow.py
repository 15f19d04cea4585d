"""Columns of Arrow, read by their buffers: no Python per value. Needs pyarrow, which whoever has such a column has, too."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from persia import _core
from persia.columns import KINDS, Column
from persia.errors import FeatureError

__all__ = ["arrow_column"]


def arrow_column(name: str, data: Any) -> Column:
    """Of an Array or ChunkedArray. Raises FeatureError for empty cells, and what is not numbers, strings or lists of them."""
    import pyarrow as pa
    import pyarrow.types as types

    if not isinstance(data, (pa.Array, pa.ChunkedArray)):
        raise FeatureError(name, f"expected one column, got pyarrow.{type(data).__name__}")
    array = _in_one(data)
    if array.null_count:
        raise FeatureError(name, f"expected no empty cells, got {array.null_count}, the first in sample {_first_null(array)}")
    kind = array.type
    if types.is_dictionary(kind):
        column = arrow_column(name, array.dictionary)
        return Column(column.values[array.indices.to_numpy(zero_copy_only=False)], text=column.text)
    if types.is_string(kind) or types.is_large_string(kind) or kind == _view_type(pa):
        return Column(_hashed(array), text=True)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _lists(name, array)
    if types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind):
        return Column(array.to_numpy(zero_copy_only=False))
    if types.is_null(kind):
        return Column(np.empty(0, np.uint64))
    raise FeatureError(name, f"expected {KINDS}, got {kind}")


def _in_one(data: Any) -> Any:
    """The array of a chunked one; pyarrow leaves chunks where their strings together are too long for 32 bits."""
    import pyarrow as pa

    if isinstance(data, pa.ChunkedArray):
        if data.num_chunks == 1:
            return data.chunk(0)
        data = data.combine_chunks()
        if isinstance(data, pa.ChunkedArray):
            return pa.concat_arrays([chunk.cast(pa.large_string()) for chunk in data.chunks])
    return data


def _view_type(pa: Any) -> Any:
    return pa.string_view() if hasattr(pa, "string_view") else None


def _first_null(array: Any) -> int:
    return int(np.asarray(array.is_null().to_numpy(zero_copy_only=False)).argmax())


def _hashed(array: Any) -> npt.NDArray[np.uint64]:
    import pyarrow as pa

    array = array.cast(pa.large_string())
    _, offsets, text = array.buffers()
    places = np.frombuffer(offsets, np.int64, len(array) + 1, array.offset * 8) if offsets else np.zeros(1, np.int64)
    return _core.hash_utf8(text if text is not None else b"", places)


def _lists(name: str, array: Any) -> Column:
    offsets = np.zeros(len(array) + 1, np.int64)
    np.cumsum(array.value_lengths().to_numpy(zero_copy_only=False), out=offsets[1:])
    values = array.flatten()
    if values.null_count:
        sample = int(np.searchsorted(offsets, _first_null(values), "right")) - 1
        raise FeatureError(name, f"expected no empty cells, got {values.null_count}, the first in sample {sample}")
    column = arrow_column(name, values)
    if column.offsets is not None:
        raise FeatureError(name, "expected lists of numbers or strings, got lists of lists")
    return Column(column.values, offsets, column.text)
