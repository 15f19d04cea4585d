"""What a lookup gives, and how it behaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from persia import _core
from persia.config.global_config import EmbeddingWorkerConfig

__all__ = ["Lookup", "Lookups", "RouterOptions"]


@dataclass(frozen=True)
class RouterOptions:
    """How a router behaves when something is wrong. Times in seconds."""

    timeout: float = 10.0  # of a lookup whose caller says nothing
    hedge_after: float = 0.1  # until a replica that has not answered is hedged by another one
    wait_for_shard: float = 1.0  # until a shard of which no replica can be used is given up
    zeros_for_missing_shards: bool = False  # instead of an error

    @classmethod
    def of(cls, config: EmbeddingWorkerConfig) -> RouterOptions:
        """What a config file says."""
        return cls(
            timeout=config.lookup_timeout_ms / 1000,
            hedge_after=config.hedge_after_ms / 1000,
            wait_for_shard=config.wait_for_shard_ms / 1000,
            zeros_for_missing_shards=config.missing_shard == "zeros",
        )


@dataclass(frozen=True)
class Lookup:
    """The tensors of a batch, and what is to be said of them."""

    tensors: list[npt.NDArray[np.float16]]  # per feature (batch, dim), or (batch, sample_fixed_size, dim + 1)
    versions: list[int]  # of each shard; 0 for one that was not asked
    absent: int  # signs without a row: zeros
    wrong_dim: int  # signs whose row has another dim: zeros
    missing_shards: list[int]  # their rows are zeros, too
    rpc_seconds: float  # from the first request to the last answer


class Lookups(Protocol):
    """Who can turn ids into tensors: a router, or a client of one."""

    def lookup(self, batch: _core.Batch, timeout: float | None = None) -> Lookup:
        """timeout: seconds; else the options' own. Raises InvalidInput, TooLarge, Unavailable, DeadlineExceeded."""

    def why_not_ready(self) -> str:
        """What is missing before a lookup can be answered; empty: nothing."""

    def close(self) -> None:
        """Ends its connections and threads."""
