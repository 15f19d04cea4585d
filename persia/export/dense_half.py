"""The dense half by itself: it is scripted, and it scores a sample."""

from __future__ import annotations

import copy
import inspect
import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from persia.errors import ExportError
from persia.torch_modes import evaluating

__all__ = ["find", "own_outputs", "save_scripted", "split_outputs"]


def find(model: torch.nn.Module, dense_half: str | torch.nn.Module | None) -> torch.nn.Module:
    """The module that takes dense tensors and embeddings: a copy on the CPU, in eval mode. Raises ExportError."""
    if isinstance(dense_half, str):
        try:
            dense_half = model.get_submodule(dense_half)
        except AttributeError:
            children = ", ".join(name for name, _ in model.named_children())
            raise ExportError(f"the model has no module `{dense_half}` to be the dense half: it has {children}") from None
    found = model if dense_half is None else dense_half
    if isinstance(found, torch.jit.ScriptModule):  # which copy.deepcopy does not always take
        file = io.BytesIO()
        with _quiet():
            torch.jit.save(found, file)
            file.seek(0)
            scripted: torch.jit.ScriptModule = torch.jit.load(file, map_location="cpu")
        return scripted.eval()
    return copy.deepcopy(found).cpu().eval()


def save_scripted(module: torch.nn.Module, path: Path) -> None:
    """Raises ExportError if TorchScript does not take the module."""
    try:
        with _quiet():
            scripted = module if isinstance(module, torch.jit.ScriptModule) else torch.jit.script(module)
            torch.jit.save(scripted, str(path))
    except Exception as error:  # torch raises RuntimeError, and errors of its own
        reason = str(error).strip()
        raise ExportError(
            f"TorchScript does not take the dense half {type(module).__name__}, whose forward is to be "
            f"`forward(self, dense: List[Tensor], embeddings: List[Tensor])`:\n{reason}"
        ) from error


def own_outputs(model: torch.nn.Module, inputs: Any) -> Any:
    """What the model's own forward answers, in eval mode; the modules are in their own modes again afterwards.

    inputs: a mapping of keyword arguments, a sequence of arguments, or one tensor. Raises ExportError if they are not those
    that the forward takes, and whatever the forward raises.
    """
    named: dict[str, Any] = {}
    given: list[Any] = []
    if isinstance(inputs, Mapping):
        named = dict(inputs)
    else:
        given = list(inputs) if isinstance(inputs, (tuple, list)) else [inputs]
    with evaluating(model), torch.no_grad():
        try:
            return model(*given, **named)
        except TypeError as error:
            if problem := _unfit(model, given, named):
                raise ExportError(f"`inputs` does not fit the model's forward, {problem}: {error}") from error
            raise


def _unfit(model: torch.nn.Module, given: list[Any], named: dict[str, Any]) -> str:
    """What is wrong with the arguments of a forward, in words; empty if they fit."""
    try:
        forward = inspect.signature(model.forward)
        forward.bind(*given, **named)
        return ""
    except ValueError:  # nothing tells its arguments
        return ""
    except TypeError as error:
        problem = str(error)
    try:
        bound = forward.bind_partial(*given, **named).arguments
    except TypeError:  # an argument too many, which the first error names
        return f"which takes {', '.join(f'`{name}`' for name in forward.parameters)} ({problem})"
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    missing = [
        f"`{name}`"
        for name, parameter in forward.parameters.items()
        if name not in bound and parameter.default is inspect.Parameter.empty and parameter.kind not in optional
    ]
    return f"it has no {' and no '.join(missing)}"


def split_outputs(module: torch.nn.Module, dense: Sequence[npt.NDArray[Any]], embeddings: Sequence[npt.NDArray[Any]]) -> Any:
    """What the dense half answers to dense tensors and embeddings. Raises ExportError if it refuses them."""
    # A bool array comes to the dense half as u8.
    tensors = [
        [torch.from_numpy(np.array(array, np.uint8 if array.dtype == bool else array.dtype)) for array in arrays]
        for arrays in (dense, embeddings)
    ]
    try:
        with torch.no_grad():
            return module(*tensors)
    except Exception as error:  # whatever the module's own code raises
        shapes = (", ".join(f"{array.dtype} {array.shape}" for array in arrays) or "none" for arrays in (dense, embeddings))
        reason = str(error).strip()
        halves = any(array.dtype == np.float16 for array in embeddings)
        hint = ". Embeddings are served as float16: begin forward with `embedding.float()` for each" if halves else ""
        raise ExportError(
            "the dense half refuses the sample (dense {}; embeddings {}): {}{}".format(*shapes, reason, hint)
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """torch.jit is deprecated, and is what TorchServe loads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
