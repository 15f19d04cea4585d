"""Where an answer and the kept one are not the same, in words and in numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from persia.errors import PersiaError
from persia.receipts.receipt import Receipt, decode_kept_scores
from persia.torchserve.details import Details

__all__ = ["Outcome", "Summary", "distances", "explain", "unconfirmed"]

_SCORES = "scores"  # what a lone output is called
_COUNTS = ("ids", "new ids", "ids of another dim", "ids cut")


@dataclass(frozen=True)
class Outcome:
    """Of one kept answer. `problem`: why it cannot be made again; else `difference` says in words what is not the same.

    `largest` and `mean` are of the differences between its scores and the kept ones; infinite where there are not as many.
    `remarks`: what the receipt says and the replay does not, while the scores may be the same.
    """

    place: str
    model: str
    problem: PersiaError | OSError | None = None
    difference: str = ""
    largest: float = 0.0
    mean: float = 0.0
    remarks: tuple[str, ...] = ()

    @property
    def is_same(self) -> bool:
        """Byte for byte."""
        return self.problem is None and not self.difference


@dataclass
class Summary:
    """Of many answers."""

    same: int = 0
    different: list[Outcome] = field(default_factory=list)
    failed: list[Outcome] = field(default_factory=list)
    remarked: list[Outcome] = field(default_factory=list)  # of those that could be made, those with remarks

    def add(self, outcome: Outcome) -> None:
        if outcome.remarks:
            self.remarked.append(outcome)
        if outcome.problem is not None:
            self.failed.append(outcome)
        elif outcome.difference:
            self.different.append(outcome)
        else:
            self.same += 1

    @property
    def answers(self) -> int:
        return self.same + len(self.different) + len(self.failed)

    @property
    def largest(self) -> float:
        """The largest difference between two scores."""
        return max((outcome.largest for outcome in self.different), default=0.0)

    @property
    def mean(self) -> float:
        """The mean of what the scores of an answer differ by, over all answers that could be made."""
        made = self.same + len(self.different)
        return sum(outcome.mean for outcome in self.different) / made if made else 0.0

    def worst(self, count: int) -> list[Outcome]:
        """The answers with the largest differences, the largest first."""
        return sorted(self.different, key=lambda outcome: -outcome.largest)[:count]


def distances(receipt: Receipt, scores: bytes) -> tuple[float, float]:
    """The largest and the mean difference between scores and the kept ones. Raises PersiaError for what are no scores."""
    before, now = _outputs(receipt.scores_format, receipt.scores), _outputs(receipt.scores_format, scores)
    if {name: array.size for name, array in before.items()} != {name: array.size for name, array in now.items()}:
        return float("inf"), float("inf")
    apart = [np.abs(now[name].astype(np.float64).reshape(-1) - array.reshape(-1)) for name, array in before.items()]
    both = np.concatenate([np.zeros(0), *apart])
    both = np.where(np.isnan(both), np.inf, both)  # a score is a number in one of them alone
    return (float(both.max()), float(both.mean())) if len(both) else (0.0, 0.0)


def explain(receipt: Receipt, scores: bytes, details: Details) -> str:
    """What is not the same; empty: nothing."""
    if scores == receipt.scores:
        return ""
    return "; ".join([*_of_features(receipt, details), *_of_scores(receipt, scores)])


def unconfirmed(receipt: Receipt, details: Details) -> tuple[str, ...]:
    """What a receipt says that decides nothing in a replay, and that the answer's own details do not say."""
    told = {
        "release": (receipt.release, details.release),
        "model": (receipt.model, details.model),
        "model_version": (receipt.model_version, details.model_version),
    }
    others = (f"{name} {kept} was kept, {now} has replayed it" for name, (kept, now) in told.items() if kept != now)
    return *others, *_of_features(receipt, details)


def _of_features(receipt: Receipt, details: Details) -> Iterator[str]:
    """The features whose ids fared otherwise, with which the rows must be others."""
    if receipt.features.keys() != details.features.keys():
        yield f"the features {', '.join(receipt.features)} were kept, {', '.join(details.features)} are replayed"
    for name, before in receipt.features.items():
        found = details.features.get(name)
        now: Sequence[int] = () if found is None else (found.ids, found.new_ids, found.wrong_dim, found.cut)
        for what, then, here in zip(_COUNTS, before, now, strict=False):
            if then != here:
                yield f"feature {name}: {then} {what} were kept, {here} are replayed"
                break


def _of_scores(receipt: Receipt, scores: bytes) -> Iterator[str]:
    """The first number that differs."""
    try:
        before, now = _outputs(receipt.scores_format, receipt.scores), _outputs(receipt.scores_format, scores)
    except PersiaError as error:
        yield str(error)
        return
    for name, array in before.items():
        if name not in now or now[name].shape != array.shape:
            shape = list(now[name].shape) if name in now else "none"
            yield f"output {name}: the shape {list(array.shape)} was kept, {shape} is replayed"
            return
        differs = ~((array == now[name]) | (np.isnan(array) & np.isnan(now[name])))
        if differs.any():
            at = tuple(int(i) for i in np.argwhere(differs)[0])
            place = "".join(f"[{i}]" for i in at)
            count = f"{int(differs.sum())} of {array.size} numbers"
            yield f"output {name}: {count} differ, first {name}{place}: {array[at]} was kept, {now[name][at]} is replayed"
            return
    yield f"the numbers are the same, and their bytes are not: {len(receipt.scores)} were kept, {len(scores)} are replayed"


def _outputs(scores_format: str, scores: bytes) -> Mapping[str, npt.NDArray[Any]]:
    """Raises PersiaError."""
    decoded = decode_kept_scores(scores_format, scores)
    return decoded if isinstance(decoded, dict) else {_SCORES: decoded}
