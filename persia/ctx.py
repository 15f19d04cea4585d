"""`InferCtx`: from byte batches to the tensors that a dense model takes. For handlers of both generations of Persia."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy.typing as npt

from persia import _core
from persia.batch import PersiaBatch
from persia.config import (
    EMBEDDING_CONFIG_VARIABLE,
    GLOBAL_CONFIG_VARIABLE,
    EmbeddingConfig,
    GlobalConfig,
    load_embedding_config,
    load_global_config,
)
from persia.config.servers import address_problem
from persia.config.slots_match import SlotLike
from persia.dense_version import DenseVersion
from persia.errors import DeadlineExceeded, InvalidInput, Unavailable
from persia.prelude import remember_context
from persia.routing.connecting import connect, route
from persia.routing.lookup import Lookup, Lookups, RouterOptions
from persia.security import ClientSecurity
from persia.service import SERVICE_VARIABLE, get_embedding_worker_services
from persia.system.process import keep_freed_memory
from persia.tensors import LookupTensors, Tensor, device_of, to_tensors

__all__ = ["EmbeddingBatch", "Features", "InferCtx", "Preparable"]

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.01

_Tensors = list[Tensor]
_Path = str | os.PathLike[str]

_Prepared = TypeVar("_Prepared", covariant=True)


class Features(NamedTuple):
    """What prepare_features gives. Dense tensors keep dtype and shape; embeddings are f16, in the batch's order."""

    dense: _Tensors
    embeddings: _Tensors
    labels: _Tensors | None


@dataclass(eq=False)
class EmbeddingBatch:
    """A batch with its embeddings: `features`, and in `lookup` versions, misses, and shards that are missing."""

    features: Features
    lookup: Lookup

    def prepared(self) -> Features:
        """What prepare_features gives."""
        return self.features


class Preparable(Protocol[_Prepared]):
    """A batch with its embeddings, of either generation of Persia."""

    def prepared(self) -> _Prepared: ...


