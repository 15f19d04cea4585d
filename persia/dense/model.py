"""What all dense models have in common that are no modules of torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch

__all__ = ["DenseModel", "Tensors"]

Tensors = Sequence[torch.Tensor]


class DenseModel(ABC):
    """Called as a module would be, with dense tensors and embeddings.

    Attributes:
        fixed_batch: How many samples the model takes, if its file says that it takes no other number.
        module: What torch runs, with its weights; None: something else runs it.
    """

    fixed_batch: int | None = None
    module: torch.nn.Module | None = None

    @abstractmethod
    def __call__(self, dense: Tensors, embeddings: Tensors) -> Any:
        """A tensor, a tuple or list of tensors, or a dict of them."""

    def eval(self) -> DenseModel:
        """TorchServe calls this of every model that it has loaded. These have no other mode."""
        return self
