"""What a dense model answers: one tensor, or several with names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from persia.errors import PersiaError

__all__ = ["OUTPUT_NAME", "named_outputs"]

OUTPUT_NAME = "output{}"  # of a tuple or a list


def named_outputs(answer: Any) -> Mapping[str | None, torch.Tensor]:
    """The tensors of a model's answer by name: None for a tensor alone, `output0`, `output1`, ... for a tuple or a list.

    Raises PersiaError for anything but a tensor, a tuple or list of tensors, and a dict of them.
    """
    if isinstance(answer, torch.Tensor):
        return {None: answer}
    if isinstance(answer, Mapping):
        outputs: dict[str | None, Any] = dict(answer)
    elif isinstance(answer, Sequence) and not isinstance(answer, str):
        names = getattr(answer, "_fields", None) or [OUTPUT_NAME.format(i) for i in range(len(answer))]
        outputs = dict(zip(names, answer, strict=True))
    else:
        outputs = {}
    for name, value in outputs.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise PersiaError(
                f"expected tensors with text as their names from the model, got {type(value).__name__} as {name!r}"
            )
    if not outputs:
        got = f"an empty {type(answer).__name__}" if isinstance(answer, (Mapping, Sequence)) else type(answer).__name__
        raise PersiaError(f"expected a tensor, a tuple or list of tensors, or a dict of them from the model, got {got}")
    return outputs
