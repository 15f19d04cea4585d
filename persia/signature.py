"""What a dense model was tried with when it was packed: the features, dense tensors and outputs that belong to it.

An archive holds it as `signature.json`. The handler checks each request against it (persia.signature_check), and
`persia-launcher check` a sample.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from persia.config import Slot
from persia.config.embedding_config import Output, Pooling
from persia.errors import CorruptFile

__all__ = [
    "SIGNATURE_FILE",
    "DenseSignature",
    "FeatureSignature",
    "IdKind",
    "OutputSignature",
    "Signature",
    "read_signature",
]

SIGNATURE_FILE = "signature.json"
FORMAT = 1

IdKind = Literal["text", "integer"]


# Defaults are left out: so an older release reads the signature of a model that needs nothing newer.
class FeatureSignature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An id feature, and the rule by which its ids become signs.

    Of a raw feature only: `length` is how many ids of a sample it has room for, and `keep` which of more ids it keeps.
    About requests only, and of no embedding config: `single`, each sample has exactly one id; `ids`, what callers send as ids
    (None: not known).
    """

    name: str
    dim: int
    pooling: Pooling = "sum"
    weighted: bool = False
    length: int | None = None
    keep: Literal["first", "last", "all"] | None = None
    prefix: int
    prefix_bits: int
    hash_stack_rounds: int = 0
    hash_stack_size: int = 0
    single: bool = False
    ids: IdKind | None = None
    output: Output = "f16"
    modulo: int = 0
    ids_are_signs: bool = False
    default_value: float | None = None
    default_id: int | None = None

    @classmethod
    def of(cls, slot: Slot) -> FeatureSignature:
        """What an embedding config says about a feature."""
        is_raw = slot.pooling == "raw"
        return cls(
            name=slot.name,
            dim=slot.dim,
            pooling=slot.pooling,
            weighted=slot.weighted,
            length=slot.sample_fixed_size if is_raw else None,
            keep=slot.keep if is_raw else None,
            prefix=slot.prefix,
            prefix_bits=slot.prefix_bits,
            hash_stack_rounds=slot.hash_stack_rounds,
            hash_stack_size=slot.hash_stack_size,
            output=slot.output,
            modulo=slot.modulo,
            ids_are_signs=slot.ids_are_signs,
            default_value=slot.default_value,
            default_id=slot.default_id,
        )

    @property
    def tensor_shape(self) -> tuple[int, ...]:
        """The shape of the feature's embeddings for one sample, as the model takes them."""
        return (self.dim,) if self.length is None else (self.length, self.dim + 1)


class DenseSignature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A dense tensor. `shape` is that of one sample, so () is one number for each; `dtype` is numpy's name.

    `nan_allowed` also allows infinity.
    """

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
    """Features and dense tensors stand in the order in which the model takes them.

    Without a sample nothing is known about dense tensors (`dense_known` is false) and outputs (there are none).
    """

    format: Annotated[int, Meta(ge=FORMAT, le=FORMAT)] = FORMAT
    features: tuple[FeatureSignature, ...]
    dense: tuple[DenseSignature, ...] = ()
    dense_known: bool = True
    outputs: tuple[OutputSignature, ...] = ()
    embedding_config: str  # the fingerprint of the whole config, for messages; features are compared one by one

    def to_bytes(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"


_DECODER = msgspec.json.Decoder(Signature)


def read_signature(data: bytes, file: str = SIGNATURE_FILE) -> Signature:
    """The signature in the bytes of a file. Raises CorruptFile."""
    try:
        return _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptFile(file, "the signature of a dense model", str(error), 0) from None
