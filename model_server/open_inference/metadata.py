"""What a model says of its tensors, on its way from a worker to the server, and from there to callers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from persia.open_inference.tensors import ModelMetadata, TensorSpec

__all__ = ["decode_metadata", "encode_metadata", "metadata_as_json"]


def encode_metadata(metadata: ModelMetadata) -> bytes:
    """For the server."""
    return msgspec.json.encode(metadata)


_DECODER = msgspec.json.Decoder(ModelMetadata)


def decode_metadata(data: bytes) -> ModelMetadata:
    """Of a worker."""
    return _DECODER.decode(data)


def metadata_as_json(name: str, versions: Sequence[str], metadata: ModelMetadata) -> dict[str, Any]:
    """As the protocol has it over REST, and by the same names over gRPC."""
    return {
        "name": name,
        "versions": list(versions),
        "platform": metadata.platform,
        "inputs": [_tensor(spec) for spec in metadata.inputs],
        "outputs": [_tensor(spec) for spec in metadata.outputs],
    }


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape or ())}
