"""Requests of text models that are wrong, or that come together: each is answered as if it came alone."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ts.utils.util import PredictionException

from tests.support.examples import examples
from tests.support.text_serving import QUESTION, TEXTS, Served, body, model_directory

BAD: dict[str, tuple[Any, str]] = {
    "not UTF-8": (body(b"caf\xe9"), "UTF-8, got byte 0xe9 at 3"),
    "wrong JSON": ({"body": bytearray(b'{"text": ')}, "expected JSON"),
    "form": ({}, "curl"),
    "form of two": ({"a text": bytearray(), "more": bytearray()}, "the fields 'a text', 'more'"),
    "number": ({"body": 5}, "got 5"),
    "no text": ({"body": {"txt": "jim"}}, "an object with the keys 'txt'"),
    "empty list": ({"body": []}, "at least one"),
    "bad entry": ({"body": ["jim", None]}, "entry 1 of the list"),
    "too many": ({"body": ["jim"] * 257}, "at most 256 texts"),
    "protocol v2": ({"body": {"inputs": [{"name": "x", "shape": [1], "datatype": "BYTES", "data": ["jim"]}]}}, "instances"),
    "unknown format": ({"body": {"text": "jim", "format": "xml"}}, "one of text, json"),
    "top_k": ({"body": {"text": "jim", "top_k": "many"}}, "`top_k`"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_is_refused_and_its_neighbours_are_answered(sequence: Served, name: str) -> None:
    data, words = BAD[name]
    headers = {"body": {"content-type": "application/json"}} if name == "wrong JSON" else {}
    with pytest.raises(PredictionException) as raised:
        sequence.answer(data, headers=headers)
    code = 413 if name == "too many" else 400
    assert raised.value.error_code == code
    assert words in raised.value.message
    good = {"body": {"text": "jim"}}
    answers = sequence.answer(good, data, good, headers=headers)
    assert sequence.statuses() == [200, code, 200]
    assert answers[0] == answers[2] == sequence.answer(good)[0]
    assert words in json.loads(answers[1])["message"]


def test_questions_need_a_question_and_a_context(question: Served) -> None:
    for data, words in (
        (body("who was jim?"), "neither JSON nor"),
        (body(""), "neither JSON nor"),
        ({"body": {"question": "who?"}}, "no context"),
        ({"body": {"question": "who?", "context": 5}}, "got 5"),
        (body("[" * 100_000), "neither JSON nor"),
    ):
        with pytest.raises(PredictionException, match="400") as raised:
            question.answer(data)
        assert words in raised.value.message


def test_eight_requests_of_which_one_is_no_text_and_one_is_long(sequence: Served) -> None:
    texts = ["jim", "it is", "who", "a new virus", "the weather", "nice"]
    long = "report " * 14_300  # 100,100 characters
    batch = [*map(body, texts[:3]), body(b"\xff"), body(long), *map(body, texts[3:])]
    answers = sequence.answer(*batch)
    assert sequence.statuses() == [200, 200, 200, 400, 200, 200, 200, 200]
    assert [answers[i] for i in (0, 1, 2, 5, 6, 7)] == [sequence.answer(body(text))[0] for text in texts]
    (told,) = sequence.answer({"body": {"text": long, "format": "json"}})
    assert json.loads(told) | {"score": 0} == {"label": answers[4], "score": 0, "token_count": 30, "truncated": True}


def test_a_batch_may_mix_predictions_and_explanations(sequence: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = [body(text) for text in TEXTS[:4]]
    mixed = sequence.answer(*batch, explain=[0, 2])
    assert [mixed[1], mixed[3]] == [sequence.answer(batch[i])[0] for i in (1, 3)]
    # An explanation needs no prediction of its own.
    run = sequence.handler.model.engine.run
    monkeypatch.setattr(sequence.handler.model.engine, "run", lambda inputs: pytest.fail("the model ran for a prediction"))
    sequence.answer({"body": {"text": "jim", "target": 1}}, explain=[0])
    monkeypatch.setattr(sequence.handler.model.engine, "run", run)
    for i in (0, 2):
        assert mixed[i] == sequence.answer(batch[i], explain=[0])[0]


def test_explanations_take_a_target(sequence: Served, token: Served) -> None:
    texts = [{"body": {"text": "it is a new virus", "target": target}} for target in (0, 1)]
    first, second = (json.loads(sequence.answer(text, explain=[0])[0])["importances"] for text in texts)
    assert np.max(np.abs(np.subtract(first, second))) > 1e-3
    without = json.loads(sequence.answer(body("it is a new virus"), explain=[0])[0])["importances"]
    own = ["Not Accepted", "Accepted"].index(sequence.answer(body("it is a new virus"))[0])
    assert without == pytest.approx([first, second][own])
    for served, target in ((sequence, 2), (sequence, [0, 1]), (sequence, True), (token, 1), (token, [90, 0]), (token, [0, 9])):
        with pytest.raises(PredictionException, match="400") as raised:
            served.answer({"body": {"text": "jim", "target": target}}, explain=[0])
        assert "`target`" in raised.value.message


@pytest.mark.parametrize("mode", ["sequence_classification", "text_embedding"])
def test_what_cannot_be_explained_is_refused(mode: str, tmp_path: Path) -> None:
    weights = "traced_model.pt" if mode == "sequence_classification" else "model.safetensors"
    served = Served(model_directory(tmp_path, weights=weights, settings={"mode": mode}), weights)
    with pytest.raises(PredictionException, match="400") as raised:
        served.answer(body("jim"), explain=[0])
    assert "expected a request for a prediction" in raised.value.message
    assert served.answer(body("jim"), body("jim"), explain=[1])[0] == served.answer(body("jim"))[0]


# Texts of words that the vocabulary has and has not, so that lengths and pieces differ.
WORDS = st.text("abjim it.,#é日", max_size=40)


@settings(max_examples=examples(30))
@given(texts=st.lists(WORDS, min_size=1, max_size=6))
def test_an_answer_never_depends_on_its_neighbours(
    sequence: Served, token: Served, embedding: Served, texts: list[str]
) -> None:
    for served in (sequence, token, embedding):
        requests = [{"body": {"text": text, "format": "logits"}} for text in texts]
        assert served.answer(*requests) == [served.answer(request)[0] for request in requests]
        many = json.loads(served.answer({"body": {"inputs": texts, "format": "logits"}})[0])
        assert many == [json.loads(served.answer(request)[0]) for request in requests]


def test_equal_texts_of_a_batch_are_run_once(sequence: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []
    run = sequence.handler.model.engine.run

    def counted(inputs: Any) -> Any:
        ran.append(inputs)
        return run(inputs)

    monkeypatch.setattr(sequence.handler.model.engine, "run", counted)
    assert len(set(sequence.answer(body("who was Jim"), body("WHO was jim  "), body("who was jim")))) == 1
    assert len(ran) == 1
    sequence.answer(body("who was jim"))
    assert len(ran) == 2  # nothing is kept unless a setting says so


def test_answers_are_kept_if_a_setting_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served = Served(model_directory(tmp_path, "question_answering", settings={"answer_cache_mib": "1"}))
    first = served.answer({"body": QUESTION})
    monkeypatch.setattr(served.handler.model.engine, "run", lambda inputs: pytest.fail("the model ran again"))
    assert served.answer({"body": QUESTION}) == first
    assert served.context.metrics == {"AnswerCacheHits": 1, "AnswerCacheMisses": 1}


def test_nothing_of_a_text_is_printed_or_logged(
    sequence: Served, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        sequence.answer(body("a secret virus"), body(b"a secret \xff"), {"body": {"secret": "secret"}}, explain=[0])
    out, error = capfd.readouterr()
    assert "secret" not in out + error + caplog.text


def test_a_fault_of_the_model_is_not_the_neighbours(sequence: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    run = sequence.handler.model.engine.run

    def fails(inputs: Any) -> Any:
        if inputs["input_ids"].shape[1] == 3:
            raise IndexError("index out of range in self")
        return run(inputs)

    monkeypatch.setattr(sequence.handler.model.engine, "run", fails)
    answers = sequence.answer(body("who was jim"), body("who"))
    assert sequence.statuses() == [200, 500]
    assert json.loads(answers[1])["message"] == "the model failed: index out of range in self"
