"""The receipt of an answer: what it was made of, and the answer itself (docs/formats/receipt.md)."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from persia.errors import CorruptFile, NotReplayable, PersiaError
from persia.torchserve.details import Details
from persia.torchserve.scores import Scores, decode_scores

__all__ = [
    "FORMATS",
    "KeptAnswer",
    "Receipt",
    "decode_kept_scores",
    "expect_batch",
    "parse_receipt",
    "read_receipt",
    "receipt_of",
    "sha256_of",
]

FORMAT = 1
FORMATS = ("json", "npy", "npz", "raw")  # of scores

_Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Digits16 = Annotated[str, Meta(pattern=r"^[0-9a-f]{16}\Z")]
_Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


class Receipt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a file of a receipt says. Each field is described in docs/formats/receipt.md."""

    format: Annotated[int, Meta(ge=FORMAT, le=FORMAT)]
    release: str
    unix_ms: _Count
    model: str
    model_version: str
    model_hash: _Digits16
    variant: str
    checkpoint: _Digits16 | None
    epoch: _Count | None
    table_versions: Annotated[tuple[_Count, ...], Meta(min_length=1)]
    missing_shards: tuple[_Count, ...]
    embedding_config: _Digits16
    features: dict[str, tuple[_Count, _Count, _Count, _Count]]
    cached: bool
    batch_sha256: _Sha256
    scores_format: Annotated[str, Meta(pattern=f"^({'|'.join(FORMATS)})\\Z")]
    scores: bytes

    @property
    def shards(self) -> int:
        """Over how many shards the rows were distributed, on which the order of sums depends."""
        return len(self.table_versions)

    def to_bytes(self) -> bytes:
        """JSON in one line."""
        return msgspec.json.encode(self) + b"\n"


@dataclass(frozen=True)
class KeptAnswer:
    """A receipt with the request that it is of. `place`: where it was read, for messages."""

    receipt: Receipt
    batch: bytes
    place: str = ""

    @property
    def scores(self) -> Scores:
        """As Client.predict returns them. Raises PersiaError."""
        return decode_kept_scores(self.receipt.scores_format, self.receipt.scores)


def sha256_of(data: bytes) -> str:
    """64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def decode_kept_scores(scores_format: str, scores: bytes) -> Scores:
    """An array, or arrays by name, in the form in which an answer has them. Raises PersiaError."""
    if scores_format != "raw":
        return decode_scores(scores)
    if len(scores) % 4:
        raise PersiaError(f"expected float32 numbers, got {len(scores)} bytes")
    return np.frombuffer(scores, "<f4")


def receipt_of(details: Details, batch: bytes, scores_format: str, scores: bytes, unix_ms: int) -> Receipt:
    """The receipt of an answer. scores: its bytes without the details. unix_ms: when it came.

    Raises NotReplayable if the details do not say what a replay needs, because an older program made the answer.
    """
    if not details.release:
        raise NotReplayable("release", "the answer does not say which release made it: its archive has an older handler")
    if details.embedding_config is None or not details.table_versions:
        raise NotReplayable(
            "embedding_config", "the answer does not say its embedding config and shards: an older middleware looked it up"
        )
    return Receipt(
        format=FORMAT,
        release=details.release,
        unix_ms=unix_ms,
        model=details.model,
        model_version=details.model_version,
        model_hash=details.model_hash,
        variant=details.variant or "",
        checkpoint=details.checkpoint,
        epoch=details.epoch,
        table_versions=details.table_versions,
        missing_shards=details.missing_shards,
        embedding_config=details.embedding_config,
        features={name: (one.ids, one.new_ids, one.wrong_dim, one.cut) for name, one in details.features.items()},
        cached=details.cached,
        batch_sha256=sha256_of(batch),
        scores_format=scores_format,
        scores=scores,
    )


_DECODER = msgspec.json.Decoder(Receipt)


def parse_receipt(data: bytes, place: str) -> Receipt:
    """place: of what file, for messages. Raises CorruptFile for anything that is not exactly a receipt."""
    try:
        receipt = _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        byte = re.search(r"\(byte (\d+)\)", str(error))
        raise CorruptFile(place, "a receipt", str(error), int(byte[1]) if byte else 0) from None
    wrong = [shard for shard in receipt.missing_shards if shard >= receipt.shards]
    if wrong:
        raise CorruptFile(place, f"missing shards below {receipt.shards}, as many as `table_versions`", f"{wrong[0]}", 0)
    return receipt


def read_receipt(path: Path, batch: Path) -> KeptAnswer:
    """A receipt and its batch from two files. Raises CorruptFile if they do not belong together; OSError."""
    receipt, data = parse_receipt(path.read_bytes(), str(path)), batch.read_bytes()
    expect_batch(receipt, data, str(batch))
    return KeptAnswer(receipt, data, str(path))


def expect_batch(receipt: Receipt, batch: bytes, place: str) -> None:
    """Raises CorruptFile unless the receipt is of this batch."""
    if (got := sha256_of(batch)) != receipt.batch_sha256:
        raise CorruptFile(place, f"the batch of SHA-256 {receipt.batch_sha256}, which the receipt names", got, 0)
