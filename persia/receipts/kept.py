"""Files of kept answers, `*.kept`: a receipt and its batch, one after the other (docs/formats/receipt.md).

8 bytes    93 50 45 52 53 49 4b 01: 0x93, "PERSIK", 1
then for each answer
u32        little-endian: bytes of the receipt
u32        bytes of the batch
u32        CRC-32 of both
the receipt, then the batch
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from persia.errors import CorruptFile, InvalidInput
from persia.system.durable import write_file

from .receipt import KeptAnswer, expect_batch, parse_receipt, sha256_of

__all__ = ["KEPT", "KeptFile", "encoded", "kept_files", "read_kept", "write_kept"]

KEPT = ".kept"
MAGIC = b"\x93PERSIK\x01"
_HEAD = struct.Struct("<III")
_RECEIPT = b'{"format":'  # with which each one begins


class KeptFile:
    """The answers of a file, as one goes through them. `torn_at`: the byte from which on the rest is no whole answer."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.torn_at: int | None = None

    def __iter__(self) -> Iterator[KeptAnswer]:
        """A writer that was killed leaves a part of its last answer, which is left out. Raises CorruptFile, OSError.

        A length with another byte looks like such a part, unless a whole answer is found behind it.
        """
        data = self.path.read_bytes()
        self.torn_at = None
        if data[: len(MAGIC)] != MAGIC[: len(data)]:
            raise CorruptFile(str(self.path), f"a file of kept answers, which begins with {MAGIC!r}", f"{data[:8]!r}", 0)
        at = len(MAGIC)
        while at < len(data):
            body = at + _HEAD.size
            if body > len(data):
                break
            receipt_bytes, batch_bytes, crc = _HEAD.unpack_from(data, at)
            middle, end = body + receipt_bytes, body + receipt_bytes + batch_bytes
            if end > len(data):
                break
            if (got := zlib.crc32(data[body:end])) != crc:
                raise CorruptFile(str(self.path), f"an answer of CRC-32 {crc:08x}", f"{got:08x}", at)
            place = f"{self.path} at byte {at}"
            receipt = parse_receipt(data[body:middle], place)
            expect_batch(receipt, data[middle:end], place)
            yield KeptAnswer(receipt, data[middle:end], place)
            at = end
        if at != len(data):
            self.torn_at = min(at, len(data))
            if _has_whole_answer(data, at):
                raise CorruptFile(str(self.path), "the length of an answer", "another one: a whole answer follows", at)


def _has_whole_answer(data: bytes, at: int) -> bool:
    """Whether an answer whose lengths go beyond the file is there all the same, or another one behind it."""
    body = at + _HEAD.size
    middle = data.find(b"\n", body) + 1
    if middle and sha256_of(data[middle:]).encode() in data[body:middle]:
        return True
    begins = data.find(_RECEIPT, body + 1)
    while begins >= 0:
        receipt_bytes, batch_bytes, crc = _HEAD.unpack_from(data, begins - _HEAD.size)
        end = begins + receipt_bytes + batch_bytes
        if end <= len(data) and zlib.crc32(data[begins:end]) == crc:
            return True
        begins = data.find(_RECEIPT, begins + 1)
    return False


def encoded(answer: KeptAnswer) -> bytes:
    """As it stands in a file."""
    receipt = answer.receipt.to_bytes()
    return _HEAD.pack(len(receipt), len(answer.batch), zlib.crc32(answer.batch, zlib.crc32(receipt))) + receipt + answer.batch


def write_kept(path: Path, answers: Iterable[KeptAnswer]) -> None:
    """Writes the file whole or not at all. Raises InvalidInput for a name that is not that of such a file; OSError."""
    if path.suffix != KEPT:
        raise InvalidInput(f"expected a name that ends with {KEPT}, got {path}")
    write_file(path, MAGIC + b"".join(map(encoded, answers)))


def read_kept(path: Path) -> list[KeptAnswer]:
    """All answers of a file. Raises CorruptFile, also for a file that ends within an answer; OSError."""
    file = KeptFile(path)
    answers = list(file)
    if file.torn_at is not None:
        raise CorruptFile(str(path), "whole answers", "a part of one at the end", file.torn_at)
    return answers


def kept_files(path: Path) -> list[KeptFile]:
    """The file itself, or all such files in a directory, in the order of their names. Raises OSError."""
    if not path.is_dir():
        return [KeptFile(path)]
    return [KeptFile(each) for each in sorted(path.iterdir()) if each.suffix == KEPT and not each.name.startswith(".")]
