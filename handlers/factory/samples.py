"""One sample's tensors, in whatever structure, put together with those of like samples for the model, and taken apart again."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from persia.errors import PersiaError

__all__ = ["groups_of", "rows_of", "stacked", "tensors_of"]


def tensors_of(value: Any) -> Any:
    """The same structure, with tensors for arrays, numbers and lists of numbers. Raises ValueError, TypeError."""
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        return torch.from_numpy(np.array(array, array.dtype.newbyteorder("=")))
    if isinstance(value, (bool, int, float, complex)):
        return torch.tensor(value)
    if isinstance(value, list) and _is_numbers(value):
        return torch.tensor(value)
    if isinstance(value, (list, dict, tuple)):
        return pytree.tree_map(tensors_of, value, is_leaf=lambda part: part is not value)
    return value


def groups_of(samples: Sequence[Any]) -> list[list[int]]:
    """The indexes of samples that can go to the model together: of one structure, with tensors of one shape and type."""
    groups: dict[Hashable, list[int]] = {}
    for i, sample in enumerate(samples):
        groups.setdefault(_likeness(sample), []).append(i)
    return list(groups.values())


def stacked(samples: Sequence[Any], device: torch.device) -> Any:
    """The samples of a group with a batch dimension before the others. What is no tensor is the same in all of them."""
    leaves, (structure, *_) = zip(*map(pytree.tree_flatten, samples), strict=True)
    columns = zip(*leaves, strict=True)
    batch = [torch.stack(column).to(device) if isinstance(column[0], torch.Tensor) else column[0] for column in columns]
    return pytree.tree_unflatten(batch, structure)


def rows_of(output: Any, samples: int) -> list[Any]:
    """One sample's output after the other, without the batch dimension. Each is a copy, which a caller may keep or change.

    Raises PersiaError for an output that is not one of each sample.
    """
    leaves, structure = pytree.tree_flatten(output)
    takers = [_taker(leaf, samples) for leaf in leaves]
    return [pytree.tree_unflatten([take(i) for take in takers], structure) for i in range(samples)]


def _taker(leaf: Any, samples: int) -> Callable[[int], Any]:
    """What gives the part of each sample."""
    if isinstance(leaf, torch.Tensor):
        if leaf.dim() == 0 or len(leaf) != samples:
            raise PersiaError(
                f"expected a model whose outputs begin with the batch dimension, {samples} now, got shape {tuple(leaf.shape)}"
            )
        rows = leaf.detach().cpu()
        return lambda i: rows[i].clone()
    if leaf is None or isinstance(leaf, (bool, int, float, str)):
        return lambda i: leaf
    raise PersiaError(
        f"expected a model that answers with tensors, or with tuples, lists and dicts of them, got {type(leaf).__name__}"
    )


def _likeness(sample: Any) -> Hashable:
    """Equal for what can be stacked."""
    leaves, structure = pytree.tree_flatten(sample)
    return str(structure), *map(_likeness_of_leaf, leaves)


def _likeness_of_leaf(leaf: Any) -> Hashable:
    if isinstance(leaf, torch.Tensor):
        return leaf.shape, leaf.dtype
    return leaf if leaf is None or isinstance(leaf, (str, bytes)) else id(leaf)


def _is_numbers(values: list[Any]) -> bool:
    """Whether it is a list of numbers, or a list of such lists."""
    return all(_is_numbers(value) if isinstance(value, list) else isinstance(value, (int, float)) for value in values)
