"""One run of the model for several requests, where the archive allows it (`merge: model`) and the model bears it out.

Even a model that treats each sample by itself rounds differently in company: a product of matrices sums up in another order for
another number of rows. So this is not done unless it is asked for. And a model may look at its whole batch (a softmax over the
samples, statistics of the batch), which cannot be told from the outside. So it is tried: the first shared lookups, and one
now and then, are run together and one by one, and the answers have to be the same but for rounding.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from persia.dense.outputs import named_outputs
from persia.errors import PersiaError
from persia.handlers.request_lookups import SharedFeatures, SharedLookup

__all__ = ["MergedRuns"]

log = logging.getLogger(__name__)

TRIALS = 3  # that have to agree before shared lookups are run at once only
RUNS_UNTIL_NEXT_TRIAL = 1000
RELATIVE, ABSOLUTE = 1e-3, 1e-5  # what rounding may change; f16 inside of the model has 11 bits

_Model = Callable[[list[torch.Tensor], list[torch.Tensor]], Any]


class MergedRuns:
    """Of one model. For one thread."""

    def __init__(self) -> None:
        self._differs = False
        self._agreed = 0  # trials
        self._runs = 0  # since the last of them

    def answers(self, model: _Model, data: Sequence[Any]) -> list[Any]:
        """What the model answers to each. Features that share no lookup with others are run by themselves."""
        answers: dict[int, Any] = {}
        for shared, members in _members(data).items():
            if shared is not None and len(members) == len(shared.sizes):
                answers.update(zip(members, self._answers_of(model, shared, [data[i] for i in members]), strict=True))
            else:
                answers.update((i, _alone(model, data[i])) for i in members)
        return [answers[i] for i in range(len(data))]

    def _answers_of(self, model: _Model, shared: SharedLookup, data: Sequence[Any]) -> Sequence[Any]:
        if not self._differs and self._agreed >= TRIALS and self._runs < RUNS_UNTIL_NEXT_TRIAL:
            self._runs += 1
            return _at_once(model, shared)
        alone = [_alone(model, features) for features in data]
        if not self._differs:
            self._try(model, shared, alone)
        return alone

    def _try(self, model: _Model, shared: SharedLookup, alone: Sequence[Any]) -> None:
        try:
            agrees, why = all(map(_close, alone, _at_once(model, shared))), "other scores"
        except Exception as error:  # each was well by itself
            agrees, why = False, str(error)
        if agrees:
            self._agreed, self._runs = self._agreed + 1, 0
        else:
            self._differs = True
            log.warning(
                "expected a model that answers each sample by itself, as the setting `merge: model` says, got this for %d "
                "requests at once: %s; from now on each is run by itself",
                len(alone),
                why,
            )


def _alone(model: _Model, features: Any) -> Any:
    return model(features.dense, features.embeddings)


def _members(data: Sequence[Any]) -> Mapping[SharedLookup | None, list[int]]:
    members: dict[SharedLookup | None, list[int]] = {}
    for i, features in enumerate(data):
        shared = features.shared if isinstance(features, SharedFeatures) else None
        members.setdefault(shared, []).append(i)
    return members


def _at_once(model: _Model, shared: SharedLookup) -> list[Any]:
    """The rows of each request. Raises PersiaError unless each output has a row for each sample."""
    answer = model(shared.dense, shared.embeddings)
    outputs = named_outputs(answer)
    samples = sum(shared.sizes)
    for name, tensor in outputs.items():
        if tensor.dim() == 0 or tensor.size(0) != samples:
            raise PersiaError(f"expected {samples} rows of the output {name or ''}, got the shape {list(tensor.shape)}")
    rows = zip(*(tensor.split(list(shared.sizes)) for tensor in outputs.values()), strict=True)
    return [_like(answer, tensors) for tensors in rows]


def _like(answer: Any, tensors: Sequence[torch.Tensor]) -> Any:
    """The same kind of answer, of other tensors."""
    if isinstance(answer, torch.Tensor):
        return tensors[0]
    if isinstance(answer, Mapping):
        return dict(zip(answer, tensors, strict=True))
    return type(answer)(*tensors) if hasattr(answer, "_fields") else type(answer)(tensors)


def _close(one: Any, other: Any) -> bool:
    outputs, others = named_outputs(one), named_outputs(other)
    return outputs.keys() == others.keys() and all(
        tensor.shape == others[name].shape
        and torch.allclose(tensor, others[name], rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True)
        for name, tensor in outputs.items()
    )
