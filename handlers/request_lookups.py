"""From requests to the tensors that the model takes: by a lookup for each, or by one for several that fit each other."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy.typing as npt
import torch

from persia import _core
from persia.ctx import EmbeddingBatch, Features, InferCtx
from persia.errors import InvalidInput
from persia.handlers.answers import format_of
from persia.handlers.inputs import RequestFeatures
from persia.handlers.variant_choice import VariantChoice, variant_of
from persia.routing.lookup import Lookup
from persia.routing.merged import part_of, shapes_of
from persia.signature_check import Placing, SignatureCheck, in_order
from persia.tensors import Tensor
from persia.torchserve.scores import BATCH

__all__ = ["Opened", "RequestLookups", "SharedFeatures", "SharedLookup"]


class Opened(NamedTuple):
    """A request's batch, read and checked."""

    batch: _core.Batch
    placing: Placing | None  # None: the archive has no signature
    dense: list[npt.NDArray[Any]]  # as the model takes them
    end: float  # by time.monotonic(): until then its embeddings are wanted
    size: int  # bytes of the batch
    variant: str  # whose rows it gets; empty: none

    def fits(self) -> tuple[Any, ...] | None:
        """Equal for those that may be looked up together. None: it is looked up alone, which tells what is wrong with it."""
        batch, samples = self.batch, self.batch.samples
        if not batch.has_ids or batch.label_names or any(len(array) != samples for array in self.dense):
            return None
        return (self.variant, self.batch.names_key, *((array.dtype.str, array.shape[1:]) for array in self.dense))


class SharedLookup:
    """Requests of one lookup: their tensors lie side by side, those of one after those of the other, in the model's order."""

    def __init__(self, opened: Sequence[Opened], embedded: EmbeddingBatch) -> None:
        placing = opened[0].placing
        self.batches = [one.batch for one in opened]
        self.lookup = embedded.lookup
        self.sizes = tuple(batch.samples for batch in self.batches)
        each = len(opened[0].dense)
        self.dense_of = [embedded.features.dense[each * i : each * (i + 1)] for i in range(len(opened))]  # of each request
        embeddings = embedded.features.embeddings
        self.embeddings: list[Tensor] = embeddings if placing is None else in_order(embeddings, placing)

    @cached_property
    def dense(self) -> list[Tensor]:
        """Of all requests, one after the other."""
        return [torch.cat(tensors) for tensors in zip(*self.dense_of, strict=True)]


class SharedFeatures(Features):
    """The features of one request of a shared lookup."""

    shared: SharedLookup
    place: int

    @cached_property
    def lookup(self) -> Lookup:
        """As of a lookup for this request alone."""
        return part_of(self.shared.lookup, self.shared.batches, self.place)


class RequestLookups:
    """Any number of threads may use it."""

    def __init__(self, context: InferCtx, check: SignatureCheck | None, shares: bool, variants: VariantChoice) -> None:
        """shares: whether several requests may share a lookup. variants: for requests that name none."""
        self.shares, self.variants = shares, variants
        self._context = context
        self._check = check

    def open(self, request: Mapping[str, Any], seconds: float) -> Opened:
        """Raises InvalidInput, TooLarge."""
        format_of(request)  # before anything is done for it
        batch = request.get(BATCH)
        if not isinstance(batch, (bytes, bytearray)):
            got = sorted(request) or "nothing"
            also = "over HTTP a body of Content-Type application/json is taken, too"
            raise InvalidInput(f"expected a byte batch as `{BATCH}` in the input, got {got}; {also}")
        variant = variant_of(request)
        end = time.monotonic() + seconds
        decoded = _core.decode_batch(batch)
        if self._check is None:
            return Opened(decoded, None, decoded.dense, end, len(batch), variant)
        return Opened(decoded, *self._check.place(decoded), end, len(batch), variant)

    def look_up(self, opened: Opened) -> RequestFeatures:
        """Raises the errors of InferCtx, ConfigError for embeddings of other shapes than the model's, FeatureError."""
        placing, dense = opened.placing, opened.dense
        embedded = self._context.get_embedding_from_decoded(opened.batch, dense=dense, end=opened.end, variant=opened.variant)
        if self._check is not None and placing is not None:
            self._check.check_embeddings(placing, embedded.lookup.shapes, dense)
        return RequestFeatures.of(embedded, placing)

    def look_up_together(self, opened: Sequence[Opened]) -> list[SharedFeatures]:
        """By one lookup. REQUIRES: all of them fit. Raises as look_up()."""
        merged = _core.merge_batches([one.batch for one in opened])
        dense = [array for one in opened for array in one.dense]
        end, variant = max(one.end for one in opened), opened[0].variant  # that of all, or they would not fit
        embedded = self._context.get_embedding_from_decoded(merged, dense=dense, end=end, variant=variant)
        if self._check is not None:
            for place, one in enumerate(opened):
                if one.placing is not None:
                    shapes = shapes_of(embedded.lookup.shapes, len(opened), place)
                    self._check.check_embeddings(one.placing, shapes, one.dense)
        return _features_of(SharedLookup(opened, embedded))


def _features_of(shared: SharedLookup) -> list[SharedFeatures]:
    """Splits a shared lookup.

    The dense tensors of a request are its own: rows in the middle of others lie at odd addresses, where a product
    of matrices may round otherwise.
    """
    embeddings = [tensor.split(list(shared.sizes)) for tensor in shared.embeddings]
    features = []
    for place, dense in enumerate(shared.dense_of):
        of_request = SharedFeatures(dense, [parts[place] for parts in embeddings], None)
        of_request.shared, of_request.place = shared, place
        features.append(of_request)
    return features
