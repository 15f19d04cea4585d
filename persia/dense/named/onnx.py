"""ONNX, run by ONNX Runtime: names, datatypes and shapes of the tensors stand in the file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from persia.dense.onnx_model import open_session
from persia.open_inference.datatypes import BF16, BYTES
from persia.open_inference.declared import Declared
from persia.open_inference.tensors import ModelMetadata, Tensor, TensorSpec

from .model import NamedModel

__all__ = ["OnnxModel"]

_DATATYPES: Mapping[str, str] = {
    "tensor(bool)": "BOOL",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(bfloat16)": BF16,
    "tensor(string)": BYTES,
} | {f"tensor({name.lower()})": name for name in ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")}


class OnnxModel(NamedModel):
    def __init__(self, path: Path, device: torch.device, _declared: Declared) -> None:
        """Raises NotFound without ONNX Runtime, and what that raises if it cannot load the file."""
        self._session = open_session(path, device)
        inputs = tuple(map(_spec, self._session.get_inputs()))
        self.metadata = ModelMetadata("onnx_onnxv1", inputs, tuple(map(_spec, self._session.get_outputs())))

    def run(self, tensors: Mapping[str, Tensor]) -> list[Tensor]:
        answers = self._session.run(None, {name: _fed(tensor) for name, tensor in tensors.items()})
        return [Tensor.of(spec.name, np.asarray(answer)) for spec, answer in zip(self.metadata.outputs, answers, strict=True)]


def _spec(entry: Any) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) else -1 for size in entry.shape)
    return TensorSpec(entry.name, _DATATYPES.get(entry.type, ""), shape)


def _fed(tensor: Tensor) -> Any:
    """What ONNX Runtime takes for a tensor."""
    if tensor.datatype != BYTES:
        return np.ascontiguousarray(tensor.array)
    texts = np.empty(tensor.array.size, object)
    texts[:] = [element.decode() for element in tensor.array.flat]
    return texts.reshape(tensor.shape)
