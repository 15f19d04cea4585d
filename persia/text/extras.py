"""Libraries that are no dependencies of persia-serve, because most of its users have no text models."""

from __future__ import annotations

import importlib
from typing import Any

from persia.errors import NotFound

__all__ = ["extra"]

_EXTRA_OF = {"onnxruntime": "onnx"}


def extra(module: str) -> Any:
    """Imports a library. Raises NotFound, which says how to install it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:  # something that the library itself lacks
            raise
        name = _EXTRA_OF.get(module, "transformers")
        raise NotFound(f"{module} is not installed; expected it here: pip install 'persia-serve[{name}]'") from error
