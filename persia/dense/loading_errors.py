"""What is wrong with the file of a model that does not load."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from persia.errors import InvalidInput, PersiaError
from persia.torch_deprecations import torch_deprecations_ignored

from .kinds import Kind

__all__ = ["loading_errors"]


@contextmanager
def loading_errors(kind: Kind, path: Path) -> Iterator[None]:
    """Raises InvalidInput for whatever goes wrong while a model is loaded; errors of ours, which say more, pass."""
    try:
        with torch_deprecations_ignored():
            yield
    except PersiaError:
        raise
    except Exception as error:  # torch raises RuntimeError, ValueError and others; ONNX Runtime has its own
        reason = str(error).strip().partition("\n")[0].partition(". ")[0]
        raise InvalidInput(f"{path} is a model of {kind.value}, which does not load: {reason}") from error
