"""A sample as servers get it, and what its embeddings must be: computed from the tables alone, slowly and in plain numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
import numpy.typing as npt

from persia import _core
from persia.batch import PersiaBatch
from persia.errors import ExportError

from .checkpoint import SampleRows
from .features import UsedFeature
from .tables import U64, Table

__all__ = ["Expected", "Sample", "batch_bytes", "named_outputs"]

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Expected:
    """What a feature's embeddings must be, before they are rounded to f16, and how far f32 sums may be from that."""

    values: F64
    slack: F64


class Sample:
    """A decoded byte batch. Its features stand in the order of the model."""

    def __init__(self, data: bytes, features: list[UsedFeature]) -> None:
        """Raises ExportError for a sample that cannot show whether all features are served right."""
        self.data = data
        self.features = features
        batch = _core.decode_batch(data)
        self.dense = list(batch.dense)
        self._ids = dict(zip((feature.name for feature in batch.features), batch.features, strict=True))
        for feature in features:
            self._check(feature)

    @property
    def size(self) -> int:
        return next(iter(self._ids.values())).batch_size

    def wanted(self) -> dict[Table, U64]:
        """The ids of each table, of all features that use it."""
        wanted: dict[Table, list[U64]] = {}
        for feature in self.features:
            wanted.setdefault(feature.table, []).append(self._ids[feature.name].ids)
        return {table: np.concatenate(ids) for table, ids in wanted.items()}

    def ids_with_rows(self, feature: UsedFeature, rows: Mapping[Table, SampleRows]) -> tuple[int, int]:
        """How many distinct ids the feature has in the sample, and how many of these have a row."""
        table = rows[feature.table]
        found = table.found[table.places(self._ids[feature.name].ids)]
        return len(found), int(found.sum())

    def is_single(self, feature: UsedFeature) -> bool:
        """Whether each sample has exactly one id by the model's nature: nothing says what no id, or several, would mean."""
        return not feature.chosen and not feature.padded and bool((self._ids[feature.name].ids_per_sample == 1).all())

    def not_tried(self) -> tuple[str, ...]:
        """What the sample does not show of its features, in words."""
        found = []
        for feature in self.features:
            most = int(self._ids[feature.name].ids_per_sample.max())
            if feature.length is not None and most <= feature.length:
                found.append(f"feature `{feature.name}`: no sample has more than {feature.length} ids: `keep` was not tried")
            elif feature.length is None and feature.chosen and most <= 1:
                found.append(f"feature `{feature.name}`: no sample has more than one id: pooling was not tried")
        return tuple(found)

    def expected(self, feature: UsedFeature, rows: Mapping[Table, SampleRows]) -> Expected:
        """The feature's embeddings, (batch, dim) or (batch, length, dim + 1)."""
        ids = self._ids[feature.name]
        samples, columns = np.asarray(ids.positions, np.int64).reshape(-1, 2).T
        table = rows[feature.table]
        places = table.places(ids.ids).repeat(np.diff(ids.offsets).astype(np.int64))
        values = table.rows[places].astype(np.float64)
        counts = ids.ids_per_sample.astype(np.int64)
        if feature.pooling == "raw":
            return _raw(feature, values, samples, columns, counts)
        weights = np.ones(len(values))
        if ids.weights is not None:
            weights = ids.weights[(np.cumsum(counts) - counts)[samples] + columns].astype(np.float64)
        return _pooled(feature, values, weights, samples, len(counts))

    def _check(self, feature: UsedFeature) -> None:
        ids = self._ids.get(feature.name)
        if ids is None:
            have = ", ".join(self._ids)
            raise ExportError(f"the sample has no feature `{feature.name}`: it has {have}")
        if not len(ids.ids):
            raise ExportError(f"the sample has no id of feature `{feature.name}`, so it shows nothing about this feature")
        if feature.weighted and ids.weights is None:
            raise ExportError(f"feature `{feature.name}` is weighted, and `weights` has none for it")
        if not feature.chosen and ids.ids_per_sample.max() > 1:
            raise ExportError(
                f"feature `{feature.name}` has samples of several ids, and nothing says what becomes of their rows: give it a "
                "pooling (sum, mean, sqrtn), or a length for rows that stay apart"
            )


def _pooled(feature: UsedFeature, values: F64, weights: F64, samples: npt.NDArray[np.int64], count: int) -> Expected:
    sums = np.zeros((2, count, feature.table.dim))
    weighted = values * weights[:, np.newaxis]
    np.add.at(sums[0], samples, weighted)
    np.add.at(sums[1], samples, np.abs(weighted))
    divisor: F64 = np.ones(count)
    if feature.pooling == "mean":
        divisor = np.bincount(samples, weights, count).astype(np.float64)
    elif feature.pooling == "sqrtn":
        divisor = np.sqrt(np.bincount(samples, weights**2, count))
    # A sample without ids, or whose weights are zero, gives zeros.
    sums /= np.where(divisor == 0, np.inf, divisor)[:, np.newaxis]
    return Expected(sums[0], np.abs(sums[1]) * 1e-6)


def _raw(
    feature: UsedFeature,
    values: F64,
    samples: npt.NDArray[np.int64],
    columns: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
) -> Expected:
    assert feature.length is not None
    if feature.keep == "last":
        columns = columns - np.maximum(counts - feature.length, 0)[samples]
    kept = (columns >= 0) & (columns < feature.length)
    out = np.zeros((len(counts), feature.length, feature.table.dim + 1))
    out[samples[kept], columns[kept], :-1] = values[kept]
    out[samples[kept], columns[kept], -1] = 1
    return Expected(out, np.zeros(1))


def named_outputs(outputs: Any) -> dict[str, npt.NDArray[Any]]:
    """What a model answers, as arrays by name: a tensor alone is `scores`. Raises ExportError."""
    if isinstance(outputs, Mapping):
        named = {str(name): value for name, value in outputs.items()}
    elif isinstance(outputs, (tuple, list)):
        names = getattr(outputs, "_fields", None) or [f"output{i}" for i in range(len(outputs))]  # as the handler names them
        named = dict(zip(names, outputs, strict=True))
    else:
        named = {"scores": outputs}
    arrays = {}
    for name, value in named.items():
        array = value.detach().cpu().float().numpy() if hasattr(value, "detach") else np.asarray(value)
        if array.dtype.kind not in "fiub":
            raise ExportError(f"expected tensors of scores from the model, got {type(value).__name__}")
        if not np.isfinite(array).all():
            raise ExportError(f"the model answers NaN or infinity for the sample, in `{name}`")
        arrays[name] = array
    return arrays


def batch_bytes(
    names: list[str], sample: Mapping[str, Any], dense: Mapping[str, Any] | None, weights: Mapping[str, Any] | None
) -> bytes:
    """The sample as a byte batch, with the features in the order of the names. Raises ExportError, FeatureError."""
    if not isinstance(sample, Mapping):
        raise ExportError(f"expected the `sample` as a mapping of feature to ids, got {type(sample).__name__}")
    for what, given in (("sample", sample), ("weights", weights or {})):
        for name in given:
            if name not in names:
                near = get_close_matches(name, names, 1)
                hint = f"did you mean `{near[0]}`?" if near else f"the features are {', '.join(names)}"
                raise ExportError(f"`{what}` has `{name}`, which is no feature of the model: {hint}")
    ordered = {name: sample[name] for name in names if name in sample}
    if not ordered:
        raise ExportError("`sample` is empty: give ids of some samples for each feature")
    return PersiaBatch.from_dict(ordered, dense, weights=weights, requires_grad=False).to_bytes()
