"""What torch models give, as a plain list of arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from persia.errors import InvalidInput

__all__ = ["arrays_of"]


def arrays_of(outputs: Any) -> Sequence[np.ndarray]:
    """Of a tensor, of a tuple or list of them, or of a dict, which transformers' own kinds of output are too."""
    if isinstance(outputs, torch.Tensor):
        outputs = [outputs]
    elif isinstance(outputs, Mapping):
        outputs = list(outputs.values())
    if not isinstance(outputs, (tuple, list)):
        raise InvalidInput(f"expected a model that gives tensors, got a {type(outputs).__name__}")
    tensors = [output for output in outputs if isinstance(output, torch.Tensor)]
    if not tensors:
        raise InvalidInput("expected a model that gives tensors, got none")
    return [tensor.detach().to("cpu", torch.float32).numpy() for tensor in tensors]
