"""The handlers that archives get where a user gives none: files of the leaf `handlers`, which is found by its name."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

__all__ = ["PERSIA_HANDLER", "TEXT_HANDLER"]


def _handler(name: str) -> Path:
    """A file to be packed. Nothing of it is imported: workers do that."""
    spec = find_spec("persia.handlers")
    assert spec is not None and spec.origin is not None, "persia.handlers belongs to every installation"
    return Path(spec.origin).with_name(name)


PERSIA_HANDLER = _handler("persia_handler.py")
TEXT_HANDLER = _handler("transformers_handler.py")
