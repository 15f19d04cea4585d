"""What a dense model was tried with when it was packed: the features, dense tensors and outputs that belong to it.

An archive holds it as `signature.json`. The handler checks each request against it, and `persia-launcher check` a sample.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from persia.errors import CorruptFile

__all__ = ["SIGNATURE_FILE", "DenseSignature", "FeatureSignature", "OutputSignature", "Signature", "read_signature"]

SIGNATURE_FILE = "signature.json"
FORMAT = 1

Pooling = Literal["sum", "mean", "sqrtn", "raw"]


class FeatureSignature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An id feature, and the rule by which its ids become signs. `length`: ids of a sample that a raw feature has room for."""

    name: str
    dim: int
    pooling: Pooling = "sum"
    weighted: bool = False
    length: int | None = None
    prefix: int
    prefix_bits: int
    hash_stack_rounds: int = 0
    hash_stack_size: int = 0


class DenseSignature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A dense tensor. `shape` is that of one sample, so () is one number for each; `dtype` is numpy's name."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    nan_allowed: bool = False


class OutputSignature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tensor that the model answers. `name` is None where the model answers a tensor alone, and no tuple or dict."""

    name: str | None = None
    shape: tuple[int, ...]
    dtype: str


class Signature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Features and dense tensors stand in the order in which the model takes them."""

    format: Annotated[int, Meta(ge=FORMAT, le=FORMAT)] = FORMAT
    features: tuple[FeatureSignature, ...]
    dense: tuple[DenseSignature, ...] = ()
    outputs: tuple[OutputSignature, ...] = ()
    embedding_config: str  # the fingerprint of the whole config, for messages; features are compared one by one

    def to_bytes(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"


def read_signature(data: bytes, file: str = SIGNATURE_FILE) -> Signature:
    """The signature in the bytes of a file. Raises CorruptFile."""
    try:
        return msgspec.json.decode(data, type=Signature)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptFile(file, "the signature of a dense model", str(error), 0) from None
