"""Requests against the signature of a model: each batch is put into the order of the model, or is refused by name.

What the names of a batch mean is worked out once for each tuple of names, so that a request of the usual kind costs a look-up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from persia import _core
from persia.errors import ConfigError, FeatureError
from persia.signature import Signature
from persia.signature_dense import checked_dense, dense_order, nearest

__all__ = ["Placing", "SignatureCheck", "in_order"]

_T = TypeVar("_T")

# Clients send their batches in few orders. An attacker may send many, so they are not all kept.
_MOST_PLACINGS = 64
_MOST_SHAPES = 256
_ALL = np.logical_and.reduce  # without the Python of numpy's all()
_SHAPE_NUMBERS = 3  # of each tensor of a lookup: samples, ids or 0, numbers
_OF_FLOATS = 1 << 31  # is in the last of them where the tensor is of float32


@dataclass(frozen=True)
class Placing:
    """Where the model's features and dense tensors stand in batches with certain names. None: in their own order."""

    features: tuple[int, ...] | None
    dense: tuple[int, ...] | None
    names: tuple[str, ...]
    single: tuple[int, ...] = ()  # where the features stand of which each sample has exactly one id
    seen: dict[bytes, int] = field(default_factory=dict)  # shapes of embeddings that were right, and their samples


class SignatureCheck:
    """Any number of threads may use it."""

    def __init__(self, signature: Signature, drop_extra: bool = False) -> None:
        """drop_extra: features that the model does not take are left out, instead of being an error."""
        self.signature = signature
        self._drop_extra = drop_extra
        self._by_name = {feature.name: feature for feature in signature.features}
        self._dense = [
            (dense, dtype := np.dtype(dense.dtype), dense.nan_allowed or dtype.kind != "f") for dense in signature.dense
        ]
        self._placings: dict[bytes, Placing] = {}

    def place(self, batch: _core.Batch) -> tuple[Placing, list[npt.NDArray[Any]]]:
        """Returns where each feature of a batch goes, and the dense tensors as the model takes them.

        Raises FeatureError, InvalidInput.
        """
        dense, key = batch.dense, batch.names_key
        placing = self._placings.get(key)
        if placing is None:
            placing = self._placing(batch.feature_names, batch.dense_names, batch.label_names)
            if len(self._placings) < _MOST_PLACINGS:
                self._placings[key] = placing
        if placing.single and (wrong := batch.first_not_single(placing.single)) is not None:
            place, sample, count = wrong
            raise FeatureError(placing.names[place], f"expected exactly one id in each sample, got {count} in sample {sample}")
        if self.signature.dense_known:
            if placing.dense is not None:
                dense = [dense[place] for place in placing.dense]
            dense = [
                array
                if array.dtype == dtype
                and array.shape[1:] == expected.shape
                and (may_be_nan or _ALL(np.isfinite(array), axis=None))
                else checked_dense(expected, array)
                for array, (expected, dtype, may_be_nan) in zip(dense, self._dense, strict=True)
            ]
        return placing, dense

    def check_embeddings(self, placing: Placing, shapes: npt.NDArray[np.uint32], dense: Sequence[npt.NDArray[Any]]) -> None:
        """Whether embeddings have the shapes that the model was packed with, and dense tensors as many samples as they.

        shapes: as a Lookup has them. Raises ConfigError where the embedding config is not that of the model; FeatureError.
        """
        key = shapes.tobytes()
        samples = placing.seen.get(key)
        if samples is None:
            rows = shapes.reshape(-1, _SHAPE_NUMBERS)
            self._check_shapes(placing, rows)
            samples = int(rows[0, 0]) if len(rows) else 0
            if len(placing.seen) < _MOST_SHAPES:
                placing.seen[key] = samples
        for i, array in enumerate(dense):
            if len(array) != samples:
                name = self.signature.dense[i].name if self.signature.dense_known else f"dense tensor {i}"
                raise FeatureError(name, f"expected {samples} samples as the id features have, got {len(array)}")

    def _check_shapes(self, placing: Placing, shapes: npt.NDArray[np.uint32]) -> None:
        for name, (_, ids, numbers) in zip(placing.names, shapes.tolist(), strict=True):
            feature = self._by_name.get(name)
            output = "f32" if numbers & _OF_FLOATS else "f16"
            numbers &= ~_OF_FLOATS
            got = (ids, numbers) if ids else (numbers,)
            if feature is not None and (got, output) != (feature.tensor_shape, feature.output):
                raise ConfigError(
                    f"the model was packed with {_told(feature.tensor_shape, feature.output)} for the feature {name!r}, the "
                    f"embedding servers' config gives {_told(got, output)}: serve the model with the embedding config that it "
                    "was packed with",
                    "$.slots_config",
                )

    def _placing(self, names: Sequence[str], dense_names: Sequence[str | None], labels: Sequence[str | None]) -> Placing:
        places = {name: place for place, name in enumerate(names)}
        expected = list(self._by_name)
        if len(places) < len(names):
            name = next(name for place, name in enumerate(names) if places[name] != place)
            raise FeatureError(name, "the request has this feature twice, expected it once")
        missing = [name for name in expected if name not in places]
        extra = [name for name in names if name not in self._by_name]
        for name in extra:
            if not self._drop_extra:
                close = nearest(name, missing) or "; the archive's setting `extra_features: drop` would leave it out"
                raise FeatureError(name, f"the model takes no such feature, expected {_some(expected)}{close}")
        if missing:
            close = nearest(missing[0], extra).replace("did you mean", "is it")
            raise FeatureError(
                missing[0], f"expected this feature, which the model takes, got a batch of {_some(names)}{close}"
            )
        order = tuple(places[name] for name in expected)
        dense = dense_order(self.signature.dense, dense_names, labels) if self.signature.dense_known else ()
        return Placing(
            None if order == tuple(range(len(names))) else order,
            None if dense == tuple(range(len(dense))) else dense,
            tuple(names),
            tuple(places[feature.name] for feature in self.signature.features if feature.single),
        )


def in_order(tensors: list[_T], placing: Placing) -> list[_T]:
    """The tensors of a batch's features in the order of the model."""
    return tensors if placing.features is None else [tensors[place] for place in placing.features]


def _some(names: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(map(repr, names[:most])) or "none"
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _told(shape: tuple[int, ...], output: str) -> str:
    kind = "" if output == "f16" else f" {output}"
    return f"{kind} tensors of (batch{''.join(f', {size}' for size in shape)})".lstrip()
