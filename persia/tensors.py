"""Arrays to torch tensors, without a copy where none is needed."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from persia.errors import InvalidInput
from persia.routing.lookup import Lookup, floats_of, placed_tensors
from persia.routing.merged import joined_shapes

__all__ = ["LookupTensors", "Tensor", "device_of", "gpus", "split_tensors", "to_tensors"]

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


class LookupTensors:
    """The tensors of one lookup, made while servers work on their numbers, where they can share the memory of these."""

    def __init__(self, device: torch.device, requests: int = 1) -> None:
        """requests: from how many batches that one was merged which is looked up. The tensors are those of all of them."""
        self._device = device
        self._requests = requests
        self._numbers: npt.NDArray[np.float16] | None = None
        self._tensors: list[Tensor] = []

    def begin(self, numbers: npt.NDArray[np.float16], shapes: npt.NDArray[np.uint32]) -> None:
        """Makes the tensors, still empty, which Lookups.lookup() then fills."""
        if self._device.type == "cpu":
            self._numbers, self._tensors = numbers, self._split(numbers, shapes)

    def of(self, lookup: Lookup) -> list[Tensor]:
        """Returns the tensors of a lookup that is done."""
        if self._numbers is lookup.numbers:  # else they were of a try that was given up, or there was none yet
            return self._tensors
        return self._split(lookup.numbers, lookup.shapes)

    def _split(self, numbers: npt.NDArray[np.float16], shapes: npt.NDArray[np.uint32]) -> list[Tensor]:
        return split_tensors(numbers, joined_shapes(shapes, self._requests), self._device)


def to_tensors(arrays: Sequence[npt.NDArray[Any]], device: torch.device) -> list[torch.Tensor]:
    """Tensors that share the arrays' memory, where it can be written to, and where they stay on the CPU.

    A bool array becomes a u8 tensor, as dense models of Persia expect it.
    """
    tensors = [_to_tensor(array) for array in arrays]
    return tensors if device.type == "cpu" else [tensor.to(device, non_blocking=True) for tensor in tensors]


def split_tensors(numbers: npt.NDArray[Any], shapes: npt.NDArray[np.uint32], device: torch.device) -> list[torch.Tensor]:
    """The tensors of a Lookup's numbers and shapes. They share the numbers' memory where to_tensors() would."""
    tensors: list[torch.Tensor] = []
    if device.type == "cpu":
        # From numpy, one by one: the views that torch makes go through much more code, and take twice as long with cold caches.
        array = _writable(numbers)
        for run in _runs(shapes.tobytes()):
            part = floats_of(array[run.begin : run.end]) if run.is_f32 else array[run.begin : run.end]
            tensors.extend(map(torch.from_numpy, part.reshape(run.tensors, *run.shape)))
        return tensors
    (flat,) = to_tensors([numbers], device)  # in one transfer
    for run in _runs(shapes.tobytes()):
        halves = flat[run.begin : run.end]
        tensors.extend((halves.view(torch.float32) if run.is_f32 else halves).view(run.tensors, *run.shape).unbind())
    return tensors


class _Run(NamedTuple):
    """Tensors of one shape that lie one after the other. begin and end: in halves."""

    begin: int
    end: int
    tensors: int
    shape: tuple[int, ...]
    is_f32: bool


@functools.lru_cache(maxsize=32)  # a model's batches have few shapes, and of thousands of features each is large
def _runs(shapes: bytes) -> Sequence[_Run]:
    """Neighbours have mostly the same shape, and one call makes views for all of them."""
    runs: list[_Run] = []
    placed = placed_tensors(np.frombuffer(shapes, np.uint32))
    for (shape, is_f32), run in itertools.groupby(placed, key=lambda tensor: (tensor.shape, tensor.is_f32)):
        tensors = list(run)
        runs.append(_Run(tensors[0].begin, tensors[-1].end, len(tensors), shape, is_f32))
    return tuple(runs)


def _to_tensor(array: npt.NDArray[Any]) -> torch.Tensor:
    if array.dtype == bool:
        array = array.view(np.uint8)
    try:
        return torch.from_numpy(_writable(array))
    except TypeError as error:  # torch before 2.3 has no unsigned integers but u8
        raise InvalidInput(f"expected a dtype that torch {torch.__version__} has, got {array.dtype}: {error}") from None


def _writable(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    # A tensor can always be written to, and these bytes may be somebody else's.
    return array if array.flags.writeable else array.copy()
