"""A model's weights: a state_dict as torch.save writes it, or safetensors."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from persia.errors import InvalidInput, NotFound

__all__ = ["load_weights"]

_HOW = "torch.save(model.state_dict(), path) saves one"
_SHOWN = 8


def load_weights(model: torch.nn.Module, path: Path) -> None:
    """Loads a checkpoint into a model. If its file is empty, the model keeps the weights that it has.

    Raises InvalidInput for what is no state_dict, or not this model's; NotFound, OSError.
    """
    if path.stat().st_size == 0:
        return
    weights = _read_safetensors(path) if _is_safetensors(path) else _read_pickled(path)
    try:
        keys = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:  # of a weight that has another shape
        raise InvalidInput(f"expected in {path.name} the weights of {type(model).__name__}: {error}") from error
    problems = [*_named("there is no", keys.missing_keys), *_named("the model has no", keys.unexpected_keys)]
    if problems:
        raise InvalidInput(f"expected in {path.name} the weights of {type(model).__name__}: {'; '.join(problems)}")


def _is_safetensors(path: Path) -> bool:
    """By content: the length of a JSON object, and the object."""
    with path.open("rb") as file:
        head = file.read(9)
    return head[8:] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ModuleNotFoundError as error:
        raise NotFound(f"{path.name} needs {error.name}: pip install 'persia-serve[transformers]'") from error
    try:
        weights: Mapping[str, Any] = load_file(path)
    except SafetensorError as error:
        raise InvalidInput(f"expected safetensors in {path.name}: {error}") from error
    return weights


def _read_pickled(path: Path) -> Mapping[str, Any]:
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InvalidInput(
            f"expected a state_dict in {path.name}, got a whole model, or something else: {_HOW} ({first})"
        ) from error
    if not isinstance(weights, Mapping):
        raise InvalidInput(f"expected a state_dict in {path.name}, got {type(weights).__name__}: {_HOW}")
    return weights


def _named(what: str, keys: list[str]) -> list[str]:
    if not keys:
        return []
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return [f"{what} {', '.join(keys[:_SHOWN])}{more}"]
