"""What a worker needs of TorchServe's Python package, imported without torch.

One of these modules imports torch, to encode tensors that a handler answers. That costs every worker two seconds and 200 MB,
even if its handler uses no torch. So a stand-in takes the place of torch while they are imported, and imports torch when
something of it is used. A handler that imports torch itself gets torch, as always.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

__all__ = ["MetricsCacheYamlImpl", "ModelLoaderFactory", "PredictionException", "RequestProcessor", "Service"]

TORCH = "torch"


class LateTorch(ModuleType):
    """Stands for torch in modules that have imported it, and becomes torch when something of it is used."""

    def __getattr__(self, name: str) -> Any:
        _give_way(self)
        return getattr(import_module(TORCH), name)


def _give_way(stand_in: ModuleType) -> None:
    if sys.modules.get(TORCH) is stand_in:
        del sys.modules[TORCH]


@contextmanager
def _without_torch() -> Iterator[None]:
    """What is imported meanwhile gets a stand-in for torch, unless torch was imported before."""
    stand_in = LateTorch(TORCH)
    sys.modules.setdefault(TORCH, stand_in)
    try:
        yield
    finally:
        _give_way(stand_in)


with _without_torch():
    from ts.context import RequestProcessor
    from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
    from ts.model_loader import ModelLoaderFactory
    from ts.service import Service
    from ts.utils.util import PredictionException
