"""What these models have in common: how torch's tensors are made of named ones and back, and what a failure means."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from persia.dense.outputs import named_outputs
from persia.errors import InvalidInput, PersiaError, TooLarge
from persia.open_inference.datatypes import BF16, BYTES
from persia.open_inference.tensors import ModelMetadata, Tensor, TensorSpec
from persia.torch_errors import last_line, out_of_memory

__all__ = ["DATATYPES_OF_TORCH", "NamedModel", "tensor_of_torch", "tensors_of_answer", "torch_of_tensor"]

DATATYPES_OF_TORCH: Mapping[torch.dtype, str] = {
    torch.bool: "BOOL",
    torch.int8: "INT8",
    torch.int16: "INT16",
    torch.int32: "INT32",
    torch.int64: "INT64",
    torch.uint8: "UINT8",
    torch.float16: "FP16",
    torch.bfloat16: BF16,
    torch.float32: "FP32",
    torch.float64: "FP64",
}
_LONE_OUTPUT = "output"


class NamedModel(ABC):
    """`metadata` says what it takes and answers.

    Attributes:
        module: What torch runs, with its weights; None: something else runs it.
    """

    metadata: ModelMetadata
    module: torch.nn.Module | None = None

    def __call__(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """What the model answers.

        A model is a function of its tensors: one that fails with tensors of the right kind refuses their values.
        Raises InvalidInput, TooLarge for lack of memory, PersiaError for an answer that is none.
        """
        named = self.expected(tensors).check(tensors)
        try:
            return self.run(named)
        except PersiaError:
            raise
        except Exception as error:  # torch raises RuntimeError, IndexError and others; ONNX Runtime has its own
            if out_of_memory(error):
                raise TooLarge(f"out of memory: {last_line(error)}") from error
            given = ", ".join(map(repr, tensors))
            raise InvalidInput(f"the model fails for {given}: {last_line(error)}") from error

    def expected(self, _tensors: Sequence[Tensor]) -> ModelMetadata:
        """What it takes, of models that take more or fewer tensors as well."""
        return self.metadata

    @abstractmethod
    def run(self, tensors: Mapping[str, Tensor]) -> list[Tensor]:
        """What the model answers. Raises whatever the model does."""


def torch_of_tensor(tensor: Tensor, device: torch.device) -> torch.Tensor:
    """It shares the memory of the tensor, where that can be written to. Raises InvalidInput."""
    if tensor.datatype == BYTES:
        raise InvalidInput(f"the tensor {tensor.name!r}: expected numbers, as torch has them, got BYTES")
    array = np.require(tensor.array, requirements=["C", "W"])
    if tensor.datatype == BF16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16).to(device)
    try:
        return torch.from_numpy(array).to(device)
    except TypeError:  # torch before 2.3 has no unsigned integers but u8
        raise InvalidInput(
            f"the tensor {tensor.name!r}: expected a datatype that torch {torch.__version__} has, got {tensor.datatype}"
        ) from None


def tensor_of_torch(name: str, answer: torch.Tensor) -> Tensor:
    """Raises InvalidInput for a dtype that the protocol has nothing for."""
    answer = answer.detach().cpu().contiguous()
    if answer.dtype == torch.bfloat16:
        return Tensor(name, BF16, answer.view(torch.int16).numpy().view(np.uint16))
    return Tensor.of(name, answer.numpy())


def tensors_of_answer(answer: Any, declared: Sequence[TensorSpec] = ()) -> list[Tensor]:
    """A lone tensor is `output`; those of a tuple are `output0`, `output1`; or each has its declared name, in their order."""
    outputs = named_outputs(answer)
    names = [spec.name for spec in declared] if len(declared) == len(outputs) else [name or _LONE_OUTPUT for name in outputs]
    return [tensor_of_torch(name, value) for name, value in zip(names, outputs.values(), strict=True)]
