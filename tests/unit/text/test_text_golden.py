"""The answers of the example's own handlers, and what its models give: the same, whichever file they are loaded from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from persia.text import TextModel, TextSettings
from persia.text.explanations import attribute
from persia.text.tokenizer import Text
from tests.support.text_serving import DENSE, GOLDEN, SOURCES, Served, body, golden_directory, model_directory

# Those that filled texts up without telling the model so: their labels changed with max_length.
SOUND = [run for run in GOLDEN if run["handler"] != "v020"]
NAMES = [
    "-".join(map(str, (run["handler"], run["mode"], run["serialized"], run["max_length"], run["captum"]))) for run in SOUND
]
LOGITS = json.loads((DENSE / "logits.json").read_text())["models"]


def settings_like(run: dict[str, Any]) -> dict[str, str]:
    """What makes the answers those of the example to the byte."""
    if run["mode"] == "question_answering":
        return {"qa_span": "example", "padding": "none" if run["handler"] == "v011" else "max_length"}
    return {}


def as_body(answer: Any) -> str:
    return answer if isinstance(answer, str) else json.dumps(answer, indent=2)


@pytest.mark.parametrize("run", SOUND, ids=NAMES)
def test_answers_are_those_of_the_example(run: dict[str, Any], tmp_path: Path) -> None:
    served = Served(golden_directory(tmp_path, run, **settings_like(run)), run["serialized"])
    cases = [case for case in run["cases"] if case["endpoint"] == "predictions" and "answers" in case]
    for case in cases:
        assert served.answer(*map(body, case["bodies"])) == [as_body(answer) for answer in case["answers"]]
    # The one run without answers is of a version that failed with each.
    assert cases or all("error" in case for case in run["cases"])


@pytest.mark.parametrize("run", [run for run in SOUND if run["mode"] == "token_classification" and not run["captum"]])
def test_the_padding_needs_no_tags(run: dict[str, Any], tmp_path: Path) -> None:
    served = Served(golden_directory(tmp_path, run, padding="none"), run["serialized"])
    for case in run["cases"]:
        wanted = [[pair for pair in answer if pair[0] != "[PAD]"] for answer in case["answers"]]
        assert [json.loads(answer) for answer in served.answer(*map(body, case["bodies"]))] == wanted


@pytest.mark.parametrize("run", [run for run in GOLDEN if run["handler"] == "v020" and run["mode"] != "question_answering"])
def test_the_fault_of_padding_without_a_mask_is_not_repeated(run: dict[str, Any], tmp_path: Path) -> None:
    (sound,) = (
        other
        for other in GOLDEN
        if (other["handler"], other["mode"], other["save_mode"]) == ("v011", run["mode"], run["save_mode"])
    )
    served = Served(golden_directory(tmp_path, run), run["serialized"])
    for case in sound["cases"]:
        assert served.answer(*map(body, case["bodies"])) == [as_body(answer) for answer in case["answers"]]


@pytest.mark.parametrize("run", [run for run in GOLDEN if run["captum"] and run["mode"] != "question_answering"])
def test_explanations_are_those_of_captum(run: dict[str, Any], tmp_path: Path) -> None:
    served = Served(golden_directory(tmp_path, run), run["serialized"])
    ((case,),) = ([case for case in run["cases"] if case["endpoint"] == "explanations"],)
    (wanted,) = case["answers"]
    (answer,) = served.answer(body(case["bodies"][0]), explain=[0])
    got = json.loads(answer)
    assert list(got) == list(wanted)
    assert got["words"] == wanted["words"]
    np.testing.assert_allclose(got["importances"], wanted["importances"], rtol=0, atol=1e-6)
    assert abs(got["delta"]) < 1e-5


def test_explanations_of_questions_are_those_of_captum_for_the_text_that_it_took(tmp_path: Path) -> None:
    """The example explained the request's JSON instead of the question and the context."""
    (run,) = (run for run in GOLDEN if run["captum"] and run["mode"] == "question_answering")
    (case,) = (case for case in run["cases"] if case["endpoint"] == "explanations")
    (wanted,) = case["answers"]
    model = TextModel.load(golden_directory(tmp_path, run), TextSettings(mode=run["mode"], max_length=64))
    tokens = model.tokenizer.tokenize(Text(case["bodies"][0]))
    assert tokens.words == wanted["words"]
    for i, place in enumerate(("start", "end")):
        found = attribute(model, tokens, lambda outputs: outputs[i][:, 0])  # noqa: B023
        np.testing.assert_allclose(found.importances, wanted[f"importances_answer_{place}"], rtol=0, atol=1e-6)


def test_a_question_is_explained_by_its_own_words(tmp_path: Path) -> None:
    served = Served(model_directory(tmp_path, "question_answering"))
    question = {"question": "who was jim?", "context": "jim was a puppet"}
    (answer,) = served.answer({"body": question}, explain=[0])
    explained = json.loads(answer)
    assert explained["words"][:5] == ["[CLS]", "who", "was", "jim", "?"]
    assert "{" not in explained["words"]
    for place in ("start", "end"):
        assert np.linalg.norm(explained[f"importances_answer_{place}"]) == pytest.approx(1.0)
        assert abs(explained[f"delta_{place}"]) < 1e-5


@pytest.mark.parametrize("mode", SOURCES)
@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin", "traced_model.pt"])
def test_logits_are_those_of_transformers(mode: str, weights: str, tmp_path: Path) -> None:
    model = TextModel.load(model_directory(tmp_path, mode, weights), TextSettings.of_directory(tmp_path), weights)
    cases = [case for case in LOGITS[SOURCES[mode].name] if not case["padded"]]
    assert cases
    for case in cases:
        tokens = model.tokenizer.tokenize(Text(*case["text"]))
        assert tokens.ids == case["input_ids"]
        assert tokens.type_ids == case["token_type_ids"]
        numbers = model.run(tokens)
        # A trace of two inputs cannot be told which text of a pair is which.
        wanted = case["logits_with_token_types" if model.engine.takes_token_types else "logits_ids_mask"]
        np.testing.assert_allclose(numbers.reshape(-1), np.reshape(wanted, -1), rtol=0, atol=2e-5)
