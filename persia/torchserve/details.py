"""What an answer is made of: versions of model and tables, the checkpoint, and how the ids of each feature fared.

Where a request asks for `details`, they come with its scores: as one JSON object where the scores are JSON, else in front of
the scores' bytes,

    8 bytes        93 50 45 52 53 49 41 01: 0x93, "PERSIA", 1
    u32            little-endian: bytes of the JSON
    JSON           the details
    the rest       the scores, as without details

Over HTTP they also come as response headers; TorchServe passes none on over gRPC.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping

import msgspec

from persia.errors import PersiaError

__all__ = ["Details", "FeatureDetails", "detail_headers", "split_details", "with_details"]

_MAGIC = b"\x93PERSIA\x01"
_LENGTH = struct.Struct("<I")
_JSON_BEGIN = b'{"details":'
_JSON_SCORES = b',"scores":'

# A header that is longer is refused by many servers and clients.
_MOST_HEADER_BYTES = 4096


class FeatureDetails(msgspec.Struct, frozen=True, array_like=True):
    """How the distinct ids of a feature fared; as JSON a list of these numbers.

    `new_ids` have no row, `wrong_dim` have a row of another dim: both count as zeros. `cut` are ids of a raw feature beyond the
    room that it has for a sample.
    """

    ids: int
    new_ids: int
    wrong_dim: int
    cut: int


class Details(msgspec.Struct, frozen=True, kw_only=True):
    """Of one answer. `model_hash`: the first 16 digits of the SHA-256 of the dense model's file."""

    model: str
    model_version: str
    model_hash: str
    table_versions: tuple[int, ...] = ()  # of each shard, 0 for one that was not asked
    checkpoint: str | None = None  # 16 hex digits; None: the embedding servers did not say
    epoch: int | None = None  # that all rows are of; None: the embedding servers follow none
    variant: str | None = None  # whose rows went before those that all share; None: none
    embedding_config: str | None = None  # by which ids became signs: the first 16 digits of its fingerprint; None: not said
    new_ids: int = 0  # of all features together
    wrong_dim: int = 0
    missing_shards: tuple[int, ...] = ()
    features: Mapping[str, FeatureDetails] = {}
    release: str = ""  # of persia-serve, that made the answer; empty: one that did not say it
    cached: bool = False  # the same request was scored before, of the same rows: the model was not asked again


def with_details(scores: bytes, details: Details, is_json: bool) -> bytes:
    """An answer with its details, in one of the two forms. scores: the answer without them."""
    encoded = msgspec.json.encode(details)
    if is_json:
        return b"".join((_JSON_BEGIN, encoded, _JSON_SCORES, scores, b"}"))
    return b"".join((_MAGIC, _LENGTH.pack(len(encoded)), encoded, scores))


class _JsonAnswer(msgspec.Struct):
    details: Details
    scores: msgspec.Raw


_JSON_ANSWER_DECODER = msgspec.json.Decoder(_JsonAnswer)
_DETAILS_DECODER = msgspec.json.Decoder(Details)


def split_details(answer: bytes) -> tuple[Details | None, bytes]:
    """The details, and the scores as they are without details. None: there are no details. Raises PersiaError."""
    try:
        if answer.startswith(_MAGIC):
            (size,) = _LENGTH.unpack_from(answer, len(_MAGIC))
            begin = len(_MAGIC) + _LENGTH.size
            if len(answer) < begin + size:
                raise ValueError(f"it ends after {len(answer) - begin} of {size} bytes of details")
            return _DETAILS_DECODER.decode(answer[begin : begin + size]), answer[begin + size :]
        if answer.startswith(_JSON_BEGIN):
            parts = _JSON_ANSWER_DECODER.decode(answer)
            return parts.details, bytes(parts.scores)
    except (ValueError, struct.error) as error:  # msgspec's errors are ValueErrors
        raise PersiaError(f"the handler's answer has details that cannot be read: {error}") from None
    return None, answer


def detail_headers(details: Details) -> dict[str, str]:
    """As response headers. Features without new ids are left out; if the rest is too long, `*` has the sum of all."""
    new = {name: counts.new_ids for name, counts in details.features.items() if counts.new_ids}
    text = json.dumps(new, separators=(",", ":"))
    if len(text) > _MOST_HEADER_BYTES or (details.new_ids and not details.features):
        text = json.dumps({"*": details.new_ids}, separators=(",", ":"))
    headers = {
        "x-persia-model-version": details.model_version,
        "x-persia-model-hash": details.model_hash,
        "x-persia-table-versions": ",".join(map(str, details.table_versions)),
        "x-persia-new-ids": text,
    }
    if details.release:
        headers["x-persia-release"] = details.release
    if details.cached:
        headers["x-persia-cached"] = "1"
    if details.checkpoint is not None:
        headers["x-persia-checkpoint"] = details.checkpoint
    if details.epoch is not None:
        headers["x-persia-epoch"] = str(details.epoch)
    if details.variant is not None:
        headers["x-persia-variant"] = details.variant
    if details.embedding_config is not None:
        headers["x-persia-embedding-config"] = details.embedding_config
    if details.missing_shards:
        headers["x-persia-missing-shards"] = ",".join(map(str, details.missing_shards))
    return headers
