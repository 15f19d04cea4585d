"""What a dense model gives for samples, in a form in which two models can be compared."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from persia.torchserve.archive.compare.agreement import Answers, order_of

__all__ = ["answers_of_outputs"]


def answers_of_outputs(outputs: Mapping[str | None, torch.Tensor]) -> Answers:
    """Of one number a sample, what counts is the order of the samples; of several, which one is the greatest."""
    decisions: list[int] = []
    numbers = []
    for output in outputs.values():
        array = output.detach().float().cpu().numpy()
        rows = array.reshape(len(array) if array.ndim else 1, -1)
        decisions += order_of(rows) if rows.shape[1] == 1 else rows.argmax(axis=1).tolist()
        numbers.append(rows.reshape(-1))
    return Answers(decisions or [0], np.concatenate(numbers), numbers)
