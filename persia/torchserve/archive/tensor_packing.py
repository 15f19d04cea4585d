"""A model is packed without a handler: the model server serves its tensors by name (docs/open-inference.md)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from persia.errors import NotFound
from persia.open_inference.declared import declared_tensors
from persia.open_inference.tensors import ModelMetadata, TensorSpec
from persia.torchserve.archive.options import Place, Serving
from persia.torchserve.archive.weights import weights_to_pack
from persia.torchserve.archive.writing import write_archive

__all__ = ["pack_tensor_model"]


def pack_tensor_model(model: Path, place: Place, serving: Serving) -> str:
    """Writes the archive, and gives what to say of the model, which is loaded before. Raises PersiaError, OSError."""
    extra = serving.read_config()
    text = serving.model_config(extra)
    place.check()
    try:
        import torch  # a second

        from persia.dense.named.loading import load_named
    except ModuleNotFoundError as error:
        raise NotFound(f"loading a model needs {error.name}: pip install 'persia-serve[torchserve]'") from error
    metadata = load_named(model, torch.device("cpu"), declared_tensors(extra)).metadata
    extra_files = (*serving.extra_files, *weights_to_pack(model, serving.extra_files))
    place.out.mkdir(parents=True, exist_ok=True)
    write_archive(place.archive, place.name, place.version, model, None, text, extra_files)
    return f"without a handler, for the model server alone: {_told(metadata)}"


def _told(metadata: ModelMetadata) -> str:
    return f"it takes {_listed(metadata.inputs)}, and answers {_listed(metadata.outputs)}"


def _listed(specs: Iterable[TensorSpec]) -> str:
    return ", ".join(map(str, specs)) or "what it does not tell"
