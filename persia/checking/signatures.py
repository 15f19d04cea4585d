"""The signature of a dense model against the embedding config and a sample: the same features, dense tensors and rules?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from persia.checking.report import Report
from persia.checking.samples import Sample
from persia.config import EmbeddingConfig
from persia.errors import InvalidInput
from persia.signature import FeatureSignature, Signature
from persia.signature_check import SignatureCheck

__all__ = ["check_config", "dense_of"]

_NAMES = {"prefix_bits": "feature_index_prefix_bit", "hash_stack_size": "hash stack size", "length": "sample_fixed_size"}


def check_config(report: Report, subject: str, signature: Signature, config: EmbeddingConfig) -> bool:
    """Whether every feature of the model is in the config, with the same dim, pooling and rule for signs."""
    fits = True
    for feature in signature.features:
        slot = config.slots.get(feature.name)
        if slot is None:
            advice = "serve it with the embedding config that it was trained with, or pack the model for this one"
            report.fail("archive", subject, f"the model takes {feature.name}, which the embedding config does not have", advice)
            fits = False
        elif differences := _differences(feature, FeatureSignature.of(slot)):
            text = f"{feature.name}: {'; '.join(differences)}"
            report.fail("archive", subject, text, _advice(differences), feature=feature.name)
            fits = False
    return fits


def dense_of(
    report: Report, subject: str, signature: Signature, sample: Sample, drop_extra: bool
) -> list[npt.NDArray[Any]] | None:
    """The sample's dense tensors as the model takes them; None where the handler would refuse the sample.

    drop_extra: the archive's setting, by which features that the model does not take are left out.
    """
    try:
        return SignatureCheck(signature, drop_extra).place(sample.batch)[1]
    except InvalidInput as error:
        advice = "send requests such as the sample that the model was packed with"
        report.fail("archive", subject, f"the sample does not fit the model: {error}", advice)
        return None


def _differences(tried: FeatureSignature, served: FeatureSignature) -> list[str]:
    """What the model was tried with, against what the config has."""
    pairs = [(name, getattr(tried, name), getattr(served, name)) for name in FeatureSignature.__struct_fields__]
    return [
        f"the model was tried with {_NAMES.get(name, name)} {_shown(name, wanted)}, the config has {_shown(name, got)}"
        for name, wanted, got in pairs
        if wanted != got and not (name == "length" and None in (wanted, got))  # which the pooling says already
    ]


def _shown(name: str, value: object) -> str:
    return hex(value) if name == "prefix" and isinstance(value, int) else str(value)


def _advice(differences: Sequence[str]) -> str:
    if any("with prefix 0x" in text for text in differences):
        return "a group or slot was inserted, removed or moved before it since: use the embedding config of the training"
    return "use the embedding config that the model was trained with, or pack the model for this one"