class InferCtx:
    """Looks up embeddings, by way of a middleware or routing by itself. Any number of threads may use it.

    With `with`, or by close(), its connections end. After a fork each process needs one of its own, unless it was not used yet.
    """

    def __init__(
        self,
        addresses: Sequence[str] | Sequence[Sequence[str]] | None = None,
        device_id: int | None = None,
        *,
        embedding_config: _Path | None = None,
        global_config: _Path | None = None,
        timeout: float | None = None,
        expects: Iterable[SlotLike] | None = None,
        options: RouterOptions | None = None,
        dense: DenseVersion | None = None,
    ) -> None:
        """Nothing is connected yet: it does not matter what is started first.

        Args:
            addresses: `host:port` of one or more middlewares, or of the embedding servers in shard order, which it then asks by
                itself; a list in the list names the replicas of a shard. None: $EMBEDDING_WORKER_SERVICE, else the `servers`
                of the global config, else `embedding_worker:8887`.
            device_id: The GPU that tensors go to; None: the CPU.
            embedding_config: Instead of $PERSIA_EMBEDDING_CONFIG: to route by itself, and to be compared with that of a
                middleware, slot by slot, where there is one of the two.
            global_config: Instead of $PERSIA_GLOBAL_CONFIG, which need not be set.
            timeout: Seconds for a lookup; else as configured (10).
            expects: The slots that lookups need, instead of those of the embedding config: persia.signature.FeatureSignature or
                persia.config.Slot. Where the config that lookups go by has others, they raise ConfigError. More slots are fine.
            options: Of lookups, instead of what the global config says.
            dense: The version of the dense model that gets the embeddings. Where servers follow epochs, rows are then of one
                whose record names this version of the model, or no version of it.

        Raises:
            ConfigError: A config file is wrong, or the config that it routes by itself with has other slots than expected.
            InvalidInput: There is no such GPU.
        """
        path = global_config if global_config is not None else os.environ.get(GLOBAL_CONFIG_VARIABLE)
        config = load_global_config(path) if path else GlobalConfig()
        self._options = options or RouterOptions.of(config, ClientSecurity(config.security))
        if dense is not None:
            self._options = replace(self._options, dense=dense)
        self._timeout = self._options.timeout if timeout is None else timeout
        if not self._timeout > 0:
            raise InvalidInput(f"expected a timeout over 0 seconds, got {timeout}")
        self._embedding_config = embedding_config
        self._expects = None if expects is None else tuple(expects)
        self._device = device_of(device_id)
        self._lock = threading.Lock()
        self._lookups: Lookups | None = None
        self._closed = False
        self._addresses: list[str] = []
        if addresses is None and not os.environ.get(SERVICE_VARIABLE) and config.common_config.infer_config.servers:
            self._route(config.common_config.infer_config.servers)
        else:
            shards = _checked(get_embedding_worker_services() if addresses is None else addresses)
            if addresses is None or all(isinstance(entry, str) for entry in addresses):
                self._addresses = [address for (address,) in shards]
                if self._expects is None:
                    self._expects = self._slots_of_own_config()
            else:
                self._route(shards)
        keep_freed_memory()  # of this process, which is there to serve a model
        remember_context(self)

    def get_embedding_from_bytes(
        self,
        data: bytes | bytearray | memoryview,
        device_id: int | None = None,
        *,
        timeout: float | None = None,
        min_epoch: int = 0,
        variant: str = "",
    ) -> EmbeddingBatch:
        """Looks up the embeddings of a byte batch.

        Args:
            data: What PersiaBatch.to_bytes() returned.
            device_id: A GPU for this batch, instead of the context's.
            timeout: Seconds for this batch, instead of the context's.
            min_epoch: The rows are to be of this epoch or a later one, where servers follow epochs: for whoever has to read
                what was written. It is waited for as a shard is that cannot be used, and then that is Unavailable.
            variant: The name of the variant whose rows go before those that all share, where servers follow epochs.

        Raises:
            InvalidInput: The batch is wrong: DecodeError (names the byte), FeatureError (names the feature).
            TooLarge: It is over a limit.
            Unavailable: A server does not answer; names it.
            NotFound: There is no such variant; names those that there are.
            DeadlineExceeded: The time is over.
            ConfigError: The middleware has another embedding config than this context expects.
        """
        seconds = self._timeout if timeout is None else timeout
        end = time.monotonic() + seconds
        batch = _core.decode_batch(data)
        return self.get_embedding_from_decoded(batch, device_id, end=end, min_epoch=min_epoch, variant=variant)

    def get_embedding_from_decoded(
        self,
        batch: _core.Batch,
        device_id: int | None = None,
        *,
        dense: Sequence[npt.NDArray[Any]] | None = None,
        end: float | None = None,
        min_epoch: int = 0,
        variant: str = "",
    ) -> EmbeddingBatch:
        """Does what get_embedding_from_bytes does, for a batch that persia._core.decode_batch returned.

        dense: the arrays of which the dense tensors are made, instead of the batch's own. end: a time by time.monotonic().
        Of a merged batch (persia._core.merge_batches) the embeddings are those of all its batches, one after the other.
        """
        device = self._device if device_id is None else device_of(device_id)
        if end is None:
            end = time.monotonic() + self._timeout
        if not batch.has_ids:
            raise InvalidInput("the batch has no id features")
        embeddings = LookupTensors(device, batch.requests)
        lookups = self._connected(end)
        lookup = lookups.lookup(batch, max(0.0, end - time.monotonic()), embeddings.begin, min_epoch, variant)
        labels = to_tensors(batch.labels, device) if batch.labels else None
        features = Features(to_tensors(batch.dense if dense is None else dense, device), embeddings.of(lookup), labels)
        return EmbeddingBatch(features, lookup)

    def get_embedding_from_data(
        self,
        batch: PersiaBatch,
        device_id: int | None = None,
        *,
        timeout: float | None = None,
        min_epoch: int = 0,
        variant: str = "",
    ) -> EmbeddingBatch:
        """As get_embedding_from_bytes."""
        data = batch.to_bytes()
        return self.get_embedding_from_bytes(data, device_id, timeout=timeout, min_epoch=min_epoch, variant=variant)

    def prepare_features(self, batch: Preparable[_Prepared]) -> _Prepared:
        """Dense tensors, embeddings, and labels or None; for the first generation's batches without the labels."""
        return batch.prepared()

    def wait_for_serving(self, timeout: float | None = None, *, say_every: float = 5.0) -> None:
        """Waits until lookups can be answered, and says in the log what it waits for.

        Args:
            timeout: Seconds; None: for ever.
            say_every: Seconds between two lines about what it waits for.

        Raises:
            DeadlineExceeded: Not in time; says what is missing.
        """
        end = float("inf") if timeout is None else time.monotonic() + timeout
        say = time.monotonic() + say_every
        while missing := self._why_not_ready(end):
            now = time.monotonic()
            if now >= end:
                raise DeadlineExceeded(f"expected to be served within {timeout} s, still waiting for {missing}")
            if now >= say:
                log.warning("waiting for %s", missing)
                say = now + say_every
            time.sleep(min(_LOOK_SECONDS, end - now))

    def look_up_with(self, lookups: Lookups) -> None:
        """Has these answer from now on, instead of servers: for programs that have the rows themselves, such as a replay."""
        with self._lock:
            before, self._lookups = self._lookups, None
            self._use(lookups)
        if before is not None:
            before.close()

    def close(self) -> None:
        """Ends its connections. Idempotent."""
        with self._lock:
            lookups, self._lookups, self._closed = self._lookups, None, True
        if lookups is not None:
            lookups.close()

    def __enter__(self) -> InferCtx:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _connected(self, end: float) -> Lookups:
        lookups = self._lookups
        if lookups is not None:
            return lookups
        # One thread finds out what the addresses are; the others wait no longer than their own time.
        if not self._lock.acquire(timeout=max(0.0, min(end - time.monotonic(), threading.TIMEOUT_MAX))):
            raise Unavailable(f"expected an answer of {', '.join(self._addresses)}, got none in time")
        try:
            if self._closed:
                raise InvalidInput("the context was closed: make a new one")
            if self._lookups is None:
                addresses, options, config = self._addresses, self._options, self._load_embedding_config
                self._use(connect(addresses, options, end, embedding_config=config, expects=self._expects))
            assert self._lookups is not None
            return self._lookups
        finally:
            self._lock.release()

    def _slots_of_own_config(self) -> tuple[SlotLike, ...] | None:
        """None where there is no such config: it is not needed beside a middleware."""
        path = self._embedding_config
        named = os.environ.get(EMBEDDING_CONFIG_VARIABLE)
        if path is None and not (named and Path(named).exists()):
            return None
        return tuple(load_embedding_config(path and Path(path)).slots.values())

    def _route(self, servers: Sequence[Sequence[str]]) -> None:
        self._use(route(servers, self._options, embedding_config=self._load_embedding_config, expects=self._expects))

    def _load_embedding_config(self) -> EmbeddingConfig:
        return load_embedding_config(self._embedding_config and Path(self._embedding_config))

    def _use(self, lookups: Lookups) -> None:
        self._lookups = lookups
        weakref.finalize(self, lookups.close)

    def _why_not_ready(self, end: float) -> str:
        try:
            return self._connected(min(end, time.monotonic() + 0.5)).why_not_ready()
        except ConnectionError as error:
            return str(error)


def _checked(addresses: Sequence[str] | Sequence[Sequence[str]]) -> list[list[str]]:
    """Every entry as the list of its replicas."""
    if isinstance(addresses, str) or not addresses:
        raise InvalidInput(f"expected a list of `host:port`, got {addresses!r}")
    shards = [[entry] if isinstance(entry, str) else list(entry) for entry in addresses]
    for i, replicas in enumerate(shards):
        if not replicas:
            raise InvalidInput(f"expected at least one replica of shard {i}, got an empty list")
        for address in replicas:
            if problem := address_problem(address):
                raise InvalidInput(problem)
    return shards
