"""The commit record of an epoch: which packets come to the rows with it, and which go.

Records are numbered from 1 without gaps, and each names the checksum of the one before it. A record is never changed.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from persia.errors import CorruptFile
from persia.storage import Place, place_of
from persia.variant import VARIANT_NAME

from .bounds import Bounds
from .layout import ENDS
from .marker import MAX_NUMBER
from .packet import PacketKey

__all__ = [
    "NO_PARENT",
    "CommittedCheckpoint",
    "CommittedFile",
    "CommittedPacket",
    "Draft",
    "EpochRecord",
    "VariantChange",
    "checksum",
    "parse_record",
]

NO_PARENT = "00000000"  # the checksum in the first record

_MAX_BYTES = 64 << 20
_OWN_CHECKSUM = b',"crc32":"'
_Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Epoch = Annotated[int, Meta(ge=1, le=2**63 - 1)]
_Crc32 = Annotated[str, Meta(pattern=r"^[0-9a-f]{8}\Z")]
_Name = Annotated[str, Meta(min_length=1, max_length=1000)]
_Place = Annotated[str, Meta(min_length=1, max_length=4096, pattern=r"^[^\x00]+\Z")]
_Identity = Annotated[str, Meta(pattern=r"^(?!0{16})[0-9a-f]{16}\Z")]
_Label = Annotated[str, Meta(pattern=r"^s[0-9]{1,18}/inc_[0-9]+\Z")]
_Variant = Annotated[str, Meta(pattern=VARIANT_NAME)]


class CommittedFile(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A file of a packet as it was when the packet was committed."""

    name: Annotated[str, Meta(pattern=r"^[^/\x00]+\.(inc|del|ttl)\Z")]
    bytes: _Count
    crc32: _Crc32


