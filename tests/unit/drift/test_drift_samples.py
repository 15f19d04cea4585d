"""The sample store, the labels that people give, and the report."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from persia import _core
from persia.client.drift_command import drift
from persia.drift.baseline import baseline_of_windows, write_baseline
from persia.drift.counts import Labels
from persia.drift.samples import Keeping, SampleStore, read_samples
from persia.drift.scoring import quality_of
from persia.drift.sketching import Texts
from persia.drift.state import Piece, StateDirectory
from persia.drift.window import Window
from persia.errors import CorruptFile, InvalidInput
from tests.support.drift_streams import SAMPLES, USUAL, Stream

NOW = 1_800_000_000.0


def fill(store: SampleStore, batches: int, seed: int = 1) -> None:
    generator = np.random.default_rng(seed)
    for i in range(batches):
        batch = _core.decode_batch(USUAL.data(generator))
        store.add_batch(f"request{i}", batch, {None: USUAL.scores(batch)})


def test_a_window_keeps_a_fair_sample_and_the_least_sure(tmp_path: Path) -> None:
    store = SampleStore(tmp_path, "1.0", Keeping(per_window=10), seed=1, now=lambda: NOW)
    fill(store, 40)
    store.end_window()
    entries = list(read_samples(tmp_path))
    assert [entry["why"] for entry in entries].count("random") == 10
    assert 0 < [entry["why"] for entry in entries].count("unsure") <= 10
    assert max(entry["confidence"] for entry in entries if entry["why"] == "unsure") < 0.51
    assert len({entry["request"] for entry in entries if entry["why"] == "random"}) > 7  # not the first ones
    assert len({entry["sample"] for entry in entries if entry["why"] == "random"}) > 7
    (score,) = entries[0]["outputs"]["score"]
    assert entries[0]["confidence"] == pytest.approx(max(score, 1 - score), abs=1e-6)
    assert entries[0].keys() == {"request", "sample", "time", "version", "outputs", "confidence", "why"}


def test_inputs_are_kept_only_if_told(tmp_path: Path) -> None:
    store = SampleStore(tmp_path, "1.0", Keeping(inputs=True), seed=1, now=lambda: NOW)
    batch = _core.decode_batch(USUAL.data(np.random.default_rng(1)))
    store.add_batch("a", batch, {None: USUAL.scores(batch)})
    store.end_window()
    entry = next(read_samples(tmp_path))
    i = entry["sample"]
    assert entry["dense"]["numbers"] == batch.dense[0][i].tolist()
    assert entry["ids"]["user"] == _user_of(batch, i)
    assert len(entry["ids"]["tags"]) <= batch.features[1].ids_per_sample[i]


def _user_of(batch: _core.Batch, i: int) -> list[int]:
    feature = batch.features[0]
    (place,) = np.flatnonzero(feature.positions[:, 0] == i)
    return [int(feature.ids[np.searchsorted(feature.offsets, place, "right") - 1])]


@pytest.mark.parametrize("inputs", [False, True])
def test_texts_are_kept_only_if_told(tmp_path: Path, inputs: bool) -> None:
    store = SampleStore(tmp_path, "1.0", Keeping(inputs=inputs), seed=1, now=lambda: NOW)
    texts = Texts([[1], [2], [3]], ["yes", "no", "yes"], [0.9, 0.8, 0.6], texts=["one", "two", "three"])
    store.add_texts(["a", "a", "b"], texts)
    store.end_window()
    entries = sorted(read_samples(tmp_path), key=lambda entry: (entry["request"], entry["sample"]))
    assert [(entry["request"], entry["sample"], entry["label"]) for entry in entries] == [
        ("a", 0, "yes"),
        ("a", 1, "no"),
        ("b", 0, "yes"),
    ]
    assert [entry.get("text") for entry in entries] == (["one", "two", "three"] if inputs else [None] * 3)


def test_the_store_is_limited_in_size_and_age(tmp_path: Path) -> None:
    clock = [NOW]
    store = SampleStore(tmp_path, "1.0", Keeping(per_window=10, days=2), seed=1, now=lambda: clock[0])
    for _ in range(4):
        fill(store, 1)
        store.end_window()
        clock[0] += 86_400
    times = sorted({entry["time"] for entry in read_samples(tmp_path)})
    assert times == [NOW + day * 86_400 for day in (1, 2, 3)]
    size = max(path.stat().st_size for path in tmp_path.iterdir())
    small = SampleStore(tmp_path, "1.0", Keeping(per_window=10, most_bytes=2 * size), seed=1, now=lambda: clock[0])
    fill(small, 1)
    small.end_window()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 2 * size


def test_a_broken_store_is_named(tmp_path: Path) -> None:
    (tmp_path / "samples-1-1-1.jsonl").write_text("[]\n")
    with pytest.raises(CorruptFile, match="expected an object in JSON on each line, got line 1 is no object"):
        list(read_samples(tmp_path))


@pytest.fixture
def labelled(tmp_path: Path) -> tuple[Path, Path]:
    """A state directory with samples of a model, and labels that its scores foretell as they should."""
    state = tmp_path / "state"
    directory = StateDirectory(state, "ctr", "1.0")
    store = SampleStore(directory.path, "1.0", Keeping(per_window=1000), seed=1, now=lambda: NOW)
    fill(store, 20)
    store.end_window()
    generator = np.random.default_rng(5)
    lines = ["request,sample,label"]
    for entry in read_samples(directory.path):
        positive = generator.random() < entry["outputs"]["score"][0]
        lines.append(f"{entry['request']},{entry['sample']},{int(positive)}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    return state, tmp_path / "labels.csv"


def test_labels_give_accuracy_auc_and_calibration(labelled: tuple[Path, Path]) -> None:
    state, labels = labelled
    shown = CliRunner().invoke(drift, ["score", str(labels), "--state", str(state), "--model", "ctr", "--json"])
    assert shown.exit_code == 0, shown.output
    random = json.loads(shown.output)[0]
    assert (random["version"], random["why"]) == ("1.0", "random")
    assert random["count"] == 1000
    assert random["accuracy"] == pytest.approx(random["expected"], abs=0.05)
    assert random["calibration_error"] < 0.06
    assert 0.6 < random["auc"] < 0.9
    table = CliRunner().invoke(drift, ["score", str(labels), "--state", str(state), "--model", "ctr"]).output.splitlines()
    assert table[0].split() == ["version", "samples", "count", "accuracy", "expected", "AUC", "calibration", "error"]
    assert table[1].split()[:3] == ["1.0", "random", "1000"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("request,label\nnobody,1\n", "expected labels of requests of the sample store, got 1 labels, none of them of one"),
        ("request\na\n", "expected a column 'label', got request"),
        ("request,sample,label\na,x,1\n", "line 2: expected a number as `sample`, got 'x'"),
        ("request,label\nrequest0,1\nrequest0,0\n", "expected one label for sample 0 of request 'request0', got two"),
    ],
)
def test_labels_that_fit_nothing_are_named(labelled: tuple[Path, Path], text: str, message: str) -> None:
    state, labels = labelled
    labels.write_text(text)
    shown = CliRunner().invoke(drift, ["score", str(labels), "--state", str(state), "--model", "ctr"])
    assert shown.exit_code == 2
    assert message in shown.output


def sample(**parts: Any) -> dict[str, Any]:
    return {"request": "a", "sample": 0, "version": "1.0", "why": "random", **parts}


def test_models_of_several_classes_and_outputs() -> None:
    classes = [sample(sample=i, outputs={"kind": [0.2, 0.5, 0.3], "ctr": [0.9]}) for i in range(4)]
    labels = {("a", i): label for i, label in enumerate(["1", "1", "1", "2"])}
    (found,) = quality_of(classes, labels, "kind")
    assert (found.count, found.accuracy, found.auc) == (4, 0.75, None)
    assert found.expected == pytest.approx(0.5)
    (found,) = quality_of(classes, {("a", 0): "1", ("a", 1): "0"}, "ctr")
    assert (found.count, found.accuracy) == (2, 0.5)
    with pytest.raises(InvalidInput, match="expected 0 or 1 as a label of a model that gives one score, got '2'"):
        quality_of(classes, labels, "ctr")
    with pytest.raises(InvalidInput, match="expected one of kind, ctr as --output, got 'cvr'"):
        quality_of(classes, labels, "cvr")
    texts = [sample(label="yes", confidence=0.9), sample(request="b", label="no", confidence=0.6)]
    (found,) = quality_of(texts, {("a", 0): "yes", ("b", 0): "yes"})
    assert found.accuracy == 0.5
    assert found.expected == pytest.approx(0.75)


def test_the_report_has_every_feature_and_escapes_names(tmp_path: Path) -> None:
    generator = np.random.default_rng(6)
    directory = StateDirectory(tmp_path, "<b>model</b>", "1.0")
    odd = "<script>alert(1)</script>"

    def windows(stream: Stream, count: int) -> list[Window]:
        made = stream.windows(count, generator)
        for window in made:
            window.sketch(Labels, odd, "labels").add([odd] * 500 + ["&"] * 500)
        return made

    baseline = baseline_of_windows(windows(USUAL, 6))
    directory.path.mkdir(parents=True)
    write_baseline(directory.baseline_path, baseline)
    for i, window in enumerate(windows(Stream(shift=1.0), 3)):
        window.begin, window.end = i * 600.0, i * 600.0 + 600
        directory.write(Piece(window, 600.0, 0))
    out = tmp_path / "drift.html"
    made = CliRunner().invoke(drift, ["report", "--state", str(tmp_path), "--out", str(out)])
    assert made.exit_code == 0, made.output
    text = out.read_text()
    subjects = re.findall(r"<h3>(.*?)</h3>", text)
    assert subjects[0] == "all inputs"  # which drifts, as the first dense column does
    assert subjects[1] == "numbers[0]"
    escaped = "&lt;script&gt;alert(1)&lt;/script&gt;"
    assert set(subjects) == {"all inputs", "numbers[0]", "numbers[1]", "numbers[2]", "user", "tags", "score", escaped}
    assert "<script" not in text and "<b>" not in text and "http" not in text
    assert text.count("<svg") > 20
    assert SAMPLES * 10 == 1000 and "1000 of 0 samples sketched" in text
