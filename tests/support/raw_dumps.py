"""Dumps of HugeCTR, SparseOperationKit, dynamicemb, TFRA and Monolith, by docs/formats/other-systems.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from persia._core import crc32c

KEYS = np.array([11, -5, 2**62 + 1, 0, 7], np.int64)
ROWS = np.arange(15, dtype=np.float32).reshape(5, 3) / 4
SOK_TYPES = {"int32": 0, "int64": 1, "uint32": 2, "uint64": 3, "float16": 4, "float32": 5, "float64": 6}


def write_hps(directory: Path, keys: Any = KEYS, rows: Any = ROWS, *, meta: bool = True) -> Path:
    directory.mkdir(parents=True)
    (directory / "key").write_bytes(np.asarray(keys, "<i8").tobytes())
    (directory / "emb_vector").write_bytes(np.asarray(rows, "<f4").tobytes())
    if meta:
        (directory / "meta").write_bytes(bytes(8 * len(keys)))
    return directory


def write_collection(directory: Path, tables: dict[int, tuple[Any, Any]]) -> Path:
    """tables: keys of int64 or uint32, and rows of float32 or float16, by the number of the table."""
    directory.mkdir(parents=True)
    keys, rows = next(iter(tables.values()))
    head = [
        len(tables),
        int(keys.dtype == np.int64),
        int(rows.dtype == np.float16),
        0,
        max(r.shape[1] for _, r in tables.values()),
    ]
    meta = np.array([*head, *tables], "<i4").tobytes()
    meta += np.array([len(keys) for keys, _ in tables.values()], "<u8").tobytes()
    meta += np.array([rows.shape[1] for _, rows in tables.values()], "<i4").tobytes()
    (directory / "meta_data").write_bytes(meta)
    for place, (number, arrays) in enumerate(tables.items()):
        for kind, (name, array) in enumerate(zip(("key", "weight"), arrays, strict=True), 1):
            head_bytes = np.array([kind, number], "<i4").tobytes().ljust(128, b"\0")
            (directory / f"{name}{place}").write_bytes(head_bytes + array.tobytes())
    return directory


def write_sok(directory: Path, tables: dict[str, tuple[Any, Any]]) -> Path:
    directory.mkdir(parents=True)
    kinds = [(SOK_TYPES[keys.dtype.name], SOK_TYPES[rows.dtype.name]) for keys, rows in tables.values()]
    meta = len(tables).to_bytes(4, "big")
    meta += np.array([*(key for key, _ in kinds), *(row for _, row in kinds)], ">u4").tobytes()
    meta += np.array([rows.shape[1] for _, rows in tables.values()], ">u4").tobytes()
    meta += np.array([len(keys) for keys, _ in tables.values()], ">u8").tobytes()
    meta += b"".join(name.encode().rjust(256) for name in tables) + b"".join(b"adam".rjust(32) for _ in tables)
    (directory / "meta_info").write_bytes(meta)
    for name, arrays in tables.items():
        for kind, (part, array) in enumerate(zip(("key", "weight"), arrays, strict=True)):
            head = name.encode().rjust(256) + kind.to_bytes(4, "big") + bytes(32)
            head += SOK_TYPES[array.dtype.name].to_bytes(4, "big")
            (directory / f"{name.replace('/', '_').replace(':', '_')}-{part}").write_bytes(head + array.tobytes())
    return directory


def write_dynamicemb(directory: Path, table: str, ranks: int = 2, keys: Any = KEYS, rows: Any = ROWS) -> Path:
    """Each rank has the keys whose remainder is its number."""
    directory.mkdir(parents=True, exist_ok=True)
    for rank in range(ranks):
        mine = keys % ranks == rank
        for name, array in (("keys", keys[mine]), ("values", rows[mine]), ("scores", keys[mine])):
            (directory / f"{table}_emb_{name}.rank_{rank}.world_size_{ranks}").write_bytes(array.tobytes())
    return directory


def write_tfra(directory: Path, table: str, parts: int = 2, ranks: int = 1, keys: Any = KEYS, rows: Any = ROWS) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for part in range(parts):
        for rank in range(ranks):
            mine = (keys % parts == part) & (keys // parts % ranks == rank)
            stem = f"{table}_mht_{part + 1}of{parts}_rank{rank}_size{ranks}"
            (directory / f"{stem}-keys").write_bytes(keys[mine].tobytes())
            (directory / f"{stem}-values").write_bytes(rows[mine].tobytes())
    return directory


def write_monolith(path: Path, entries: list[list[tuple[int, list[float]]]], name: str = "table") -> Path:
    """Ids with their rows, a list for each file. Every second one has what an optimizer knows, and a time."""
    path.mkdir(parents=True, exist_ok=True)
    for part, of_file in enumerate(entries):
        data = bytearray()
        for i, (id, row) in enumerate(of_file):
            record = b"\x09" + (id % 2**64).to_bytes(8, "little")
            record += b"".join(b"\x15" + np.float32(number).tobytes() for number in row)
            if i % 2:
                record += b"\x1a\x07\x0a\x05\x15" + np.float32(0.1).tobytes() + b"\x20\x96\x01"
            head = len(record).to_bytes(8, "little")
            data += head + _masked(head) + record + _masked(record)
        (path / f"{name}-{part:05}-of-{len(entries):05}").write_bytes(data)
    return path


def _masked(data: bytes) -> bytes:
    checksum = crc32c(data)
    return (((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")
