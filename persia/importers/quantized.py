"""Rows of FBGEMM with few bits a number, as TorchRec's quantised tables have them: scale, bias and codes as bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from persia.errors import InvalidInput

from .source import F32, Block, SourceTable, rows_of_block
from .stored import StoredArray

__all__ = ["KINDS", "Kind", "unpacked_table"]

Kind: TypeAlias = Literal["int8", "int4", "float16"]
KINDS: tuple[Kind, ...] = ("int8", "int4", "float16")
_HEAD = 4  # scale and bias, each in float16
_ALIGNED = 16  # rows are padded to a multiple of so many bytes


def unpacked_table(name: str, packed: StoredArray, kind: Kind, dim: int) -> SourceTable:
    """The table of packed rows (n, bytes).

    Raises InvalidInput if rows of this kind and dim have another number of bytes. So do its blocks, for bytes that are no such
    rows.
    """
    width = _ALIGNED * -(-(_HEAD * (kind != "float16") + _payload(kind, dim)) // _ALIGNED)
    if packed.row_bytes != width:
        expected = f"rows of {width} bytes in `{name}`, as {kind} of dim {dim} has"
        raise InvalidInput(f"expected {expected}, got {packed.row_bytes}: is `quantized` or the slot's dim another one?")

    def blocks() -> Iterator[Block]:
        begin = 0
        for part in packed.parts(rows_of_block(max(width, dim * 4))):
            _check_rows(name, part, kind, dim, begin)
            yield np.arange(begin, begin + len(part), dtype=np.uint64), _floats(part, kind, dim)
            begin += len(part)

    conversion = f"{kind} to float32, exactly as FBGEMM does it"
    return SourceTable(name, packed.shape[0], dim, "rows", blocks, conversion, is_quantized=kind != "float16")


def _payload(kind: Kind, dim: int) -> int:
    return {"int8": dim, "int4": -(-dim // 2), "float16": 2 * dim}[kind]


def _check_rows(name: str, packed: npt.NDArray[np.uint8], kind: Kind, dim: int, begin: int) -> None:
    """Raises InvalidInput for bytes that another layout explains better, such as one with scale and bias at the end.

    A row is padded with zeros. Where FBGEMM makes a scale negative, all of the row's codes are the last one.
    """
    end = _HEAD * (kind != "float16") + _payload(kind, dim)
    wrong = packed[:, end:].any(axis=1)
    if kind != "float16":
        scales = np.ascontiguousarray(packed[:, :2]).view("<f2")[:, 0]
        wrong |= (scales < 0) & (packed[:, _HEAD : _HEAD + dim // 2] != 0xFF).any(axis=1)
    if wrong.any():
        raise InvalidInput(
            f"row {begin + int(np.argmax(wrong))} of `{name}` is none of {kind} and dim {dim}, with scale and bias before its "
            "codes and zeros behind them, as tables of TorchRec have it: dequantise the table, and import its floats"
        )


def _floats(packed: npt.NDArray[np.uint8], kind: Kind, dim: int) -> F32:
    if kind == "float16":
        return np.ascontiguousarray(packed[:, : 2 * dim]).view("<f2").astype(np.float32)
    head = np.ascontiguousarray(packed[:, :_HEAD]).view("<f2").astype(np.float32)
    codes = packed[:, _HEAD : _HEAD + _payload(kind, dim)]
    if kind == "int4":  # the lower half of a byte comes first
        codes = np.stack([codes & 15, codes >> 4], axis=2).reshape(len(codes), -1)[:, :dim]
    with np.errstate(invalid="ignore", over="ignore"):  # what is no number is refused by the row's id
        rows: F32 = codes.astype(np.float32) * head[:, :1] + head[:, 1:]
    return rows
