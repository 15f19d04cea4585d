"""The formats by the names that the command has for them. None is imported before it is asked for."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from .source import Source

__all__ = ["FORMATS", "Format", "open_source"]


class Format(NamedTuple):
    """`module` is one beside this file; `help` says what SOURCE is."""

    module: str
    help: str


FORMATS = {
    "numpy": Format("numpy_files", "A directory with rows.npy and perhaps ids.npy, or with one such directory for each table."),
    "safetensors": Format("safetensors_files", "A file of safetensors, or a directory of them."),
    "torch": Format(
        "torch_files", "A file of torch.save with a state_dict: nn.Embedding, nn.EmbeddingBag, TorchRec unsharded."
    ),
    "torch-dcp": Format(
        "torch_dcp", "A directory of torch.distributed.checkpoint: TorchRec sharded over processes, and others."
    ),
}


def open_source(format: str, path: Path) -> Source:
    """What lies in `path`, by the format of that name. Raises CorruptFile, InvalidInput, NotFound, OSError."""
    module = import_module(f"{__package__}.{FORMATS[format].module}")
    source: Source = module.open_source(path)
    return source
