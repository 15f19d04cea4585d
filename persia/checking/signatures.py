"""The signature of a dense model against the embedding config and a sample: the same features, dense tensors and rules?"""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from persia.checking.report import Report
from persia.checking.samples import Sample
from persia.config import EmbeddingConfig
from persia.config.slots_match import slot_problems
from persia.errors import InvalidInput
from persia.signature import Signature
from persia.signature_check import SignatureCheck

__all__ = ["check_config", "dense_of"]


def check_config(report: Report, subject: str, signature: Signature, config: EmbeddingConfig) -> bool:
    """Whether every feature of the model is in the config, with the same dim, pooling and rule for signs."""
    problems = slot_problems(signature.features, config.slots)
    for problem in problems:
        advice = "use the embedding config that the model was trained with"
        report.fail("archive", subject, f"the embedding config is not the model's: {problem}", advice)
    return not problems


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
