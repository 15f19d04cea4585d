"""What a lookup gives, and how it behaves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from persia import _core
from persia.config.global_config import GlobalConfig
from persia.dense_version import DenseVersion
from persia.errors import NotFound
from persia.feature_lookup import FeatureLookup
from persia.rpc.prober import WatchTimes
from persia.security import ClientSecurity
from persia.variant import variant_key

__all__ = [
    "FEATURE_NUMBERS",
    "SHAPE_NUMBERS",
    "Lookup",
    "Lookups",
    "OnBuffers",
    "Placed",
    "RouterOptions",
    "RowsKey",
    "floats_of",
    "naming",
    "placed_tensors",
    "split",
]

# Whom rows are for: the keys of a dense model, of its version, and of a variant.
RowsKey = tuple[int, int, int]

SHAPE_NUMBERS = 3
FEATURE_NUMBERS = 4
_OF_FLOATS = 1 << 31  # in the last number of a shape: the tensor is of float32


@dataclass(frozen=True)
class RouterOptions:
    """How servers are spoken to, and how a router behaves when something is wrong. Times in seconds."""

    timeout: float = 10.0  # of a lookup whose caller says nothing
    hedge_after: float = 0.1  # until a replica that has not answered is hedged by another one
    wait_for_shard: float = 1.0  # until a shard of which no replica can be used is given up
    stay_awake: float = 300e-6  # until who waits for answers sleeps, at most
    zeros_for_missing_shards: bool = False  # instead of an error
    clients_ask_shards: bool = True  # where they reach them, instead of a middleware
    mixed_checkpoints: str = "old"  # or "error", as the config file has it
    security: ClientSecurity | None = None  # None: in plain text, and without a token
    deployment: str = ""  # whose servers may be asked; empty: those of any
    watch: WatchTimes = field(default_factory=WatchTimes)
    dense: DenseVersion | None = None  # for which lookups are: rows are of epochs that name it; None: of any
    bypass_rest: float = 0.5  # that lookups go to the middleware after an embedding server could not be asked

    def rows_key(self, variant: str = "") -> RowsKey:
        """Of `dense` and a variant, for the native core; zeros where there is none. Raises InvalidInput."""
        model, version = (0, 0) if self.dense is None else self.dense.key
        return model, version, variant_key(variant)

    @classmethod
    def of(cls, whole: GlobalConfig, security: ClientSecurity | None = None) -> RouterOptions:
        """What a config file says."""
        config = whole.embedding_worker_config
        return cls(
            security=security,
            deployment=whole.common_config.deployment,
            timeout=config.lookup_timeout_ms / 1000,
            hedge_after=config.hedge_after_ms / 1000,
            wait_for_shard=config.wait_for_shard_ms / 1000,
            stay_awake=config.stay_awake_us / 1e6,
            zeros_for_missing_shards=config.missing_shard == "zeros",
            clients_ask_shards=config.clients_ask_shards,
            mixed_checkpoints=config.mixed_checkpoints,
        )


@dataclass(eq=False, kw_only=True)
class Lookup:
    """The tensors of a batch, and what is to be said of them."""

    numbers: npt.NDArray[np.float16]  # of all tensors: those of float32 first, each number in the place of two, then the others
    shapes: npt.NDArray[np.uint32]  # of each tensor three, as ForwardResponse has them
    versions: list[int]  # of each shard; 0 for one that was not asked
    absent: int  # signs without a row: zeros
    wrong_dim: int  # signs whose row has another dim: zeros
    missing_shards: list[int]  # their rows are zeros, too
    rpc_seconds: float  # from the first request to the last answer
    batch: _core.Batch  # that was looked up
    counts: npt.NDArray[np.uint32]  # of each feature four, as ForwardResponse has them; none where nobody said them
    checkpoint_id: int = 0  # of the checkpoint that all rows come from; 0: none, or not said
    embedding_config_id: int = 0  # the fingerprint of the config by which ids became signs; 0: not said
    epoch: int = 0  # that all rows are of; 0: a server follows no epochs, or it was not said
    variant: str = ""  # whose rows went before those of all others; empty: none

    @cached_property
    def features(self) -> list[FeatureLookup]:
        """Of each feature, in the batch's order; empty where a middleware is too old to say."""
        rows = self.counts.reshape(-1, FEATURE_NUMBERS).tolist()
        if not rows:
            return []
        names = [feature.name for feature in self.batch.features]
        return [FeatureLookup(name, *row) for name, row in zip(names, rows, strict=True)]

    @cached_property
    def tensors(self) -> list[npt.NDArray[np.floating[Any]]]:
        """Per feature (batch, dim), or (batch, sample_fixed_size, dim + 1); of float16, or of float32 as its slot says."""
        return split(self.numbers, self.shapes)

    @cached_property
    def placed(self) -> list[Placed]:
        """Where each tensor lies. Kept, since each of the requests that share a lookup asks for it."""
        return placed_tensors(self.shapes)


