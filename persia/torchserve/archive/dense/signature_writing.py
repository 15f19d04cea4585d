"""The signature of a model: from an embedding config, the names of its features, and what it was tried on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from persia.batch import NonIDTypeFeature
from persia.config import EmbeddingConfig
from persia.errors import FeatureError, InvalidInput
from persia.signature import DenseSignature, FeatureSignature, IdKind, OutputSignature, Signature
from persia.signature_dense import nearest

__all__ = ["check_features", "signature_of"]

_Array = npt.NDArray[Any]


def check_features(features: Sequence[str], config: EmbeddingConfig) -> None:
    """Raises InvalidInput unless the features are different slots of the embedding config."""
    for i, name in enumerate(features):
        if name not in config.slots:
            raise InvalidInput(f"--features: the embedding config has no slot {name!r}{nearest(name, config.slots)}")
        if name in features[:i]:
            raise InvalidInput(f"--features: {name!r} stands there twice, expected it once")


def signature_of(
    config: EmbeddingConfig,
    features: Sequence[str],
    *,
    embeddings: Sequence[_Array] | None = None,
    dense: Sequence[tuple[str | None, _Array]] | None = None,
    outputs: Sequence[tuple[str | None, _Array]] = (),
    allow_nan: bool = False,
    single: Collection[str] = (),
    ids: Mapping[str, IdKind] | None = None,
) -> Signature:
    """The signature of a model that takes the features in this order.

    embeddings, dense, outputs: what the model was tried with, and what it answered; None: it was not tried. single: features of
    which each sample has exactly one id. ids: what callers send as ids, by feature. Raises FeatureError where the sample does
    not fit the config, or may not be what it is; InvalidInput.
    """
    for name in (*single, *(ids or {})):
        if name not in features:
            option = "--single" if name in single else "--ids"
            raise InvalidInput(f"{option}: the model takes no feature {name!r}{nearest(name, features)}")
    taken = [_feature(FeatureSignature.of(config.slots[name]), name in single, (ids or {}).get(name)) for name in features]
    for feature, embedding in zip(taken, embeddings or (), strict=embeddings is not None):
        if embedding.shape[1:] != feature.tensor_shape:
            expected = f"tensors of (batch, {', '.join(map(str, feature.tensor_shape))}) as the embedding config has them"
            raise FeatureError(feature.name, f"expected {expected}, got {embedding.shape} in the sample")
    samples = len(embeddings[0]) if embeddings else None
    return Signature(
        features=tuple(taken),
        dense=tuple(_dense(name, array, allow_nan) for name, array in dense or ()),
        dense_known=dense is not None,
        outputs=_outputs(outputs, samples),
        embedding_config=config.fingerprint,
    )


def _feature(of_config: FeatureSignature, single: bool, ids: IdKind | None) -> FeatureSignature:
    return msgspec.structs.replace(of_config, single=single, ids=ids)


def _dense(name: str | None, array: _Array, allow_nan: bool) -> DenseSignature:
    shown = name or NonIDTypeFeature.DEFAULT_NAME
    if array.dtype.kind == "f" and not allow_nan and not np.isfinite(array).all():
        raise FeatureError(
            shown, "the sample has NaN or infinity in this dense tensor: give --allow-nan if the model takes them"
        )
    return DenseSignature(name=shown, shape=tuple(array.shape[1:]), dtype=array.dtype.name, nan_allowed=allow_nan)


def _outputs(outputs: Sequence[tuple[str | None, _Array]], samples: int | None) -> tuple[OutputSignature, ...]:
    """None where an output does not have a row for each sample, whose shape says nothing about another batch."""
    if any(array.ndim == 0 or len(array) != samples for _, array in outputs):
        return ()
    return tuple(OutputSignature(name=name, shape=tuple(array.shape[1:]), dtype=array.dtype.name) for name, array in outputs)
