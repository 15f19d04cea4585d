"""What an ONNX file tells without the onnx package: whether it is one, and in which other files its weights are.

ONNX files are protobuf messages; of these the few fields that matter are found here, and everything else is skipped.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from persia.errors import CorruptFile

__all__ = ["is_onnx", "weight_files"]

_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5  # protobuf's wire types
# Numbers of fields, by message. A tensor's `external_data` are pairs of key and value, one of which is the file.
_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER = 1, 5
_NODE_ATTRIBUTE = 5
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = 5, 6, 10, 11
_TENSOR_EXTERNAL_DATA = 13
_ENTRY_KEY, _ENTRY_VALUE = 1, 2

_Span = tuple[int, int]


def is_onnx(path: Path) -> bool:
    """Whether the file is a protobuf message with a graph where ONNX has it. Raises OSError."""
    if path.stat().st_size == 0:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            return any(number == _MODEL_GRAPH for number, _ in _messages(data, (0, len(data))))
        except ValueError:
            return False


def weight_files(path: Path) -> list[str]:
    """The files with weights that the model needs beside it, as it names them; none for a file that is no ONNX.

    Raises CorruptFile, OSError.
    """
    if not is_onnx(path):
        return []
    found: dict[str, None] = {}
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            for graph in _fields(data, (0, len(data)), _MODEL_GRAPH):
                for tensor in _tensors(data, graph):
                    found.update(dict.fromkeys(_locations(data, tensor)))
        except ValueError as error:
            raise CorruptFile(str(path), "an ONNX model", str(error), 0) from error
    return list(found)


def _tensors(data: mmap.mmap, graph: _Span) -> Iterator[_Span]:
    """Those of the graph, and of the graphs in its nodes."""
    for number, span in _messages(data, graph):
        if number == _GRAPH_INITIALIZER:
            yield span
        elif number == _GRAPH_NODE:
            for attribute in _fields(data, span, _NODE_ATTRIBUTE):
                for inside, value in _messages(data, attribute):
                    if inside in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
                        yield value
                    elif inside in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
                        yield from _tensors(data, value)


def _locations(data: mmap.mmap, tensor: _Span) -> Iterator[str]:
    for entry in _fields(data, tensor, _TENSOR_EXTERNAL_DATA):
        pair = {number: data[slice(*span)].decode() for number, span in _messages(data, entry)}
        if pair.get(_ENTRY_KEY) == "location":
            yield pair.get(_ENTRY_VALUE, "")


def _fields(data: mmap.mmap, span: _Span, wanted: int) -> Iterator[_Span]:
    return (value for number, value in _messages(data, span) if number == wanted)


def _messages(data: mmap.mmap, span: _Span) -> Iterator[tuple[int, _Span]]:
    """The fields of a message that are bytes, text or messages: number and place. Raises ValueError if it is no message."""
    at, end = span
    while at < end:
        tag, at = _varint(data, at, end)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            _, at = _varint(data, at, end)
        elif wire == _BYTES:
            size, at = _varint(data, at, end)
            if size > end - at:
                raise ValueError(f"expected {size} bytes at byte {at}, got {end - at}")
            yield number, (at, at + size)
            at += size
        elif wire in (_EIGHT_BYTES, _FOUR_BYTES):
            at += 8 if wire == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"expected a protobuf field at byte {at}, got wire type {wire}")
        if number == 0 or at > end:
            raise ValueError(f"expected the end of a protobuf field at byte {at}")


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 64:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError(f"expected the end of a number at byte {at}")
