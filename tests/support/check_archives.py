"""Archives for tests of `persia-launcher check`: a dense model that notices what it is given, with a signature."""

from __future__ import annotations

import functools
import io
import warnings
from pathlib import Path
from typing import Any

import torch

from persia.signature import SIGNATURE_FILE
from persia.torchserve.archive.handler_files import PERSIA_HANDLER
from persia.torchserve.archive.model_config import model_config
from persia.torchserve.archive.writing import write_archive
from tests.support.checks import Content, Files, signature_of


class Model(torch.nn.Module):
    """Every number that comes in has a weight of its own, so that order, width and zeros make a difference."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, dense: list[torch.Tensor], embeddings: list[torch.Tensor]) -> torch.Tensor:
        everything = torch.cat([dense[0]] + [embedding.float().flatten(1) for embedding in embeddings], 1)
        weights = torch.arange(1, everything.size(1) + 1, dtype=torch.float32) * self.scale
        return torch.tanh((everything * weights).sum(1, keepdim=True) / 100)


@functools.cache
def _scripted(scale: float) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit is, and is what users have
        buffer = io.BytesIO()
        torch.jit.save(torch.jit.script(Model(scale)), buffer)
    return buffer.getvalue()


def add_archive(
    files: Files, content: Content | None, *, scale: float = 1.0, handler: Path = PERSIA_HANDLER, **persia: Any
) -> Path:
    """An archive in the store of these files, of a model that was tried with this embedding config; None: it says nothing.

    persia: settings of our handler.
    """
    store = files.directory / "store"
    store.mkdir(exist_ok=True)
    model = files.directory / "dense.pt"
    model.write_bytes(_scripted(scale))
    extra = []
    if content is not None:
        extra = [files.directory / SIGNATURE_FILE]
        extra[0].write_bytes(signature_of(content).to_bytes())
    out = store / "ctr-1.0.mar"
    write_archive(out, "ctr", "1.0", model, handler, model_config({"persia": persia} if persia else {}), extra)
    return out
