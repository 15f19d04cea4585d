"""The one place that silences what torch says of TorchScript and of int8: users have models that are made with both."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["torch_deprecations_ignored"]

# How the messages begin.
_MESSAGES = {
    r"`torch\.jit\.": DeprecationWarning,
    r"torch\.ao\.quantization is deprecated": DeprecationWarning,
    r"torch\.quantize_per_tensor, torch\.quantize_per_channel": UserWarning,
    r"Please use quant_min and quant_max": UserWarning,
    r"`is_gradient_checkpointing` is deprecated": FutureWarning,  # of transformers, when torch looks at all that a model has
}


@contextmanager
def torch_deprecations_ignored() -> Iterator[None]:
    """For as long as a model is loaded, traced or quantized. The filters are those of the whole process meanwhile."""
    with warnings.catch_warnings():
        for message, category in _MESSAGES.items():
            warnings.filterwarnings("ignore", message, category)
        yield
