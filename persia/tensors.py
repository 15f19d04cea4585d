"""Arrays to torch tensors, without a copy where none is needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from persia.errors import InvalidInput

__all__ = ["Tensor", "device_of", "gpus", "to_tensors"]

Tensor = torch.Tensor


def device_of(device_id: int | None) -> torch.device:
    """None: the CPU. Raises InvalidInput for a GPU that is not there."""
    if device_id is None:
        return torch.device("cpu")
    if not 0 <= device_id < gpus():
        raise InvalidInput(f"expected None for the CPU, or one of the {gpus()} GPUs that there are, from 0, got {device_id}")
    return torch.device("cuda", device_id)


def gpus() -> int:
    """How many there are."""
    return torch.cuda.device_count()


def to_tensors(arrays: Sequence[npt.NDArray[Any]], device: torch.device) -> list[torch.Tensor]:
    """Tensors that share the arrays' memory, where it can be written to, and where they stay on the CPU.

    A bool array becomes a u8 tensor, as dense models of Persia expect it.
    """
    tensors = [_to_tensor(array) for array in arrays]
    return tensors if device.type == "cpu" else [tensor.to(device, non_blocking=True) for tensor in tensors]


def _to_tensor(array: npt.NDArray[Any]) -> torch.Tensor:
    if array.dtype == bool:
        array = array.view(np.uint8)
    if not array.flags.writeable:
        array = array.copy()  # a tensor can always be written to, and these bytes are somebody else's
    try:
        return torch.from_numpy(array)
    except TypeError as error:  # torch before 2.3 has no unsigned integers but u8
        raise InvalidInput(f"expected a dtype that torch {torch.__version__} has, got {array.dtype}: {error}") from None
