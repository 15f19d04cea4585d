"""What the watch for drift finds, and that it finds nothing where there is nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from persia.drift.baseline import Baseline, baseline_of_windows, read_baseline, write_baseline
from persia.drift.classifier import area_under_curve, domain_auc
from persia.drift.counts import Labels, MeanVector, Rate
from persia.drift.distances import cosine_distance, jensen_shannon, psi
from persia.drift.ids import HEADS, WINDOW_HASHES, Distinct, Heads
from persia.drift.numbers import Numbers
from persia.drift.rows import WINDOW_ROWS, RowSample
from persia.drift.sketching import Texts, add_texts
from persia.drift.verdict import State, judge
from persia.drift.window import Window, packed, unpacked
from persia.errors import CorruptFile, InvalidInput
from tests.support.drift_streams import USUAL, Stream


@pytest.fixture(scope="module")
def baseline() -> Baseline:
    return baseline_of_windows(USUAL.windows(20, np.random.default_rng(1)))


def test_one_stream_gives_no_alarm_over_a_hundred_windows(baseline: Baseline) -> None:
    verdict = judge(baseline, USUAL.windows(100, np.random.default_rng(2)))
    states = {key: {reading.state for reading in readings} for key, readings in verdict.history.items()}
    assert not [key for key, seen in states.items() if State.DRIFT in seen]
    assert len(states) > 20
    assert {State.OK, State.TOO_FEW} >= states["numbers[0]", "not_finite"]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (Stream(shift=0.5), ("numbers[0]", "values")),
        (Stream(new=0.2), ("user", "new_ids")),
        (Stream(swap=True), ("score", "labels")),
        (Stream(missing=0.3), ("tags", "missing")),
        (Stream(nan=0.1), ("numbers[2]", "not_finite")),
        (Stream(shift=0.5), ("all inputs", "classifier")),
    ],
    ids=lambda value: str(value) if isinstance(value, tuple) else "",
)
def test_a_change_is_drift_within_three_windows(baseline: Baseline, stream: Stream, expected: tuple[str, str]) -> None:
    usual = USUAL.windows(5, np.random.default_rng(3))
    verdict = judge(baseline, [*usual, *stream.windows(3, np.random.default_rng(4))])
    assert expected in verdict.drifted
    assert verdict.state is State.DRIFT
    assert [reading.state for reading in verdict.history[expected]][-3:] == [State.WARN, State.WARN, State.DRIFT]


def test_it_takes_as_many_windows_in_a_row_as_one_says(baseline: Baseline) -> None:
    odd = Stream(shift=0.5).windows(4, np.random.default_rng(5))
    assert judge(baseline, odd[:1], in_a_row=1).state is State.DRIFT
    assert judge(baseline, odd, in_a_row=5).state is State.WARN
    usual = USUAL.windows(1, np.random.default_rng(6))
    assert judge(baseline, [*odd[:2], *usual, *odd[2:]]).state is State.WARN


def test_a_window_with_too_few_samples_says_so_and_does_not_end_a_row(baseline: Baseline) -> None:
    generator = np.random.default_rng(7)
    few = USUAL.add(Window(), generator, batches=1)
    verdict = judge(baseline, [few])
    assert verdict.state is State.TOO_FEW
    assert verdict.history["score", "scores"][0].value is None
    odd = Stream(shift=0.5).windows(3, generator)
    assert ("numbers[0]", "values") in judge(baseline, [odd[0], few, *odd[1:]]).drifted


def test_a_baseline_needs_windows_that_are_large_enough() -> None:
    generator = np.random.default_rng(8)
    windows = [*USUAL.windows(4, generator), USUAL.add(Window(), generator, batches=1)]
    with pytest.raises(InvalidInput, match=r"expected at least 5 windows of 500 samples or more .* got 4 such windows of 5"):
        baseline_of_windows(windows)


def test_a_baseline_is_a_file(baseline: Baseline, tmp_path: Path) -> None:
    path = tmp_path / "baseline.drift"
    write_baseline(path, baseline)
    again = read_baseline(path)
    windows = Stream(new=0.2).windows(3, np.random.default_rng(9))
    assert judge(again, windows).history == judge(baseline, windows).history
    data = path.read_bytes()
    assert len(data) < 200_000
    path.write_bytes(data[:-1])
    with pytest.raises(CorruptFile, match="expected the checksum of what follows"):
        read_baseline(path)
    path.write_bytes(packed("window", []))
    with pytest.raises(CorruptFile, match="expected a baseline, got a window"):
        read_baseline(path)
    path.write_bytes(packed("baseline", [1, 2]))
    with pytest.raises(CorruptFile, match="expected a baseline of this version"):
        read_baseline(path)


def test_windows_of_several_workers_are_that_of_one() -> None:
    parts = USUAL.windows(3, np.random.default_rng(10))
    one = Window(0.0, 3.0)
    generator = np.random.default_rng(10)
    for _ in range(3):
        USUAL.add(one, generator)
    merged = Window.merged(Window.of_parts(unpacked("window", packed("window", part.parts()), "")) for part in parts)
    assert (merged.samples, merged.begin, merged.end) == (one.samples, 0.0, 3.0)
    assert merged.sketches.keys() == one.sketches.keys()
    for key, sketch in one.sketches.items():
        other = merged.sketches[key]
        if isinstance(sketch, Numbers):
            assert isinstance(other, Numbers)
            assert (other.count, other.not_finite) == (sketch.count, sketch.not_finite)
            assert (other.mean, other.deviation) == pytest.approx((sketch.mean, sketch.deviation))
            edges = np.unique(sketch.quantiles([0.1, 0.5, 0.9]))
            np.testing.assert_allclose(other.shares(edges), sketch.shares(edges), atol=0.03)
        elif isinstance(sketch, Heads):
            assert isinstance(other, Heads)
            assert np.abs(other.shares(sketch.ids) - sketch.shares(sketch.ids))[:-1].max() <= 2 / HEADS
        else:
            assert other.parts() == sketch.parts()  # exactly: what is counted, and samples of hashes
    np.testing.assert_array_equal(np.sort(merged.rows.rows, 0), np.sort(one.rows.rows, 0))


def test_sketches_stay_small_however_much_comes() -> None:
    generator = np.random.default_rng(11)
    heads, distinct, numbers, rows, labels = Heads(), Distinct(), Numbers(), RowSample(), Labels()
    sizes = []
    for _ in range(200):
        ids = generator.integers(0, 1 << 62, 5000, np.uint64)
        heads.add(ids, np.ones(len(ids), np.int64))
        distinct.add(ids)
        numbers.add(generator.normal(size=5000))
        rows.add(["a", "b"], generator.random((5000, 2), np.float32), generator)
        labels.add([str(label) for label in ids[:50]])
        sizes.append(len(packed("size", [each.parts() for each in (heads, distinct, numbers, rows, labels)])))
    assert len(heads.ids) <= HEADS
    assert (len(distinct.hashes), len(rows.rows), len(labels.counts)) == (WINDOW_HASHES, WINDOW_ROWS, 101)
    assert max(sizes) < 20_000
    assert distinct.estimate == pytest.approx(1_000_000, rel=0.1)
    assert labels.total == 10_000


def test_heads_count_what_comes_often_to_within_their_error() -> None:
    generator = np.random.default_rng(12)
    ids = np.minimum(generator.zipf(1.2, 100_000), 10**6).astype(np.uint64)
    heads = Heads()
    for part in np.array_split(ids, 100):
        heads.add(*np.unique(part, return_counts=True))
    top = heads.most(20)
    assert top[0] == 1
    true = np.array([(ids == one).mean() for one in top])
    assert np.all(true - heads.shares(top)[:-1] <= 1 / (HEADS + 1))
    assert np.all(heads.shares(top)[:-1] <= true)


def test_distinct_says_which_share_is_new() -> None:
    reference, window = Distinct(16_384), Distinct()
    reference.add(np.arange(100_000, dtype=np.uint64))
    window.add(np.arange(90_000, 110_000, dtype=np.uint64))
    new, count = reference.new_in(window)
    assert count > 500
    assert new / count == pytest.approx(0.5, abs=0.07)
    assert reference.new_in(reference)[0] == 0


def test_texts_of_another_language_are_drift() -> None:
    generator = np.random.default_rng(13)

    def window(first: int, unknown: float) -> Window:
        made = Window()
        for _ in range(10):
            tokens = [first + np.minimum(generator.zipf(1.5, generator.integers(3, 20)), 200) for _ in range(SAMPLES)]
            for each in tokens:
                each[generator.random(len(each)) < unknown] = 0
            labels = generator.choice(["yes", "no"], SAMPLES, p=[0.7, 0.3])
            vectors = generator.normal(1, 1, (SAMPLES, 8)) * (1 if first == 100 else [1, -1] * 4)
            texts = Texts(tokens, labels, generator.random(SAMPLES), [False] * SAMPLES, vectors, unknown_token=0)  # type: ignore[arg-type]
            add_texts(made, texts, generator)
        return made

    SAMPLES = 100
    known = baseline_of_windows([window(100, 0.01) for _ in range(8)])
    assert judge(known, [window(100, 0.01) for _ in range(20)]).state in (State.OK, State.WARN)
    drifted = judge(known, [window(1000, 0.2) for _ in range(3)]).drifted
    assert {("token", "heads"), ("token", "new_ids"), ("text", "unknown_tokens"), ("vector", "direction")} <= set(drifted)
    assert ("label", "labels") not in drifted


def test_a_sketch_keeps_nothing_of_the_arrays_that_it_was_given() -> None:
    ids, counts, values = np.array([7], np.uint64), np.array([2]), np.array([0.5], np.float32)
    heads, distinct, numbers = Heads(), Distinct(), Numbers()
    heads.add(ids, counts)
    distinct.add(ids)
    numbers.add(values)
    expected = Distinct()
    expected.add(ids.copy())
    ids[0], counts[0], values[0] = 8, 3, 9.0
    assert (heads.ids.tolist(), heads.counts.tolist(), numbers.mean) == ([7], [2], 0.5)
    assert distinct.hashes.tolist() == expected.hashes.tolist()


def test_distances() -> None:
    p, q = np.array([0.5, 0.5]), np.array([0.9, 0.1])
    assert psi(p, p, 1000, 1000) == 0
    assert psi(p, q, 10**9, 10**9) == pytest.approx(0.4 * np.log(9), rel=1e-6)
    assert jensen_shannon(p, p) == 0
    assert jensen_shannon(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == pytest.approx(1.0)
    assert cosine_distance(np.array([1.0, 0.0]), np.array([0.0, 2.0])) == pytest.approx(1.0)
    assert cosine_distance(np.array([1.0, 1.0]), np.array([2.0, 2.0])) == pytest.approx(0.0)


def test_the_classifier_tells_a_shift_a_wider_spread_and_numbers_that_are_not_finite() -> None:
    generator = np.random.default_rng(14)
    reference = generator.normal(size=(1000, 5)).astype(np.float32)
    same = generator.normal(size=(300, 5)).astype(np.float32)
    assert domain_auc(reference, same) == pytest.approx(0.5, abs=0.06)
    shifted = same + np.array([1, 0, 0, 0, 0], np.float32)
    wider = same * np.array([1, 3, 1, 1, 1], np.float32)
    odd = same.copy()
    odd[:150, 2] = np.nan
    for other, least in ((shifted, 0.7), (wider, 0.65), (odd, 0.7)):
        assert domain_auc(reference, other) > least
    assert area_under_curve(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.0, 1.0, 0.0, 1.0])) == pytest.approx(0.75)
    assert area_under_curve(np.ones(4), np.array([0.0, 1.0, 0.0, 1.0])) == 0.5


def test_a_value_that_stands_for_many_is_seen_to_leave_either_way() -> None:
    windows = [Window() for _ in range(6)]
    for window in windows:
        window.samples = 1000
        window.sketch(Numbers, "count", "values").add(np.full(1000, 3))
    known = baseline_of_windows(windows)
    for other in (2, 4):
        moved = [Window() for _ in range(3)]
        for window in moved:
            window.samples = 1000
            window.sketch(Numbers, "count", "values").add(np.where(np.arange(1000) % 2, 3, other))
        assert judge(known, moved).drifted == [("count", "values")]


def test_vectors_of_another_width_or_not_finite_are_left_out() -> None:
    mean = MeanVector()
    mean.add(np.array([[1.0, 2.0], [np.nan, 1.0]]))
    mean.add(np.array([[1.0, 2.0, 3.0]]))
    assert (mean.count, list(mean.sum)) == (1, [1.0, 2.0])
    assert Rate().share == 0.0
