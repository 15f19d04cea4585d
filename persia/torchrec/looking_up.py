"""What a model looks up: the embeddings of a sample, and what it does with ids before it asks a collection for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from persia.errors import ExportError

from .collections import Collection, TableSlot
from .jagged import raw_of

__all__ = ["embeddings_of", "with_id_rules"]

Forward = Callable[[Any], Any]  # the model's, of a KeyedJaggedTensor in the place of the sample's

_I32 = 1 << 31


def embeddings_of(forward: Forward, collections: Sequence[Collection], kjt: Any) -> tuple[list[Tensor], Any]:
    """What servers would give for the ids, slot by slot in float32, and what the model answers.

    Raises ExportError if a collection is not asked once, if weights are changed, or if a sequence is too long for its slot.
    """
    looked_up: dict[str, Any] = {}

    def keep(collection: Collection, args: Any, kwargs: Any, answer: Any) -> None:
        if collection.path in looked_up:
            raise ExportError(f"`{collection.path}` is asked twice in one forward; of a request it is asked once")
        _check_same_weights(collection, _first(args, kwargs), kjt)
        looked_up[collection.path] = answer[0] if collection.is_managed else answer

    hooks = [
        one.module.register_forward_hook(
            lambda _, args, kwargs, answer, one=one: keep(one, args, kwargs, answer), with_kwargs=True
        )
        for one in collections
    ]
    try:
        answer = forward(kjt)
    finally:
        for hook in hooks:
            hook.remove()
    for collection in collections:
        if collection.path not in looked_up:
            raise ExportError(f"the model's forward does not ask `{collection.path}`")
    return [_served(slot, looked_up[one.path]) for one in collections for slot in one.slots], answer


def with_id_rules(forward: Forward, collections: Sequence[Collection], kjt: Any) -> list[Collection]:
    """The collections, whose slots say what the model does with ids that their tables do not have.

    The model is asked for ids that its tables have, for larger ones and for negative ones, one of each feature in each sample,
    and for those of the sample. What it then asks its collections for is compared.

    Raises ExportError if a model looks up other ids in a way that no slot has: a request would get other rows.
    """
    sent: dict[str, list[Tensor]] = {}
    taken: dict[str, list[Tensor]] = {}
    for asked in _probes(collections, kjt):
        try:
            found = _asked(forward, collections, asked)
        except ExportError:
            raise
        except Exception:
            # Ids that the tables do not have, which the model may refuse itself.
            continue
        for one in collections:
            for slot in one.slots:
                before, after = asked.to_dict()[slot.feature], _key_of(found.get(one.path), slot)
                if after is None:
                    continue
                if not torch.equal(before.lengths(), after.lengths()):
                    raise _other_ids(slot, "it asks for other numbers of them than the sample has")
                sent.setdefault(slot.name, []).append(before.values().long())
                taken.setdefault(slot.name, []).append(after.values().long())
    return [
        one._replace(slots=tuple(_with_rule(slot, one.is_managed, sent, taken) for slot in one.slots)) for one in collections
    ]


def _with_rule(slot: TableSlot, is_managed: bool, sent: dict[str, list[Tensor]], taken: dict[str, list[Tensor]]) -> TableSlot:
    if slot.name not in sent:
        return slot
    ids, found = torch.cat(sent[slot.name]), torch.cat(taken[slot.name])
    inside = torch.ones_like(ids, dtype=torch.bool) if is_managed else (ids >= 0) & (ids < slot.rows)
    other = inside & (found != ids)
    if other.any():
        raise _other_ids(slot, f"for the id {int(ids[other][0])} it asks for {int(found[other][0])}")
    answered = ~inside & (found >= 0) & (found < slot.rows)  # others TorchRec would not find either
    if not answered.any():
        return slot
    ids, found = ids[answered], found[answered]
    if torch.equal(found, torch.remainder(ids, slot.rows)):
        return replace(slot, modulo=slot.rows)
    if bool((found == found[0]).all()):
        return replace(slot, default_id=int(found[0]), default=f"row {int(found[0])}")
    raise _other_ids(slot, f"for the id {int(ids[0])} it asks for {int(found[0])}, and the table has {slot.rows} rows")


def _probes(collections: Sequence[Collection], kjt: Any) -> Iterator[Any]:
    """The sample, and KeyedJaggedTensors like it with one id for each sample and feature.

    The ids next to both ends of a table are asked for by themselves, as models have other rules for them: -1 for what is
    unknown, 0 for padding.
    """
    yield kjt
    generator = torch.Generator().manual_seed(0)
    keys, size = kjt.keys(), len(kjt.lengths()) // max(len(kjt.keys()), 1)
    rows: dict[str, list[int]] = {key: [] for key in keys}
    for slot in (slot for one in collections for slot in one.slots):
        rows[slot.feature].append(slot.rows)
    largest = _I32 if kjt.values().dtype == torch.int32 else 1 << 62
    weights = torch.ones(len(keys) * size) if kjt.weights_or_none() is not None else None
    for pick in (min, max):  # of the tables that a feature has
        counts = [pick(rows[key], default=1) for key in keys]
        ranges = [[(0, count) for count in counts], [(count, largest) for count in counts], [(-largest, 0)] * len(keys)]
        ranges += [[(first, first + 1)] * len(keys) for first in (-1, 0)]
        ranges += [[(last, last + 1) for last in (count - 1 + more for count in counts)] for more in (0, 1)]
        for one_range in ranges:
            values = torch.cat([torch.randint(low, end, (size,), generator=generator) for low, end in one_range])
            values = values.to(kjt.values().dtype)
            lengths = torch.ones(len(keys) * size, dtype=kjt.lengths().dtype)
            yield KeyedJaggedTensor(keys=keys, values=values, lengths=lengths, weights=weights)


def _asked(forward: Forward, collections: Sequence[Collection], kjt: Any) -> dict[str, Any]:
    """What the model asks its collections for, by path. They look up the id 0 in the place of each id."""
    asked: dict[str, Any] = {}

    def keep(path: str, args: Any, kwargs: Any) -> Any:
        features = _first(args, kwargs)
        asked.setdefault(path, features)
        zeros = KeyedJaggedTensor(
            keys=features.keys(),
            values=torch.zeros_like(features.values()),
            lengths=features.lengths(),
            weights=features.weights_or_none(),
        )
        return ((zeros, *args[1:]), kwargs) if args else (args, {**kwargs, next(iter(kwargs)): zeros})

    with _before(collections, keep):
        forward(kjt)
    return asked


@contextmanager
def _before(collections: Sequence[Collection], keep: Callable[[str, Any, Any], Any]) -> Iterator[None]:
    hooks = [
        one.module.register_forward_pre_hook(lambda _, args, kwargs, path=one.path: keep(path, args, kwargs), with_kwargs=True)
        for one in collections
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _key_of(asked: Any, slot: TableSlot) -> Any:
    return None if asked is None else asked.to_dict().get(slot.feature)


def _first(args: Any, kwargs: Any) -> Any:
    return args[0] if args else next(iter(kwargs.values()))


def _served(slot: TableSlot, answer: Any) -> Tensor:
    found: Any = answer[slot.embedding]
    if slot.room is None:
        pooled: Tensor = found.float()
        return pooled
    longest = int(found.lengths().max()) if len(found.lengths()) else 0
    if longest > slot.room:
        raise ExportError(f"a sample of `{slot.name}` has {longest} ids, and max_length says {slot.room}")
    return raw_of(found, slot.room)


def _check_same_weights(collection: Collection, asked: Any, kjt: Any) -> None:
    """A slot has the weights of the request; a model that makes them itself would get others."""
    sent, taken = kjt.to_dict(), asked.to_dict()
    for feature in dict.fromkeys(slot.feature for slot in collection.slots):
        if feature not in sent:
            raise ExportError(f"the model looks up `{feature}`, which it makes itself: the sample has no such key")
        weights, others = sent[feature].weights_or_none(), taken[feature].weights_or_none()
        if collection.slots[0].weighted and (weights is None or not torch.equal(weights, others)):
            raise ExportError(
                f"the model makes the weights of `{feature}` itself before it looks them up. Take that out of the model, and "
                "have clients send the weights"
            )


def _other_ids(slot: TableSlot, how: str) -> ExportError:
    return ExportError(
        f"the model changes the ids of `{slot.feature}` before it looks them up: {how}. Take that out of the model, and have "
        "clients send the ids as they are looked up"
    )
