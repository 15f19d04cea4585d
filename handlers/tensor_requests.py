"""Persia models by the Open Inference Protocol: byte batches as BYTES, or ids and dense inputs as tensors by name.

    batch           BYTES [n]: a byte batch each. Their scores come one after the other
    NAME            ids of a feature, INT64 or UINT64, or BYTES, which are text. [batch]: each sample has one; [batch, k]: k
    NAME.offsets    integers [batch + 1]: where the ids of each sample begin in NAME, which is [ids] then
    NAME.weights    numbers, one for each id, of a feature that has them
    NAME            a dense input: [batch, ...]

Which of the two a NAME is stands in the archive's signature. Of other names INT64, UINT64 and BYTES are ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from persia.batch import IDTypeFeature, IDTypeFeatureWithSingleID, NonIDTypeFeature, PersiaBatch
from persia.errors import FeatureError, InvalidInput
from persia.ids import hash_strings
from persia.open_inference.datatypes import BYTES
from persia.open_inference.tensors import ModelMetadata, Tensor, TensorRequest, TensorSpec, by_name
from persia.signature import DenseSignature, FeatureSignature, Signature
from persia.torchserve.scores import BATCH, DEADLINE, REQUEST_ID, SCORES
from persia.weights import WEIGHTS

__all__ = ["inputs_of_tensors", "metadata_of"]

OFFSETS = ".offsets"
_PLATFORM = "persia"
_ID_DATATYPES = ("INT64", "UINT64", BYTES)
_Feature = IDTypeFeature | IDTypeFeatureWithSingleID


def metadata_of(signature: Signature | None) -> ModelMetadata:
    """Either `batch` is sent, or the others are. What no signature says is left out."""
    inputs = [TensorSpec(BATCH, BYTES, (-1,), optional=True)]
    if signature is None:
        return ModelMetadata(_PLATFORM, tuple(inputs), (TensorSpec(SCORES, "FP32"),))
    for feature in signature.features:
        inputs += _specs_of_feature(feature)
    inputs += [_spec_of_dense(dense) for dense in signature.dense]
    outputs = [_output(one.name, one.dtype, one.shape) for one in signature.outputs] or [TensorSpec(SCORES, "FP32")]
    return ModelMetadata(_PLATFORM, tuple(inputs), tuple(outputs))


def inputs_of_tensors(request: TensorRequest, signature: Signature | None) -> list[dict[str, bytes]]:
    """What the handler gets of others for the same: a byte batch each. Raises InvalidInput: names the tensor or feature."""
    tensors = by_name(request.tensors)
    batch = tensors.pop(BATCH, None)
    if batch is None:
        batches: Sequence[bytes] = [_batch_of(tensors, signature).to_bytes()]
    elif tensors:
        raise InvalidInput(
            f"expected `{BATCH}` alone, or features and dense inputs by name, got {', '.join(tensors)} beside it"
        )
    elif batch.datatype != BYTES or batch.array.size == 0:
        raise InvalidInput(f"the tensor `{BATCH}`: expected BYTES, at least one byte batch, got {batch}")
    else:
        batches = list(batch.array.flat)
    words: dict[str, bytes] = {REQUEST_ID: request.id.encode()} if request.id else {}
    if (deadline := request.parameters.get(DEADLINE)) is not None:
        words[DEADLINE] = str(deadline).encode()
    return [{BATCH: one, **words} for one in batches]


def _specs_of_feature(feature: FeatureSignature) -> list[TensorSpec]:
    ids = TensorSpec(feature.name, BYTES if feature.ids == "text" else "UINT64", (-1,), optional=True)
    specs = [ids] if feature.single else [ids, TensorSpec(feature.name + OFFSETS, "INT64", (-1,), optional=True)]
    if feature.weighted:
        specs.append(TensorSpec(feature.name + WEIGHTS, "FP32", (-1,), optional=True))
    return specs


def _spec_of_dense(dense: DenseSignature) -> TensorSpec:
    return _output(dense.name, dense.dtype, dense.shape)._replace(optional=True)


def _output(name: str | None, dtype: str, shape: Sequence[int]) -> TensorSpec:
    datatype = Tensor.of(name or SCORES, np.empty(0, np.dtype(dtype))).datatype
    return TensorSpec(name or SCORES, datatype, (-1, *shape))


def _batch_of(tensors: Mapping[str, Tensor], signature: Signature | None) -> PersiaBatch:
    features: list[_Feature] = []
    dense: list[NonIDTypeFeature] = []
    beside = {
        name
        for name in tensors
        for end in (OFFSETS, WEIGHTS)
        if name.endswith(end) and name.removesuffix(end) in tensors  # a dense input may be called so as well
    }
    for name, tensor in tensors.items():
        if name in beside:
            continue
        if _is_feature(tensor, signature):
            features.append(_feature(tensor, tensors.get(name + OFFSETS), tensors.get(name + WEIGHTS)))
        else:
            dense.append(NonIDTypeFeature(tensor.values, name))
    if not features:
        raise InvalidInput(f"expected `{BATCH}`, or the ids of features by name, got {', '.join(tensors) or 'no tensors'}")
    return PersiaBatch(features, dense, requires_grad=False)


def _is_feature(tensor: Tensor, signature: Signature | None) -> bool:
    """By the signature; by its datatype, where that does not know the name."""
    if signature is not None and tensor.name in {feature.name for feature in signature.features}:
        return True
    if signature is not None and tensor.name in {dense.name for dense in signature.dense}:
        return False
    return tensor.datatype in _ID_DATATYPES


def _feature(tensor: Tensor, offsets: Tensor | None, weights: Tensor | None) -> _Feature:
    name = tensor.name
    if tensor.datatype not in _ID_DATATYPES:
        raise FeatureError(name, f"expected ids as {' or '.join(_ID_DATATYPES)}, got {tensor.datatype}")
    flat = _ids(name, tensor)
    numbers = None if weights is None else weights.values.reshape(-1)
    if offsets is not None:
        if len(tensor.shape) != 1:
            raise FeatureError(name, f"expected ids in 1 dimension beside {offsets.name!r}, got the shape {list(tensor.shape)}")
        return IDTypeFeature(name, flat, offsets.values, weights=numbers)
    match tensor.shape:
        case [_]:
            return IDTypeFeatureWithSingleID(name, flat, weights=numbers)
        case [samples, each]:
            return IDTypeFeature(name, flat, np.arange(samples + 1) * each, weights=numbers)
    raise FeatureError(name, f"expected ids [batch], [batch, k], or [ids] beside offsets, got the shape {list(tensor.shape)}")


def _ids(name: str, tensor: Tensor) -> npt.NDArray[np.uint64]:
    flat = tensor.array.reshape(-1)
    if tensor.datatype != BYTES:
        return np.ascontiguousarray(flat).view(np.uint64)
    try:
        return hash_strings([element.decode() for element in flat])
    except UnicodeDecodeError as error:
        raise FeatureError(name, f"expected ids that are text in UTF-8, got other bytes: {error}") from None
