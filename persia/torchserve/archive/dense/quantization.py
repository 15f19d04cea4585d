"""A dense half with int8 layers, if it answers a sample as the original does."""

from __future__ import annotations

from pathlib import Path

import torch

from persia.dense.loading import load_dense
from persia.errors import InvalidInput
from persia.torch_deprecations import torch_deprecations_ignored
from persia.torchserve.archive.compare.agreement import Agreement, agreement_of
from persia.torchserve.archive.dense.answers import answers_of_outputs
from persia.torchserve.archive.dense.trial import sample_from_npz, try_model
from persia.torchserve.archive.quantization import quantize_script

__all__ = ["write_quantized_dense"]


def write_quantized_dense(model: Path, sample: Path | None, out: Path) -> Agreement:
    """Writes TorchScript with int8 layers, and says how far it agrees with the original. Raises InvalidInput, OSError."""
    if sample is None or sample.suffix != ".npz":
        raise InvalidInput(
            "expected a --sample as .npz with --quantize, with embeddings (emb0, emb1, ...) as the model gets them: those of a "
            "byte batch would be zeros, on which the int8 model cannot be compared with the original"
        )
    original = load_dense(model)
    if not isinstance(original, torch.jit.ScriptModule):
        raise InvalidInput(
            f"expected TorchScript with --quantize, got {model}: quantize a model of another kind before it is saved"
        )
    quantized = quantize_script(original)
    tried = sample_from_npz(sample)
    found = agreement_of(*(answers_of_outputs(try_model(one, tried)) for one in (original, quantized)))
    with torch_deprecations_ignored():
        torch.jit.save(quantized, str(out))
    return found
