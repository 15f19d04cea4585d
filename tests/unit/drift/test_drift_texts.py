"""The handler of text models tells the watch for drift what it was asked and what it answered."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from persia.client.drift_command import drift
from persia.drift.baseline import read_baseline
from persia.drift.counts import Labels, Rate
from persia.drift.ids import Heads
from persia.drift.numbers import Numbers
from persia.drift.samples import read_samples
from persia.drift.state import StateDirectory, windows_of
from persia.errors import NotFound
from persia.handlers.transformers_handler import TransformersHandler
from tests.support.places import DATA

DENSE = DATA / "dense"
TEXTS = ["Bloomberg has decided to publish a new report.", "it is a beautiful day", "it is a beautiful day", "zzz"]


class Context:
    """What TorchServe hands to a handler, as far as it is asked for."""

    def __init__(self, directory: Path, config: dict[str, Any]) -> None:
        self.manifest = {"model": {"modelName": "news", "modelVersion": "3", "serializedFile": "model.safetensors"}}
        self.system_properties = {"model_dir": str(directory), "gpu_id": None}
        self.model_yaml_config = config

    def get_all_request_header(self, i: int) -> dict[str, Any]:
        return {}

    def get_request_id(self, i: int) -> str:
        return f"request{i}"

    def set_response_status(self, code: int, phrase: str, idx: int) -> None:
        assert code == 400

    def set_response_content_type(self, i: int, kind: str) -> None:
        pass


def handled(mode: str, data: list[dict[str, Any]], state: Path, **persia: Any) -> Path:
    """The state directory of the model, after a batch."""
    settings = {"drift_state": str(state), "drift_share": 1, "drift_samples": "inputs", **persia}
    config = yaml.safe_load(yaml.safe_dump({"handler": {"mode": mode, "max_length": 8}, "persia": settings}))
    folder = {"sequence_classification": "bert_seq", "question_answering": "bert_qa", "token_classification": "bert_tok"}
    handler = TransformersHandler()
    unpacked = state.with_name(f"{state.name}-archive")
    shutil.copytree(DENSE / folder.get(mode, "bert_seq"), unpacked)
    (unpacked / "index_to_name.json").write_text(json.dumps({str(i): f"label {i}" for i in range(9)}))
    context = Context(unpacked, config)
    handler.initialize(context)
    handler.handle(data, context)
    assert handler.drift is not None
    handler.drift.close()
    return StateDirectory(state, "news", "3").path


def test_labels_confidence_and_tokens_are_watched(tmp_path: Path) -> None:
    data: list[dict[str, Any]] = [{"body": text.encode()} for text in TEXTS]
    data += [{"body": b"\xff"}, {"text": TEXTS[0], "request_id": "mine"}]
    path = handled("sequence_classification", data, tmp_path)
    (window,) = windows_of(StateDirectory(tmp_path, "news", "3").read().pieces)
    assert (window.samples, window.seen) == (5, 5)  # one was refused
    found = {key: sketch for key, sketch in window.sketches.items()}
    labels, confidence = found["label", "labels"], found["label", "confidence"]
    assert isinstance(labels, Labels) and labels.total == 5
    assert isinstance(confidence, Numbers) and 0.5 <= confidence.mean <= 1
    lengths, truncated, heads = found["text", "tokens"], found["text", "truncated"], found["token", "heads"]
    assert isinstance(lengths, Numbers) and lengths.quantiles([1.0])[0] == 6  # of 8, without [CLS] and [SEP]
    assert isinstance(truncated, Rate) and 0 < truncated.hits < truncated.total == 5
    assert isinstance(heads, Heads) and heads.total == round(lengths.mean * 5)
    assert isinstance(found["text", "unknown_tokens"], Rate)
    samples = {entry["request"]: entry for entry in read_samples(path)}
    assert samples.keys() == {"request0", "request1", "request2", "request3", "mine"}
    assert samples["mine"]["text"] == TEXTS[0]
    assert samples["mine"]["label"] == samples["request0"]["label"]


@pytest.mark.parametrize("mode", ["token_classification", "question_answering", "text_embedding"])
def test_other_modes_are_watched(tmp_path: Path, mode: str) -> None:
    data: list[dict[str, Any]] = [{"body": text.encode()} for text in TEXTS]
    if mode == "question_answering":
        data = [{"body": {"question": "what day is it ?", "context": text}} for text in TEXTS]
    handled(mode, data, tmp_path)
    (window,) = windows_of(StateDirectory(tmp_path, "news", "3").read().pieces)
    assert window.samples == 4
    expected = ("vector", "direction") if mode == "text_embedding" else ("label", "confidence")
    assert expected in window.sketches


def test_without_datasketches_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from persia.drift.numbers import sketch_kind

    sketch_kind.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "datasketches", None)
    with pytest.raises(NotFound, match=r"pip install 'persia-serve\[drift\]'"):
        handled("sequence_classification", [{"body": b"a"}], tmp_path)


def test_a_baseline_of_texts_is_made_with_the_models_own_tokens(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(DENSE / "bert_seq", folder)
    (folder / "index_to_name.json").write_text('{"0": "no", "1": "yes"}')
    lines = tmp_path / "texts.txt"
    lines.write_text("\n".join(TEXTS[i % 3] for i in range(60)) + "\n\n")
    options = ["--window-samples", "10", "--least-samples", "10"]
    options += ["--input", str(lines), "--text-model", str(folder), "--out", str(tmp_path / "texts.drift")]
    made = CliRunner().invoke(drift, ["baseline", *options])
    assert made.exit_code == 2  # requests are answered 32 at a time, so there are two windows
    assert "got 2 such windows of 2" in made.output
    lines.write_text("\n".join(TEXTS[i % 3] for i in range(320)))
    made = CliRunner().invoke(drift, ["baseline", *options])
    assert made.exit_code == 0, made.output
    reference = read_baseline(tmp_path / "texts.drift").reference
    assert reference.samples == 320
    labels = reference.sketches["label", "labels"]
    assert isinstance(labels, Labels)
    assert labels.total == 320
    lines.write_bytes(b"\xff\n")
    assert "expected texts in UTF-8" in CliRunner().invoke(drift, ["baseline", *options]).output
    options[options.index(str(folder))] = str(lines)
    assert "expected a model archive (.mar)" in CliRunner().invoke(drift, ["baseline", *options]).output
