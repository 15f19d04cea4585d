"""Models in ONNX, run by ONNX Runtime.

ONNX has no lists: a model's inputs are the dense tensors and then the embeddings, in the order of both lists. Inputs that are
all called `dense0`, `dense_1`, `emb0`, `Embeddings_1` and the like are found by these names, so that some may be missing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from persia.errors import InvalidInput, NotFound

from .model import DenseModel, Tensors
from .onnx_names import check_order, places_of

__all__ = ["OnnxModel", "open_session"]

_TYPES = {"tensor(float16)": "float16", "tensor(float)": "float32", "tensor(double)": "float64", "tensor(bool)": "bool"} | {
    f"tensor({name})": name for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
}


class OnnxModel(DenseModel):
    def __init__(self, path: Path, device: torch.device) -> None:
        """Raises NotFound without ONNX Runtime, InvalidInput for names that mislead, and what it raises if it cannot load."""
        self._session = open_session(path, device)
        self._device = device
        self._inputs = [(entry.name, _TYPES.get(entry.type, entry.type)) for entry in self._session.get_inputs()]
        self._outputs = [entry.name for entry in self._session.get_outputs()]
        self._places = places_of([name for name, _ in self._inputs])
        sizes = [entry.shape[0] for entry in self._session.get_inputs() if entry.shape]
        self.fixed_batch = next((size for size in sizes if isinstance(size, int)), None)

    def __call__(self, dense: Tensors, embeddings: Tensors) -> Any:
        tensors = self._in_order(dense, embeddings)
        feed = {name: _as(dtype, tensor, name) for (name, dtype), tensor in zip(self._inputs, tensors, strict=True)}
        try:
            arrays = self._session.run(None, feed)
        except Exception as error:  # ONNX Runtime has classes of its own, and reasons of several lines
            raise RuntimeError(" ".join(str(error).split())) from error
        answers = [torch.from_numpy(array).to(self._device) for array in arrays]
        return answers[0] if len(answers) == 1 else dict(zip(self._outputs, answers, strict=True))

    def _in_order(self, dense: Tensors, embeddings: Tensors) -> list[torch.Tensor]:
        """The tensors in the order of the model's inputs."""
        lists = {"dense": dense, "emb": embeddings}
        names = ", ".join(name for name, _ in self._inputs)
        if self._places is None:
            tensors = [*dense, *embeddings]
            if len(tensors) != len(self._inputs):
                raise InvalidInput(
                    f"the ONNX model takes {len(self._inputs)} inputs ({names}), got {len(dense)} dense tensors and "
                    f"{len(embeddings)} embeddings: where it does not use all, name its inputs dense0, ... and emb0, ..."
                )
            check_order([name for name, _ in self._inputs], len(dense))
            return tensors
        for which, i in self._places:
            if i >= len(lists[which]):
                raise InvalidInput(
                    f"the ONNX model takes {names}, got {len(dense)} dense tensors, {len(embeddings)} embeddings"
                )
        return [lists[which][i] for which, i in self._places]


def open_session(path: Path, device: torch.device) -> Any:
    """An InferenceSession. Raises NotFound without ONNX Runtime, and what it raises if it cannot load the file."""
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise NotFound(f"an ONNX model needs {error.name}: pip install 'persia-serve[onnx]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    wanted = [("CUDAExecutionProvider", {"device_id": device.index or 0})] if device.type == "cuda" else []
    offered = onnxruntime.get_available_providers()
    providers = [*(provider for provider in wanted if provider[0] in offered), "CPUExecutionProvider"]
    return onnxruntime.InferenceSession(str(path), options, providers=providers)


def _as(dtype: str, tensor: torch.Tensor, name: str) -> npt.NDArray[Any]:
    """The array of a tensor, in the type that the input has, if that holds all values. Raises InvalidInput."""
    array = tensor.numpy(force=True)
    if array.dtype.name == dtype:
        return array
    is_wider = dtype.startswith("float") and array.dtype.kind == "f" and np.dtype(dtype).itemsize > array.dtype.itemsize
    if is_wider or (dtype == "bool" and array.dtype == np.uint8):
        return array.astype(dtype)
    raise InvalidInput(f"the ONNX model takes {dtype} as {name!r}, got {array.dtype.name}")
