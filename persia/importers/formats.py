"""The formats by the names that the command has for them. None is imported before it is asked for."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from .source import Source

__all__ = ["FORMATS", "Format", "open_source"]


class Format(NamedTuple):
    """`module` and the name of its function that opens a source; `help` says what SOURCE is."""

    module: str
    help: str
    function: str = "open_source"


FORMATS = {
    "dynamicemb": Format("dynamicemb_and_tfra", "A directory of NVIDIA dynamicemb's dump.", "open_dynamicemb"),
    "hugectr": Format(
        "hugectr_files", "A directory of HugeCTR: sparse models of HPS, collections, or SparseOperationKit's dump."
    ),
    "keras": Format("keras_files", "A .keras file, or weights of Keras in HDF5 (.weights.h5, .h5)."),
    "monolith": Format("monolith_files", "A directory of Monolith's hash tables, NAME-0000I-of-0000N."),
    "numpy": Format("numpy_files", "A directory with rows.npy and perhaps ids.npy, or with one such directory for each table."),
    "parquet": Format("parquet_files", "A file of ids and vectors, a directory of them, or such a directory for each table."),
    "safetensors": Format("safetensors_files", "A file of safetensors, or a directory of them."),
    "tensorflow": Format(
        "tensorflow_files", "A TensorFlow checkpoint: its .index, or the directory with it, such as a SavedModel."
    ),
    "tfra": Format("dynamicemb_and_tfra", "A directory of the FileSystemSaver of TensorFlow Recommenders Addons.", "open_tfra"),
    "torch": Format(
        "torch_files", "A file of torch.save with a state_dict: nn.Embedding, nn.EmbeddingBag, TorchRec unsharded."
    ),
    "torch-dcp": Format(
        "torch_dcp", "A directory of torch.distributed.checkpoint: TorchRec sharded over processes, and others."
    ),
}


def open_source(format: str, path: Path) -> Source:
    """What lies in `path`, by the format of that name. Raises CorruptFile, InvalidInput, NotFound, OSError."""
    chosen = FORMATS[format]
    source: Source = getattr(import_module(f"{__package__}.{chosen.module}"), chosen.function)(path)
    return source