class CommittedPacket(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`packet` is its directory, as `s0/inc_20261120070757`, below `incremental_dir` or below the directory of a variant.

    `unix_seconds` is the latest time in its files.
    """

    packet: _Label
    unix_seconds: _Count
    files: tuple[CommittedFile, ...]

    @property
    def shard(self) -> int:
        """The training shard."""
        return int(self.packet.partition("/")[0][1:])

    @property
    def key(self) -> PacketKey:
        """Its place in the order of packets."""
        return self.unix_seconds, self.packet.partition("/")[2], self.shard

    def has_all_of(self, other: CommittedPacket) -> bool:
        """Whether it is the other one, or what became of it when files were added."""
        return self is other or (self.packet == other.packet and set(self.files) >= set(other.files))


class VariantChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What becomes of a variant, which begins with the first one that names it.

    `add`: packets of its own. `dense`: the versions of dense models that belong to it, in place of those of the epoch; a model
    that is not named goes as in the epoch. None: as before.
    """

    add: tuple[CommittedPacket, ...] = ()
    dense: dict[_Name, _Name] | None = None


class CommittedCheckpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A checkpoint as it was when it was committed.

    `checkpoint`: its directory, absolute or from `incremental_dir` on, or its URL. `id`: its identity in hex digits.
    `unix_seconds`: the time in its marker. `bounds`: up to which second it has the packets of each training shard.
    """

    checkpoint: _Place
    id: _Identity
    unix_seconds: _Count
    bounds: Annotated[tuple[_Count, ...], Meta(min_length=1, max_length=MAX_NUMBER)]

    @property
    def identity(self) -> int:
        return int(self.id, 16)

    @property
    def has(self) -> Bounds:
        """Which packets it has."""
        return Bounds.of(list(self.bounds))

    def place(self, incremental_dir: Path) -> Place:
        """Raises InvalidInput for a URL of a kind that is not known."""
        if "://" in self.checkpoint:
            return place_of(self.checkpoint)
        return place_of(incremental_dir / self.checkpoint)


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """What a record is to say. `revert_to` goes with none of `add`, `void` and `base`.

    `base`: the checkpoint under the packets from here on, of which those count that it does not have. None: as in the epoch
    before, or in that of `revert_to`.
    `dense`: the versions of dense models that belong to the epoch, by their names; a model that is not named goes with any
    epoch. None: as in the epoch before, or in that of `revert_to`.
    `hold`: from here on no server commits packets of its own accord, or (False) they do again; None: as before.
    `variants`: what becomes of them, by their names; None for one that ends. A return leaves them as they are.
    """

    add: tuple[CommittedPacket, ...] = ()
    void: tuple[str, ...] = ()
    revert_to: int | None = None
    base: CommittedCheckpoint | None = None
    dense: Mapping[str, str] | None = None
    hold: bool | None = None
    variants: Mapping[str, VariantChange | None] | None = None


class EpochRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`unix_ms`, `by` and `why` are for people: nothing is decided by them. `crc32`: of the bytes before it in its file."""

    format: Annotated[int, Meta(ge=1, le=1)]
    epoch: _Epoch
    parent_crc32: _Crc32
    unix_ms: _Count
    by: Literal["server", "trainer", "operator"]
    add: tuple[CommittedPacket, ...] = ()
    void: tuple[_Label, ...] = ()
    revert_to: _Count | None = None
    base: CommittedCheckpoint | None = None
    dense: dict[_Name, _Name] | None = None
    hold: bool | None = None
    variants: dict[_Variant, VariantChange | None] | None = None
    why: str = ""
    crc32: _Crc32 | None = None  # None: it is not written yet, or an earlier release wrote it

    @property
    def is_of_variants_alone(self) -> bool:
        """Whether the rows that all share, and who commits them, are as in the epoch before."""
        others = self.add or self.void, self.revert_to, self.base, self.dense, self.hold
        return self.variants is not None and not any(one is not None and one != () for one in others)

    def to_bytes(self) -> bytes:
        """With its checksum as the last key."""
        before = msgspec.json.encode(msgspec.structs.replace(self, crc32=None))[:-1]
        return before + _OWN_CHECKSUM + f'{checksum(before)}"}}\n'.encode()


def checksum(record: bytes) -> str:
    """By which the next record knows this one, and this one knows the bytes before its own."""
    return f"{zlib.crc32(record):08x}"


_DECODER = msgspec.json.Decoder(EpochRecord)


def parse_record(path: Path | str, data: bytes, epoch: int, parent_crc32: str) -> EpochRecord:
    """The record in the file `path`, which has these bytes and has to be that of `epoch` after that parent.

    Raises:
        CorruptFile: it is no record, contradicts itself, or does not follow on that parent.
    """
    if len(data) > _MAX_BYTES:
        raise CorruptFile(str(path), f"at most {_MAX_BYTES} bytes", f"{len(data)}", _MAX_BYTES)
    try:
        record = _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        byte = re.search(r"\(byte (\d+)\)", str(error))
        raise CorruptFile(str(path), "the commit record of an epoch", str(error), int(byte[1]) if byte else 0) from None
    if record.crc32 is not None:
        _expect_checksum(path, data, record.crc32)
    if record.epoch != epoch:
        at = data.find(b'"epoch":') + len(b'"epoch":')
        raise CorruptFile(str(path), f"the record of epoch {epoch}", f"that of epoch {record.epoch}", at)
    if record.parent_crc32 != parent_crc32:
        expected, got = f"a record whose parent has the CRC-32 {parent_crc32}", f"one of another log: {record.parent_crc32}"
        raise CorruptFile(str(path), expected, got, data.find(record.parent_crc32.encode()))
    names = [added.packet for added in record.add] + list(record.void)
    _expect_each_once(path, names)
    if record.revert_to is not None and (names or record.base or record.revert_to >= epoch):
        other = f"{len(names)} packets" + " and a checkpoint" * (record.base is not None)
        expected = f"a return to an epoch before {epoch}, and nothing else"
        raise CorruptFile(str(path), expected, f"one to {record.revert_to}, {other}", 0)
    for name, change in (record.variants or {}).items():
        _check_variant(path, name, change or VariantChange())
    return record


def _expect_checksum(path: Path | str, data: bytes, stored: str) -> None:
    """Which byte is another one, nobody can know: the message has that of the checksum."""
    before, key, rest = data.rpartition(_OWN_CHECKSUM)
    if rest.rstrip(b"\n") != f'{stored}"}}'.encode():
        raise CorruptFile(str(path), "crc32 as the last key of a record", "something behind it", len(before) + len(key))
    if (got := checksum(before)) != stored:
        expected = f"a record whose bytes before crc32 have the CRC-32 {stored}, as was written with them"
        raise CorruptFile(str(path), expected, f"{got}: some byte before has changed", len(before) + len(key))


def _expect_each_once(path: Path | str, names: list[str]) -> None:
    if len(set(names)) != len(names):
        raise CorruptFile(str(path), "each packet once", ", ".join(names), 0)


def _check_variant(path: Path | str, name: str, change: VariantChange) -> None:
    _expect_each_once(path, [added.packet for added in change.add])
    for added in change.add:
        for file in added.files:
            if file.name.endswith(ENDS):
                raise CorruptFile(
                    str(path),
                    f"files of rows and deletions in variant {name}",
                    f"{added.packet}/{file.name}: its rows do not end",
                    0,
                )
