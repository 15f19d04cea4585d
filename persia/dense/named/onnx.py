"""ONNX, run by ONNX Runtime: names, datatypes and shapes of the tensors stand in the file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.dlpack import from_dlpack

from persia.dense.onnx_model import open_session
from persia.open_inference.datatypes import BF16, BYTES
from persia.open_inference.declared import Declared
from persia.open_inference.tensors import ModelMetadata, Tensor, TensorSpec

from .model import NamedModel, tensor_of_torch

__all__ = ["OnnxModel"]

_DATATYPES: Mapping[str, str] = {
    "tensor(bool)": "BOOL",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(bfloat16)": BF16,
    "tensor(string)": BYTES,
} | {f"tensor({name.lower()})": name for name in ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")}
_ONNX_BF16 = 16  # TensorProto.BFLOAT16


class OnnxModel(NamedModel):
    def __init__(self, path: Path, device: torch.device, _declared: Declared) -> None:
        """Raises NotFound without ONNX Runtime, and what that raises if it cannot load the file."""
        self._session = open_session(path, device)
        inputs = tuple(map(_spec, self._session.get_inputs()))
        self.metadata = ModelMetadata("onnx_onnxv1", inputs, tuple(map(_spec, self._session.get_outputs())))

        self._has_bf16 = any(spec.datatype == BF16 for spec in (*inputs, *self.metadata.outputs))

    def run(self, tensors: Mapping[str, Tensor]) -> list[Tensor]:
        if self._has_bf16:
            return self._run_with_bf16(tensors)
        answers = self._session.run(None, {name: _fed(tensor) for name, tensor in tensors.items()})
        return [Tensor.of(spec.name, np.asarray(answer)) for spec, answer in zip(self.metadata.outputs, answers, strict=True)]

    def _run_with_bf16(self, tensors: Mapping[str, Tensor]) -> list[Tensor]:
        """By values of ONNX Runtime's own, as numpy has no such numbers."""
        fed = {name: _value_of(tensor) for name, tensor in tensors.items()}
        answers = self._session.run_with_ort_values(None, fed)
        return [_answered(spec, answer) for spec, answer in zip(self.metadata.outputs, answers, strict=True)]


def _spec(entry: Any) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) else -1 for size in entry.shape)
    return TensorSpec(entry.name, _DATATYPES.get(entry.type, ""), shape)


def _value_of(tensor: Tensor) -> Any:
    from onnxruntime import OrtValue

    if tensor.datatype == BF16:
        return OrtValue.ortvalue_from_numpy_with_onnx_type(np.ascontiguousarray(tensor.array), _ONNX_BF16)
    return OrtValue.ortvalue_from_numpy(_fed(tensor))


def _answered(spec: TensorSpec, answer: Any) -> Tensor:
    if spec.datatype == BF16:
        return tensor_of_torch(spec.name, from_dlpack(answer).clone())
    return Tensor.of(spec.name, np.asarray(answer.numpy()))


def _fed(tensor: Tensor) -> Any:
    """What ONNX Runtime takes for a tensor."""
    if tensor.datatype != BYTES:
        return np.ascontiguousarray(tensor.array)
    texts = np.empty(tensor.array.size, object)
    texts[:] = [element.decode() for element in tensor.array.flat]
    return texts.reshape(tensor.shape)
