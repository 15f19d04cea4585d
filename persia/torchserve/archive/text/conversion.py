"""A text model as a graph: TorchScript or ONNX, both for any number of texts and tokens."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from persia.text.extras import extra
from persia.text.quiet import transformers_quiet
from persia.torch_deprecations import torch_deprecations_ignored

__all__ = ["quantize_onnx", "write_onnx", "write_torchscript"]

_EXAMPLE = (2, 16)  # texts and tokens: a graph takes any number of both, except that a dimension of 1 may stay 1


class _Masked(nn.Module):
    """A model of transformers that gives a tuple of its first tensors, which is all that a graph can have."""

    def __init__(self, model: nn.Module, outputs: int) -> None:
        super().__init__()
        self.model = model
        self.outputs = outputs

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found = self.model(input_ids=input_ids, attention_mask=attention_mask, return_dict=False)
        return tuple(found[: self.outputs])


class _Typed(_Masked):
    """The same for one that can tell the texts of a pair apart."""

    def forward(  # type: ignore[override]
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}
        return tuple(self.model(**inputs, return_dict=False)[: self.outputs])


def write_torchscript(model: nn.Module, mode: str, config: Any, out: Path) -> None:
    """Traces the model, which may have int8 layers. config: transformers' own."""
    graph, example = _graph_of(model, mode, config)
    with _converting():
        torch.jit.save(torch.jit.trace(graph, tuple(example.values()), check_trace=False), str(out))


def write_onnx(model: nn.Module, mode: str, config: Any, out: Path) -> None:
    """Raises NotFound without the packages that torch's exporter needs."""
    extra("onnxscript")
    graph, example = _graph_of(model, mode, config)
    free = {0: torch.export.Dim("texts"), 1: torch.export.Dim("tokens")}
    with _converting():
        torch.onnx.export(
            graph,
            tuple(example.values()),
            str(out),
            dynamo=True,
            input_names=list(example),
            dynamic_shapes={name: free for name in example},
            external_data=False,
            verbose=False,
        )


def quantize_onnx(model: Path, out: Path) -> None:
    """Dynamic int8 as ONNX Runtime does it, with a scale for each output channel. Raises NotFound without its packages."""
    extra("onnx")
    quantization = extra("onnxruntime.quantization")
    with _converting():
        quantization.quantize_dynamic(str(model), str(out), per_channel=True, weight_type=quantization.QuantType.QInt8)


def _graph_of(model: nn.Module, mode: str, config: Any) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """What is to be traced, and inputs for it by name."""
    ids = torch.ones(_EXAMPLE, dtype=torch.int64)
    example = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    outputs = 2 if mode == "question_answering" else 1
    if "token_type_ids" not in inspect.signature(model.forward).parameters or getattr(config, "type_vocab_size", 2) < 2:
        return _Masked(model, outputs).eval(), example
    return _Typed(model, outputs).eval(), {**example, "token_type_ids": torch.zeros_like(ids)}


@contextmanager
def _converting() -> Iterator[None]:
    """Silences guesses that a graph may be wrong for other lengths: the samples tell whether it is."""
    with transformers_quiet(), torch_deprecations_ignored(), torch.no_grad():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
