"""Dynamic int8: linear layers keep int8 weights, with a scale for each output channel, and make their input int8 at each call.

All of a call's input has one scale. So an answer does not depend on what else TorchServe is asked only if each request is a
call of its own.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from persia.errors import InvalidInput
from persia.torch_deprecations import torch_deprecations_ignored

__all__ = ["is_quantized", "quantize_module", "quantize_script"]

_INT8_OPERATORS = "quantized::"  # how their names begin


def quantize_module(model: nn.Module) -> nn.Module:
    """A copy with int8 linear layers, for tracing. Raises InvalidInput if the model has none."""
    if not any(isinstance(layer, nn.Linear) for layer in model.modules()):
        raise InvalidInput("the model has no linear layers, so int8 would change nothing: leave --quantize out")
    with _quantizing():
        from torch.ao.quantization import per_channel_dynamic_qconfig, quantize_dynamic

        quantized: nn.Module = quantize_dynamic(model, {nn.Linear: per_channel_dynamic_qconfig}, dtype=torch.qint8)
    return quantized.eval()


def quantize_script(model: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
    """A copy of TorchScript with int8 linear layers. Raises InvalidInput if it has none, or is int8 already."""
    if is_quantized(model):
        raise InvalidInput("the model is int8 already: leave --quantize out")
    with _quantizing():
        from torch.ao.quantization import per_channel_dynamic_qconfig, quantize_dynamic_jit

        quantized: torch.jit.ScriptModule = quantize_dynamic_jit(_copy(model), {"": per_channel_dynamic_qconfig})
    if not is_quantized(quantized):
        raise InvalidInput("the model has no linear layers, so int8 would change nothing: leave --quantize out")
    return quantized


def is_quantized(model: torch.jit.ScriptModule) -> bool:
    """Whether TorchScript has int8 layers: dynamic ones, static ones, or those of quantization aware training."""
    return _INT8_OPERATORS in str(model.inlined_graph)


def _copy(model: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
    """By way of bytes: quantization changes what it is given."""
    written = io.BytesIO()
    torch.jit.save(model, written)
    written.seek(0)
    copy: torch.jit.ScriptModule = torch.jit.load(written, map_location="cpu")
    for parameter in copy.parameters():
        parameter.requires_grad_(False)
    return copy


@contextmanager
def _quantizing() -> Iterator[None]:
    """Filters what torch says of a model that is copied layer by layer."""
    with torch_deprecations_ignored(), torch.no_grad():
        warnings.filterwarnings("ignore", r"The \.grad attribute of a Tensor that is not a leaf", UserWarning)
        yield
