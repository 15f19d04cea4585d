"""Whether what a model answers to one sample depends on which others are in the same batch."""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch

__all__ = ["depends_on_neighbours"]

# What TorchScript calls the operators of int8: those that quantize, and those that take what is quantized.
_INT8_OPERATORS = re.compile(r"\bquantized::|\baten::\w*(quantize|qparams)")


def depends_on_neighbours(model: torch.nn.Module) -> bool:
    """Dynamically quantized layers scale by the largest value of a batch, so each sample has to go through them alone."""
    return any(
        _INT8_OPERATORS.search(str(layer.inlined_graph)) is not None
        if isinstance(layer, torch.jit.ScriptModule)
        else ".quantized.dynamic" in type(layer).__module__
        for layer in _layers(model)
    )


def _layers(model: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """TorchScript is one layer: its graph has all of its parts, of which some are data alone, and have no graph."""
    if not isinstance(model, torch.jit.ScriptModule):
        yield model
        for part in model.children():
            yield from _layers(part)
    elif hasattr(model, "forward"):
        yield model
