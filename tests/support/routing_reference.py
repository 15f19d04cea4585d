"""From samples of ids to tensors, one id at a time: what planner, shards and assembly together are held against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from persia import _core
from persia.config import EmbeddingConfig, Slot
from persia.routing.lookup import split
from persia.signs import hash_string, shard_of, signs_of

Samples = Sequence[Sequence[int]]  # the ids of each sample
Rows = Mapping[int, np.ndarray]  # sign -> row

LARGEST = np.float32(65504)  # of f16


@dataclass
class Shards:
    """Which shards there are, and which of them do not answer."""

    count: int
    missing: frozenset[int] = frozenset()

    def answers(self, sign: int) -> bool:
        return int(shard_of(np.array([sign], np.uint64), self.count)[0]) not in self.missing


class Expected(NamedTuple):
    tensors: list[np.ndarray]
    counts: list[list[int]]  # of each feature: ids that were asked for, those without a row, those whose row has another dim

    @property
    def absent(self) -> int:
        return sum(count[1] for count in self.counts)

    @property
    def wrong_dim(self) -> int:
        return sum(count[2] for count in self.counts)


def feature_id(name: str) -> int:
    """What stands for a feature in a request."""
    return hash_string(name) & 0xFFFFFFFF


def signs_of_id(id: int, slot: Slot) -> list[int]:
    signs: list[int] = signs_of([id], slot)[:, 0].tolist()
    return signs


def row_of_id(id: int, slot: Slot, rows: Rows, shards: Shards) -> np.ndarray:
    """The sum over the rounds; for what there is not the default row, and zeros for what a missing shard may have."""
    total = np.zeros(slot.dim, np.float32)
    for sign in signs_of_id(id, slot):
        if shards.answers(sign):
            row = rows.get(sign)
            total += row if row is not None and len(row) == slot.dim else default_row(slot, rows, shards)
    return total


def default_row(slot: Slot, rows: Rows, shards: Shards) -> np.ndarray:
    if slot.default_id is not None:
        (sign,) = signs_of_id(slot.default_id, slot)
        row = rows.get(sign)
        if row is not None and len(row) == slot.dim and shards.answers(sign):
            return row
    return np.full(slot.dim, slot.default_value or 0, np.float32)


def to_half(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(values, -LARGEST, LARGEST), np.float16)


def to_output(values: np.ndarray, slot: Slot) -> np.ndarray:
    return values if slot.output == "f32" else to_half(values)


def pooled(samples: Samples, slot: Slot, rows: Rows, shards: Shards) -> np.ndarray:
    out = np.zeros((len(samples), slot.dim), np.float32)
    for i, ids in enumerate(samples):
        for id in ids:
            out[i] += row_of_id(id, slot, rows, shards)
        summands = np.float32(max(len(ids) * max(slot.hash_stack_rounds, 1), 1))
        if slot.pooling == "sqrtn":
            out[i] *= np.float32(1) / np.sqrt(summands)
        elif slot.pooling == "mean":
            out[i] = out[i] / summands if slot.output == "f32" else out[i] * (np.float32(1) / summands)
    return to_output(out, slot)


def raw(samples: Samples, slot: Slot, rows: Rows, shards: Shards) -> np.ndarray:
    out = np.zeros((len(samples), slot.sample_fixed_size, slot.dim + 1), np.float32)
    for i, ids in enumerate(samples):
        kept = ids[: slot.sample_fixed_size] if slot.keep == "first" else ids[-slot.sample_fixed_size :]
        for k, id in enumerate(kept):
            out[i, k, :-1] = row_of_id(id, slot, rows, shards)
            if slot.sqrt_scaling and slot.hash_stack_rounds > 1:
                out[i, k, :-1] *= np.float32(1) / np.sqrt(np.float32(slot.hash_stack_rounds))
            out[i, k, -1] = 1
    return to_output(out, slot)


def expected(features: Mapping[str, Samples], config: EmbeddingConfig, rows: Rows, shards: Shards) -> Expected:
    tensors, counts = [], []
    for name, samples in features.items():
        slot = config.slots[name]
        tensors.append((pooled if slot.embedding_summation else raw)(samples, slot, rows, shards))
        # Each distinct id is one question, and with a hash stack each distinct sign.
        distinct = sorted({id for ids in samples for id in ids})
        asked = [sign for id in distinct for sign in signs_of_id(id, slot)]
        answered = list(filter(shards.answers, set(asked) if slot.hash_stack_rounds else asked))
        wrong = sum(sign in rows and len(rows[sign]) != slot.dim for sign in answered)
        counts.append([len(answered), sum(sign not in rows for sign in answered), wrong])
    return Expected(tensors, counts)


def encode(features: Mapping[str, Samples]) -> _core.Batch:
    encoder = _core.BatchEncoder()
    for name, samples in features.items():
        encoder.add_id_lists(name, [np.array(ids, np.uint64) for ids in samples])
    return _core.decode_batch(encoder.to_bytes())


def load_shards(rows: Rows, count: int, storage: str = "f32") -> list[_core.Snapshot]:
    """A snapshot of each shard: every other row in its base, the rest in a layer that cannot be folded while it is pinned."""
    snapshots = []
    for index in range(count):
        builder, layer = _core.TableBuilder(storage), _core.Layer(storage)
        for k, (sign, row) in enumerate(rows.items()):
            into = layer if k % 2 else builder
            into.put(np.array([sign], np.uint64), row[np.newaxis], index, count)
        table = _core.Table(builder)
        before = table.pin()
        table.publish(layer)
        snapshots.append(table.pin())
        assert before.version + 1 == snapshots[-1].version
    return snapshots


def ask(snapshot: _core.Snapshot, request: _core.ShardRequest, max_numbers: int = 1 << 20) -> tuple[np.ndarray, int, int]:
    """The answer to a request whose columns went over a wire."""
    return ask_for_misses(snapshot, request, max_numbers)[:3]


def ask_for_misses(
    snapshot: _core.Snapshot, request: _core.ShardRequest, max_numbers: int = 1 << 20
) -> tuple[np.ndarray, int, int, bytes]:
    """As ask, and the misses of each part."""
    columns = (request.parts, request.signs, request.sum_counts, request.sum_samples)
    parts, signs, sum_counts, sum_samples = (column.tobytes() for column in columns)
    return _core.answer(snapshot, parts, signs, sum_counts, sum_samples, max_numbers)


def assert_within_one_ulp(got: np.ndarray, want: np.ndarray) -> None:
    """f16 arrays; halves in the order of their values are consecutive integers, once the sign is taken care of.

    f32 arrays are equal: what is not rounded does not depend on the order of exact sums.
    """

    def ordinal(halves: np.ndarray) -> np.ndarray:
        bits = halves.view(np.int16).astype(np.int32)
        return np.where(bits < 0, -(bits & 0x7FFF), bits)

    assert got.dtype == want.dtype
    assert got.shape == want.shape
    if want.dtype == np.float32:
        return np.testing.assert_array_equal(got, want)
    assert got.dtype == np.float16
    assert np.isfinite(got).all()
    assert np.abs(ordinal(got) - ordinal(want)).max(initial=0) <= 1


def assemble(plan: _core.Plan, answers: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    """The tensors of all features."""
    numbers, shapes = plan.room()
    numbers.fill(np.nan)  # what is not overwritten shall be seen
    plan.assemble(answers, numbers)
    return split(numbers, shapes)
