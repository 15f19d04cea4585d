"""A version of a model as TorchServe's management service describes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Model", "model_of"]


@dataclass(frozen=True)
class Model:
    """One version of a registered model. ready: how many of its workers can answer."""

    name: str
    version: str
    archive: str
    is_default: bool
    min_workers: int
    max_workers: int
    ready: int
    workers: tuple[dict[str, Any], ...]
    batch_size: int

    @property
    def all_ready(self) -> bool:
        return self.ready >= max(self.min_workers, 1) and self.ready == len(self.workers)


def model_of(entry: dict[str, Any], default: str) -> Model:
    """entry: what DescribeModel says of a version. default: the model's default version."""
    workers = tuple(entry.get("workers", ()))
    return Model(
        name=entry["modelName"],
        version=entry["modelVersion"],
        archive=entry["modelUrl"],
        is_default=entry["modelVersion"] == default,
        min_workers=entry["minWorkers"],
        max_workers=entry["maxWorkers"],
        ready=sum(worker.get("status") == "READY" for worker in workers),
        workers=workers,
        batch_size=entry["batchSize"],
    )
