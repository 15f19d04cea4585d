"""`import torch` takes effect when something of torch is asked for: for the workers of TorchServes that tests start.

TorchServe's own worker imports torch whatever its handler does: 1.2 of the 1.3 seconds that a worker of `probe` took to start.
Python imports this file by its name where its folder is on the path. Whoever uses torch gets all of it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType


class LateTorch:
    """Finds torch, and nothing else."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != "torch":
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


sys.meta_path.insert(0, LateTorch)
