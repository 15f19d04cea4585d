"""What is explained where the request names no target: the answer that the model gives."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.text_serving import DENSE, Served, body, model_directory

WORDS = [word for word in (DENSE / "vocab.txt").read_text().split() if word.isalpha()]


def questions() -> list[dict[str, str]]:
    chosen = random.Random(1)
    return [
        {"question": " ".join(chosen.choices(WORDS, k=4)), "context": " ".join(chosen.choices(WORDS, k=8))} for _ in range(8)
    ]


def explained(served: Served, request: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(served.answer({"body": request}, explain=[0])[0])
    return found


def tokens_of_answer(served: Served, question: dict[str, str]) -> tuple[int, int]:
    """Of the best span, sought among all."""
    said = json.loads(served.answer({"body": {**question, "format": "logits"}})[0])
    starts, ends = np.array(said["start_logits"]), np.array(said["end_logits"])
    first, last = said["words"].index("[SEP]") + 1, len(said["words"]) - 1
    spans = [(starts[i] + ends[j], i, j) for i in range(first, last) for j in range(i, last)]
    return max(spans)[1:]


def test_a_question_is_explained_by_the_span_that_is_answered(tmp_path: Path) -> None:
    served = Served(model_directory(tmp_path, "question_answering"))
    for question in questions():
        found = explained(served, question)
        for name, token in zip(("start", "end"), tokens_of_answer(served, question), strict=True):
            wanted = explained(served, {**question, "target": token})[f"importances_answer_{name}"]
            assert found[f"importances_answer_{name}"] == wanted


def test_the_examples_span_is_explained_as_the_model_ran(tmp_path: Path) -> None:
    """Each end by itself; question and context are one segment."""
    served = Served(model_directory(tmp_path, "question_answering", settings={"qa_span": "example", "padding": "none"}))
    for question in questions():
        said = json.loads(served.answer({"body": {**question, "format": "logits"}})[0])
        found = explained(served, question)
        for name in ("start", "end"):
            target = int(np.argmax(said[f"{name}_logits"]))
            assert (
                found[f"importances_answer_{name}"]
                == explained(served, {**question, "target": target})[f"importances_answer_{name}"]
            )
            assert abs(found[f"delta_{name}"]) < 1e-4


def test_types_of_tokens_are_explained_as_they_were_given(tmp_path: Path) -> None:
    one = Served(model_directory(tmp_path / "best", "question_answering"))
    other = Served(
        model_directory(tmp_path / "example", "question_answering", settings={"qa_span": "example", "padding": "none"})
    )
    request = {**questions()[0], "target": 1}
    assert explained(one, request) != explained(other, request)


def test_a_context_without_words_has_no_answer_to_explain(tmp_path: Path) -> None:
    served = Served(model_directory(tmp_path, "question_answering"))
    with pytest.raises(Exception, match="expected a context with words in it, got none: there is no answer to explain"):
        served.answer({"body": {"question": "who", "context": ""}}, explain=[0])


def test_tags_are_explained_of_the_text_and_not_of_its_padding(tmp_path: Path) -> None:
    served = Served(model_directory(tmp_path, "token_classification", settings={"padding": "max_length"}))
    chosen = random.Random(1)
    for _ in range(12):
        text = " ".join(chosen.choices(WORDS, k=3))
        found = json.loads(served.answer(body(text), explain=[0])[0])
        said = json.loads(served.answer({"body": {"text": text, "format": "logits"}})[0])["tokens"]
        logits = np.array([[score["logit"] for score in token["scores"]] for token in said])
        place, label = np.unravel_index(logits.argmax(), logits.shape)
        assert found["importances"] == explained(served, {"text": text, "target": [int(place) + 1, int(label)]})["importances"]
