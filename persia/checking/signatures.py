"""The signature of a dense model against the embedding config and a sample: the same features, dense tensors and rules?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from persia.checking.report import Report
from persia.checking.samples import Sample
from persia.config import EmbeddingConfig, Slot
from persia.signature import DenseSignature, FeatureSignature, Signature

__all__ = ["check_config", "check_sample_fits", "dense_in_order", "pooling_of"]

_Array = npt.NDArray[Any]


def check_config(report: Report, subject: str, signature: Signature, config: EmbeddingConfig) -> bool:
    """Whether every feature of the model is in the config, with the same dim, pooling and rule for signs."""
    fits = True
    for feature in signature.features:
        slot = config.slots.get(feature.name)
        if slot is None:
            advice = "serve it with the embedding config that it was trained with, or pack the model for this one"
            report.fail("archive", subject, f"the model takes {feature.name}, which the embedding config does not have", advice)
            fits = False
        elif differences := _differences(feature, slot):
            text = f"{feature.name}: {'; '.join(differences)}"
            report.fail("archive", subject, text, _advice(differences), feature=feature.name)
            fits = False
    return fits


def check_sample_fits(report: Report, subject: str, signature: Signature, sample: Sample) -> bool:
    """Whether the sample has the features and dense tensors that the model takes."""
    problems = []
    sent = [feature.name for feature in sample.batch.features]
    taken = [feature.name for feature in signature.features]
    if missing := [name for name in taken if name not in sent]:
        problems.append(f"it lacks {', '.join(missing)}")
    if unknown := [name for name in sent if name not in taken]:
        problems.append(f"the model does not know {', '.join(unknown)}")
    if getattr(signature, "dense_known", True):  # without a sample, an archive is packed without its dense tensors
        dense = _dense_of(sample, signature)
        if len(dense) != len(signature.dense):
            problems.append(f"expected {len(signature.dense)} dense tensors, got {len(dense)}")
        else:
            problems += _dense_problems(signature.dense, dense_in_order(sample, signature))
    for problem in problems:
        advice = "send requests as the sample that the model was packed with"
        report.fail("archive", subject, f"the sample does not fit the model: {problem}", advice)
    return not problems


def dense_in_order(sample: Sample, signature: Signature) -> list[_Array]:
    """The dense tensors in the model's order: by name if all have one, else by their place."""
    dense = _dense_of(sample, signature)
    names = [name for name, _ in dense]
    wanted = [tensor.name for tensor in signature.dense]
    if len(set(wanted)) == len(wanted) == len(set(names)) and set(wanted) == set(names):
        by_name = dict(dense)
        return [by_name[name] for name in wanted]
    return [array for _, array in dense]


def pooling_of(slot: Slot) -> str:
    """By its name in a signature."""
    if pooling := getattr(slot, "pooling", None):
        return str(pooling)
    return ("sqrtn" if slot.sqrt_scaling else "sum") if slot.embedding_summation else "raw"


def _dense_of(sample: Sample, signature: Signature) -> list[tuple[str, _Array]]:
    """Without the weights of ids, which the model does not see."""
    weights = {f"{feature.name}.weights" for feature in signature.features if feature.weighted}
    named = zip(sample.batch.dense_names, sample.batch.dense, strict=True)
    return [(name or "", array) for name, array in named if name not in weights]


def _dense_problems(signatures: Sequence[DenseSignature], arrays: Sequence[_Array]) -> list[str]:
    problems = []
    for place, (wanted, array) in enumerate(zip(signatures, arrays, strict=True)):
        name = f"dense {wanted.name or place}"
        if tuple(array.shape[1:]) != wanted.shape:
            problems.append(f"{name}: expected shape {_shape(wanted.shape)} of a sample, got {_shape(array.shape[1:])}")
        elif array.dtype.name != wanted.dtype and not np.can_cast(array.dtype, wanted.dtype) and array.dtype != np.float64:
            problems.append(f"{name}: expected {wanted.dtype}, got {array.dtype}")
        elif array.dtype.kind == "f" and not wanted.nan_allowed and np.isnan(array).any():
            problems.append(f"{name}: expected no NaN, got {int(np.isnan(array).sum())}")
    return problems


def _differences(feature: FeatureSignature, slot: Slot) -> list[str]:
    """What the model was trained with, against what the config has."""
    pairs: list[tuple[str, Any, Any]] = [
        ("dim", feature.dim, slot.dim),
        ("pooling", feature.pooling, pooling_of(slot)),
        ("weighted", feature.weighted, bool(getattr(slot, "weighted", False))),
        ("feature_index_prefix_bit", feature.prefix_bits, slot.prefix_bits),
        ("prefix", hex(feature.prefix), hex(slot.prefix)),
        ("hash_stack_rounds", feature.hash_stack_rounds, slot.hash_stack_rounds),
        ("hash stack size", feature.hash_stack_size, slot.hash_stack_size),
    ]
    if feature.pooling == pooling_of(slot) == "raw":
        pairs.append(("sample_fixed_size", feature.length, slot.sample_fixed_size))
    return [f"the model was tried with {name} {wanted}, the config has {got}" for name, wanted, got in pairs if wanted != got]


def _advice(differences: Sequence[str]) -> str:
    if any("with prefix 0x" in text for text in differences):
        return "a group or slot was inserted, removed or moved before it since: use the embedding config of the training"
    return "use the embedding config that the model was trained with, or pack the model for this one"


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) if shape else "one number"
