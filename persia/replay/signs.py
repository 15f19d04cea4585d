"""From a batch to what each shard is asked, as routers plan it, and from tables to the tensors of a lookup."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from persia import _core
from persia.routing.lookup import Lookup, OnBuffers

__all__ = ["look_up", "signs_of_plan"]

_MOST_NUMBERS = 1 << 29  # of an answer: what was answered before is answered again


def signs_of_plan(plan: _core.Plan) -> npt.NDArray[np.uint64]:
    """All signs that some shard is asked for."""
    return np.concatenate([np.zeros(0, np.uint64), *(request.signs for request in plan.requests)])


def look_up(
    plan: _core.Plan,
    batch: _core.Batch,
    snapshots: Sequence[_core.Snapshot],
    missing: Collection[int],
    on_buffers: OnBuffers | None = None,
) -> Lookup:
    """The lookup of a batch. missing: the shards that did not answer, whose rows are zeros."""
    numbers, shapes = plan.room()
    if on_buffers is not None:
        on_buffers(numbers, shapes)
    answers: list[npt.NDArray[np.float32] | None] = []
    misses: list[bytes | None] = []
    absent = wrong_dim = 0
    for shard, request in enumerate(plan.requests):
        if shard in missing:
            answers.append(None)
            misses.append(None)
            continue
        columns = (request.parts, request.signs, request.sum_counts, request.sum_samples)
        parts, signs, sum_counts, sum_samples = (column.tobytes() for column in columns)
        asked = (parts, signs, sum_counts, sum_samples, _MOST_NUMBERS)
        values, no_row, other_dim, by_part = _core.answer(snapshots[shard], *asked)
        answers.append(values)
        misses.append(by_part)
        absent, wrong_dim = absent + no_row, wrong_dim + other_dim
    plan.assemble(answers, numbers)
    return Lookup(
        numbers=numbers,
        shapes=shapes,
        versions=[0] * len(plan.requests),
        absent=absent,
        wrong_dim=wrong_dim,
        missing_shards=sorted(missing),
        rpc_seconds=0.0,
        batch=batch,
        counts=plan.count(misses, _core.FeatureCounts(plan.feature_names)),
    )
