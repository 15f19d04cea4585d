"""The formats once more, slowly and in plain Python: what the native codecs are held against."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

DTYPES = ["?", "<f2", "<f4", "<f8", "<i1", "<i2", "<i4", "<i8", "<u1", "<u2", "<u4", "<u8"]


class Bytes:
    """Reads fields one after the other."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def get(self, fields: str) -> Any:
        values = struct.unpack_from("<" + fields, self.data, self.at)
        self.at += struct.calcsize("<" + fields)
        return values[0] if len(values) == 1 else values

    def take(self, count: int) -> bytes:
        self.at += count
        assert self.at <= len(self.data)
        return self.data[self.at - count : self.at]

    def option(self, fields: str) -> Any:
        return self.get(fields) if self.get("B") else None


@dataclass
class Feature:
    name: str
    index: dict[int, list[tuple[int, int]]]
    ids_per_sample: list[int]
    order: dict[int, int]
    batch_size: int

    @classmethod
    def read(cls, data: Bytes) -> Feature:
        name = data.take(data.get("I")).decode()
        index: dict[int, list[tuple[int, int]]] = {}
        for _ in range(data.get("I")):
            sign = data.get("Q")
            assert sign not in index
            index[sign] = [data.get("HH") for _ in range(data.get("I"))]
        ids_per_sample = [data.get("I") for _ in range(data.get("I"))]
        order = dict(data.get("Qq") for _ in range(data.get("I")))
        assert order == {sign: k for k, sign in enumerate(index)}
        return cls(name, index, ids_per_sample, order, data.get("H"))

    def samples(self) -> list[list[int]]:
        """The ids of each sample, in their columns."""
        placed = {(sample, column): sign for sign, positions in self.index.items() for sample, column in positions}
        return [[placed[i, k] for k in range(count)] for i, count in enumerate(self.ids_per_sample)]


class Batch(NamedTuple):
    dense: list[tuple[str | None, np.ndarray]]
    requires_grad: bool
    features: list[Feature] | None
    labels: list[tuple[str | None, np.ndarray]]
    meta: bytes | None
    batch_id: int | None

    @classmethod
    def read(cls, raw: bytes) -> Batch:
        data = Bytes(raw)
        dense = [read_tensor(data) for _ in range(data.get("I"))]
        features, requires_grad = None, False
        if data.get("I"):
            requires_grad = bool(data.get("B"))
            features = [Feature.read(data) for _ in range(data.get("I"))]
            assert data.get("BBB") == (0, 0, 0)
        labels = [read_tensor(data) for _ in range(data.get("I"))]
        meta = data.take(data.get("I")) if data.get("B") else None
        batch_id = data.option("Q")
        assert data.at == len(raw)
        return cls(dense, requires_grad, features, labels, meta, batch_id)


def read_tensor(data: Bytes) -> tuple[str | None, np.ndarray]:
    assert data.get("I") == 0
    dtype = np.dtype(DTYPES[data.get("I")])
    items = data.take(data.get("I") * dtype.itemsize)
    shape = [data.get("Q") for _ in range(data.get("I"))]
    strides = [data.get("q") for _ in range(data.get("I"))]
    array = np.frombuffer(items, dtype).reshape(shape)
    assert strides == [int(np.prod(shape[i + 1 :])) for i in range(len(shape))]
    name = data.take(data.get("I")).decode() if data.get("B") else None
    assert data.get("IB") == (0, 0)
    return name, array


class Row(NamedTuple):
    sign: int
    dim: int
    values: bytes  # with the optimizer state

    @classmethod
    def read(cls, data: Bytes) -> Row:
        values = data.take(4 * data.get("I"))
        dim, sign = data.get("QQ")
        return cls(sign, dim, values)


def read_emb(raw: bytes) -> tuple[list[Row], list[int]]:
    """The rows in the order of the file, and their signs in the order of use."""
    data = Bytes(raw)
    count, first, last, _free, _end, nodes = data.get("QIIIII")
    rows: dict[int, tuple[int, int, Row]] = {}
    for position in range(1, nodes + 1):
        following, before = data.get("II")
        if data.get("B"):
            rows[position] = (following, before, Row.read(data))
    assert data.at == len(raw) and len(rows) == count
    order, at, before = [], first, 0
    while at:
        following, back, row = rows[at]
        assert back == before
        order.append(row.sign)
        at, before = following, at
    assert before == last and len(order) == count
    return [row for _, _, row in rows.values()], order


def read_inc(raw: bytes) -> tuple[list[Row], int]:
    data = Bytes(raw)
    rows = [Row.read(data) for _ in range(data.get("I"))]
    unix_seconds: int = data.get("Q")
    assert data.at == len(raw)
    return rows, unix_seconds