class Placed(NamedTuple):
    """Where a tensor lies in a Lookup's numbers, counted in halves."""

    begin: int
    end: int
    shape: tuple[int, ...]
    is_f32: bool


def placed_tensors(shapes: npt.NDArray[np.uint32]) -> list[Placed]:
    """From a Lookup's shapes: of each tensor its own."""
    found: list[Placed] = []
    rows = shapes.reshape(-1, SHAPE_NUMBERS).tolist()
    floats, halves = 0, 0  # where the next one begins; halves follow on all floats
    for samples, ids, numbers in rows:
        is_f32 = bool(numbers & _OF_FLOATS)
        width = numbers & ~_OF_FLOATS
        shape = (samples, ids, width) if ids else (samples, width)
        begin = floats if is_f32 else halves
        end = begin + math.prod(shape) * (2 if is_f32 else 1)
        if is_f32:
            floats = end
        else:
            halves = end
        found.append(Placed(begin, end, shape, is_f32))
    if not floats:
        return found
    return [one if one.is_f32 else one._replace(begin=one.begin + floats, end=one.end + floats) for one in found]


def floats_of(halves: npt.NDArray[np.float16]) -> npt.NDArray[np.float32]:
    """The numbers of float32 that lie in the places of two each. Copied where they would not be aligned."""
    return (halves.copy() if halves.ctypes.data % 4 else halves).view(np.float32)


def split(numbers: npt.NDArray[np.float16], shapes: npt.NDArray[np.uint32]) -> list[npt.NDArray[np.floating[Any]]]:
    """A Lookup's numbers as one tensor after the other, which share their memory."""
    return [
        (floats_of(numbers[begin:end]) if is_f32 else numbers[begin:end]).reshape(shape)
        for begin, end, shape, is_f32 in placed_tensors(shapes)
    ]


@contextmanager
def naming(variant: str) -> Iterator[None]:
    """Adds the name of a variant to what servers say of it: they know it by a number alone."""
    try:
        yield
    except NotFound as error:
        raise NotFound(f"variant {variant!r}: {error}") from None


# Gets the memory and the shapes of a lookup's tensors, before their numbers are there.
OnBuffers = Callable[[npt.NDArray[np.float16], npt.NDArray[np.uint32]], None]


class Lookups(Protocol):
    """Who can turn ids into tensors: a router, or a client of one."""

    def lookup(
        self,
        batch: _core.Batch,
        timeout: float | None = None,
        on_buffers: OnBuffers | None = None,
        min_epoch: int = 0,
        variant: str = "",
    ) -> Lookup:
        """Looks up the tensors of a batch.

        Args:
            batch: A batch or an id part, with the ids of each feature.
            timeout: Seconds. None: the timeout of the options.
            on_buffers: May be called, also more than once, while the servers work, so that what it does costs no time.
            min_epoch: The rows are to be of that epoch or of a later one. A lookup waits for it as for a missing shard.
            variant: The name of the one whose rows go before those of all others; empty: of none.

        Raises:
            InvalidInput, TooLarge: The batch does not fit the config, or a limit.
            Unavailable: A server does not answer; names it.
            NotFound: The newest epoch has no such variant; names those that it has.
            DeadlineExceeded: Not in time.
        """

    def why_not_ready(self) -> str:
        """What is missing before a lookup can be answered; empty: nothing."""

    def close(self) -> None:
        """Ends its connections and threads."""
