"""setup_config.json of every age, the `handler:` part of model-config.yaml, and index_to_name.json in all its forms."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from persia.errors import ConfigError
from persia.text import TextSettings
from persia.text.labels import labels_of, read_labels
from persia.text.settings import IDLE, KEYS
from persia.text.wishes import FORMATS
from tests.support.places import ROOT

OLD = {
    "model_name": "bert-base-uncased",
    "mode": "sequence_classification",
    "do_lower_case": "True",
    "num_labels": "2",
    "save_mode": "torchscript",
    "max_length": "150",
}
NEW = {
    **{key: OLD[key] for key in ("model_name", "mode", "save_mode")},
    **{"do_lower_case": True, "num_labels": 2, "max_length": 150, "captum_explanation": True, "embedding_name": "bert"},
    **{"FasterTransformer": False, "BetterTransformer": False, "model_parallel": False},
}
WORKSHOP = {
    **{"model_name": "pt-jit", "do_lower_case": True, "num_labels": 31, "save_mode": "jit", "max_length": 512},
    **{"captum_explanation": False, "base_model": "distilbert-base-uncased", "top_k": 5},
}


def test_settings_of_every_age_are_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        old, new, workshop = (TextSettings.of(values) for values in (OLD, NEW, WORKSHOP))
    assert (
        (old.do_lower_case, old.num_labels, old.max_length)
        == (new.do_lower_case, new.num_labels, new.max_length)
        == (True, 2, 150)
    )
    assert (old.captum_explanation, new.captum_explanation) == (False, True)
    assert (workshop.mode, workshop.top_k, workshop.is_workshop, old.is_workshop) == (None, 5, True, False)
    assert TextSettings.of({}) == TextSettings()
    assert "the setting `BetterTransformer` does nothing: torch's own" in caplog.text


def test_the_yaml_file_wins_key_by_key(tmp_path: Path) -> None:
    (tmp_path / "setup_config.json").write_text(json.dumps(OLD))
    merged = TextSettings.of_directory(tmp_path, {"minWorkers": 1, "handler": {"max_length": 64, "qa_span": "example"}})
    assert (merged.max_length, merged.qa_span, merged.mode) == (64, "example", "sequence_classification")
    assert TextSettings.of_directory(tmp_path) == TextSettings.of(OLD)


def test_the_document_has_every_key_and_format() -> None:
    page = (ROOT / "docs" / "transformers.md").read_text()
    assert [
        name for name in (*KEYS, *IDLE, *FORMATS) if f"`{name}`" not in page and name not in ("hardware", "batch_size")
    ] == []


@pytest.mark.parametrize("word", [True, "True", "true", " TRUE", 1, "1", "yes"])
def test_truth_may_be_written_in_many_ways(word: Any) -> None:
    assert TextSettings.of({"do_lower_case": word}).do_lower_case is True


@pytest.mark.parametrize("word", [False, "False", "false", 0, "0", "no"])
def test_and_so_may_its_contrary(word: Any) -> None:
    assert TextSettings.of({"do_lower_case": word}).do_lower_case is False


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("mode", "classification", "expected sequence_classification or token_classification"),
        ("mode", "text_generation", "at random, .* not served here"),
        ("do_lower_case", "maybe", "expected true or false, got 'maybe'"),
        ("max_length", "long", "whole number from 1 on, got 'long'"),
        ("max_length", 0, "whole number from 1 on, got 0"),
        ("max_length", True, "whole number from 1 on, got True"),
        ("max_length", 1.5, "whole number from 1 on, got 1.5"),
        ("save_mode", "pickle", "expected pretrained or torchscript"),
        ("qa_span", "worst", "expected best or example"),
        ("model_name", "", "expected text"),
    ],
)
def test_wrong_values_are_refused_by_name(key: str, value: Any, problem: str, tmp_path: Path) -> None:
    (tmp_path / "setup_config.json").write_text(json.dumps({key: value}))
    with pytest.raises(ConfigError, match=rf"setup_config\.json: .*{problem}.* - at `\$\.{key}`"):
        TextSettings.of_directory(tmp_path)
    with pytest.raises(ConfigError, match=rf"model-config\.yaml: .*{problem}.* - at `\$\.handler\.{key}`"):
        TextSettings.of_directory(tmp_path / "empty", {"handler": {key: value}})


def test_files_that_are_no_settings_are_refused(tmp_path: Path) -> None:
    for text, problem in (("{", "expected JSON"), ("[]", "expected a JSON object, got a list"), (b"\xff", "expected JSON")):
        (tmp_path / "setup_config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(ConfigError, match=problem):
            TextSettings.of_directory(tmp_path)
    with pytest.raises(ConfigError, match="expected a mapping"):
        TextSettings.of_directory(tmp_path / "none", {"handler": [1]})


def test_an_unknown_key_is_said_with_the_nearest_one(caplog: pytest.LogCaptureFixture) -> None:
    TextSettings.of({"max_lenght": 5})
    assert "the setting `max_lenght` is unknown and does nothing: did you mean `max_length`?" in caplog.text


@pytest.mark.parametrize(
    "form",
    [
        {"0": "no", "1": "yes"},
        {"1": "yes", "0": "no"},
        {0: "no", 1: "yes"},
        {"0": ["n01440764", "no"], "1": ["n01443537", "yes"]},
        {"label_list": "[no, yes]"},
        {"label_list": "['no', \"yes\"]"},
        {"label_list": ["no", "yes"]},
        {"object_type_names": ["no", "yes"]},
        ["no", "yes"],
    ],
    ids=str,
)
def test_labels_may_be_given_in_many_forms(form: Any) -> None:
    assert labels_of(form, "index_to_name.json") == ["no", "yes"]


@pytest.mark.parametrize(
    ("form", "problem"),
    [
        ({"1": "yes"}, "a label for each of 0 to 0, got none for 0"),
        ({"0": "no", "2": "yes"}, "got none for 1"),
        ({"0": 5}, "a list of labels"),
        ({}, "expected labels such as"),
        ([], "a list of labels"),
        ("no, yes", "expected labels such as"),
        ({"label_list": 5}, "a list of labels"),
    ],
    ids=str,
)
def test_wrong_labels_are_refused(form: Any, problem: str, tmp_path: Path) -> None:
    (tmp_path / "index_to_name.json").write_text(json.dumps(form))
    with pytest.raises(ConfigError, match=rf"index_to_name\.json: .*{problem}"):
        read_labels(tmp_path, {})


def test_yaml_that_stands_for_gigabytes_is_refused_in_a_line(tmp_path: Path) -> None:
    bomb: Any = "x"
    for _ in range(40):
        bomb = [bomb] * 9
    for handler in (bomb, {"max_length": bomb}, {"captum_explanation": bomb}, {"padding": bomb}, {"model_name": bomb}):
        with pytest.raises(ConfigError, match=r"model-config\.yaml: expected .* at `\$\.handler") as refusal:
            TextSettings.of_directory(tmp_path, {"handler": handler})
        assert len(str(refusal.value)) < 300
    with pytest.raises(ConfigError, match="expected a whole number from 1 on"):
        TextSettings.of_directory(tmp_path, {"handler": {"max_length": 16**5000}})
