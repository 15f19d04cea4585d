"""What is to be served, and on what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

__all__ = ["GIB", "STORAGES", "Machines", "Storage", "Workload"]

Storage = Literal["f32", "f16", "int8", "uint8"]  # from the most bytes to the fewest, but for the bias of uint8

STORAGES: tuple[Storage, ...] = get_args(Storage)
GIB = 2**30


@dataclass(frozen=True)
class Workload:
    """All counts are at least 1 unless it is said otherwise; shares are of 1."""

    rows: int  # of all tables together, today
    dim: int
    qps: float  # lookups a second, over all
    batch: int  # samples of a lookup
    features: int = 26
    ids: float = 1.0  # of a feature and sample
    distinct: float = 1.0  # share of a feature's ids in a lookup that are different ones
    storage: Storage = "f32"
    growth: float = 0.0  # share of the rows that may come
    epochs: int = 0  # that servers keep readable beside the newest one; 0: they follow none
    changed: int = 0  # rows that an epoch changes, of all tables together; 0: none
    skew: float = 1.2  # what the busiest shard has to do, in multiples of the mean
    handlers: int = 0  # processes that ask the servers themselves; 0: middlewares do

    @property
    def signs(self) -> float:
        """Different ids of a feature in a lookup."""
        return max(1.0, self.batch * self.ids * self.distinct)

    @property
    def rows_later(self) -> float:
        """With the growth."""
        return self.rows * (1 + self.growth)


@dataclass(frozen=True)
class Machines:
    """All are the same."""

    count: int
    cores: float
    memory: float  # bytes of each
    network: float  # bits a second, each way
    replicas: int = 2  # that each shard is to have at least
    round_trip: float = 100e-6  # seconds from one machine to another and back
    most_busy: float = 0.6  # share of cores and network that may be used, also while one machine is lost
    most_memory: float = 0.8  # share of the memory that servers may have
