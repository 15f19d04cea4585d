"""The figures of a lookup, beside what the router really plans and sends."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persia import _core
from persia.batch import IDTypeFeature, PersiaBatch
from persia.config import EmbeddingConfig, SlotConfig
from persia.planning.shape import REQUEST_FRAME, Shape
from persia.routing.slots import make_slots

FEATURES, DIM = 6, 16
CONFIG = EmbeddingConfig(slots_config={f"feature{i}": SlotConfig(dim=DIM) for i in range(FEATURES)})
KINDS = {0: "rows", 1: "sums", 2: "halves"}


def batch_of(samples: int, ids: int, known: int) -> _core.Batch:
    drawn = np.random.default_rng(3).integers(0, known, (FEATURES, samples, ids)).astype(np.uint64)
    named = [IDTypeFeature(f"feature{i}", list(drawn[i])) for i in range(FEATURES)]
    return _core.decode_batch(PersiaBatch(named, requires_grad=False).to_bytes())


def shape_of(batch: _core.Batch, samples: int, ids: int, shards: int) -> Shape:
    signs = sum(len(request.signs) for request in _core.make_plan(batch, make_slots(CONFIG), 1).requests) / FEATURES
    return Shape(samples, FEATURES, ids, signs, DIM, shards)


@pytest.mark.parametrize(
    ("samples", "ids", "known", "shards"),
    [(1, 1, 10**6, 4), (128, 1, 10**6, 4), (128, 16, 10**6, 1), (128, 16, 10**6, 8), (8, 4, 10**6, 16), (64, 16, 100, 2)],
)
def test_columns_are_as_long_as_those_of_real_requests(samples: int, ids: int, known: int, shards: int) -> None:
    batch = batch_of(samples, ids, known)
    requests = [one for one in _core.make_plan(batch, make_slots(CONFIG), shards).requests if one.part_count]
    shape = shape_of(batch, samples, ids, shards)
    assert {KINDS[int(kind)] for one in requests for kind in one.parts[:, 1]} == {shape.kind}
    assert shape.asked == pytest.approx(len(requests), rel=0.25)
    assert shape.parts == pytest.approx(sum(one.part_count for one in requests), rel=0.15)
    columns = sum(one.parts.nbytes + one.signs.nbytes + one.sum_counts.nbytes + one.sum_samples.nbytes for one in requests)
    without_frames = shape.request_bytes - shape.asked * REQUEST_FRAME
    assert without_frames == pytest.approx(columns, rel=0.1)
    answers = sum(one.answer_size for one in requests) * 4
    assert shape.answer_numbers_bytes == pytest.approx(answers, rel=0.1)


def test_what_goes_to_a_middleware_is_as_long_as_a_real_id_part() -> None:
    for samples, ids in ((1, 1), (128, 1), (128, 16)):
        batch = batch_of(samples, ids, 10**6)
        sent, back = shape_of(batch, samples, ids, 1).forward_bytes
        assert sent - REQUEST_FRAME == pytest.approx(len(batch.encode_ids()), rel=0.1)
        assert back >= 2 * samples * FEATURES * DIM


@given(st.integers(1, 500), st.integers(1, 50), st.integers(1, 40), st.integers(1, 3000))
def test_more_shards_are_asked_for_no_less(samples: int, features: int, ids: int, shards: int) -> None:
    one, more = (Shape(samples, features, ids, samples * ids, 16, count) for count in (shards, shards + 1))
    assert 1 - 1e-9 <= one.asked <= min(shards, features * samples * ids) + 1e-6
    assert one.asked <= more.asked + 1e-6
    assert one.parts <= more.parts + 1e-6
    assert one.request_bytes <= more.request_bytes * (1 + 1e-9) or one.kind != more.kind
