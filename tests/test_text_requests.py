"""What callers may send, what they get, and that one of them never changes what another one gets."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from text_serving import TEXTS, Served, body, model_directory
from ts.utils.util import PredictionException

WORKSHOP = {"save_mode": "original", "top_k": 2, "model_name": "pt-original", "mode": None}
QUESTION = {"question": "who was jim?", "context": "Jim was a nice puppet, and the weather is nice"}


@pytest.fixture(scope="module")
def sequence(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return Served(model_directory(tmp_path_factory.mktemp("sequence")))


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return Served(model_directory(tmp_path_factory.mktemp("token"), "token_classification"))


@pytest.fixture(scope="module")
def question(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return Served(model_directory(tmp_path_factory.mktemp("question"), "question_answering"))


@pytest.fixture(scope="module")
def embedding(tmp_path_factory: pytest.TempPathFactory) -> Served:
    directory = model_directory(tmp_path_factory.mktemp("embedding"), settings={"mode": "text_embedding", "normalize": "True"})
    return Served(directory)


@pytest.fixture(params=["sequence", "token", "question", "embedding"])
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    yield request.getfixturevalue(request.param)


def as_json(text: str) -> dict[str, Any]:
    """What TorchServe makes of a JSON body."""
    return {"body": json.loads(text)}


@pytest.mark.parametrize(
    "data",
    [
        {"body": bytearray(b"it is a new virus")},
        {"body": "it is a new virus"},  # text/plain, or a JSON string
        {"data": bytearray(b"it is a new virus")},
        {"text": bytearray(b"it is a new virus")},
        {"body": {"text": "it is a new virus"}},
        {"body": {"data": "it is a new virus", "target": 0}},
        {"body": {"inputs": "it is a new virus", "parameters": {}}},
        {"data": "it is a new virus", "target": 0},  # of service_envelope=body
        "it is a new virus",
        {"it is a new virus": bytearray()},  # curl -d 'it is a new virus='
    ],
    ids=str,
)
def test_a_text_may_come_in_many_ways(sequence: Served, data: Any) -> None:
    assert sequence.answer(data) == sequence.answer(body("it is a new virus"))
    assert sequence.answer(data, body("the weather is nice"))[0] == sequence.answer(data)[0]


def test_a_text_that_looks_like_json_is_taken_to_the_letter_as_in_the_example(sequence: Served, tmp_path: Path) -> None:
    looks = '{"text": "it is a new virus", "target": 1}'
    logits = {"body": {"text": looks, "format": "logits"}}
    inner = {"body": {"text": "it is a new virus", "format": "logits"}}
    as_field = {"data": bytearray(looks.encode()), "format": bytearray(b"logits")}
    assert sequence.answer(as_field) == sequence.answer(logits) != sequence.answer(inner)
    # With captum_explanation the example takes an object out of the text.
    captum = Served(model_directory(tmp_path, settings={"captum_explanation": True}))
    assert captum.answer(as_field) == sequence.answer(inner)
    assert captum.answer(body("it is a new virus")) == sequence.answer(body("it is a new virus"))


@pytest.mark.parametrize(
    "data",
    [
        body(json.dumps(QUESTION)),
        body(str(QUESTION)),
        {"body": QUESTION},
        {"body": {"inputs": QUESTION}},
        {key: bytearray(value.encode()) for key, value in QUESTION.items()},
        {"data": bytearray(json.dumps(QUESTION).encode())},
        {"data": QUESTION},
    ],
    ids=str,
)
def test_a_question_may_come_in_many_ways(question: Served, data: Any) -> None:
    assert question.answer(data) == question.answer({"body": QUESTION})


def test_lists_get_lists(sequence: Served, token: Served, question: Served) -> None:
    alone = [sequence.answer(body(text))[0] for text in TEXTS]
    assert json.loads(sequence.answer({"body": list(TEXTS)})[0]) == alone
    assert json.loads(sequence.answer({"body": {"inputs": list(TEXTS)}})[0]) == alone
    instances = {"instances": [TEXTS[0], {"data": TEXTS[1]}, [TEXTS[2], TEXTS[3]]]}
    pair = sequence.answer({"body": {"text": TEXTS[2], "text_pair": TEXTS[3]}})[0]
    assert json.loads(sequence.answer({"body": instances})[0]) == {"predictions": [*alone[:2], pair]}
    assert json.loads(token.answer({"body": [TEXTS[1]]})[0]) == [json.loads(token.answer(body(TEXTS[1]))[0])]
    two = json.loads(question.answer({"body": [QUESTION, [QUESTION["question"], QUESTION["context"]]]})[0])
    assert two == question.answer({"body": QUESTION}) * 2


def test_pairs_are_told_apart(sequence: Served) -> None:
    """By the types of tokens: the two texts as one would be another input."""
    (pair,) = sequence.answer({"body": {"text": "who", "text_pair": "jim", "format": "offsets"}})
    assert [token["of"] for token in json.loads(pair)["tokens"]] == [0, 1]


def test_formats_say_more(sequence: Served, token: Served, question: Served) -> None:
    def asked(served: Served, form: str, **more: Any) -> Any:
        inputs = {"inputs": QUESTION} if served is question else {"text": "Bloomberg has decided, it is nice"}
        (answer,) = served.answer({"body": {**inputs, "format": form, **more}})
        assert served.context.get_response_content_type(0) == "application/json"
        return json.loads(answer)

    plain = asked(sequence, "json")
    assert set(plain) == {"label", "score", "token_count", "truncated"}
    assert plain["truncated"] is False
    scores = asked(sequence, "scores")["scores"]
    assert sum(entry["score"] for entry in scores) == pytest.approx(1.0)
    assert max(scores, key=lambda entry: entry["score"]) == {key: plain[key] for key in ("label", "score")}
    top = asked(sequence, "top_k", top_k=1)["top_k"]
    assert top == [{key: plain[key] for key in ("label", "score")}]
    logits = [entry["logit"] for entry in asked(sequence, "logits")["scores"]]
    np.testing.assert_allclose(np.exp(logits) / np.sum(np.exp(logits)), [entry["score"] for entry in scores])

    text = "Bloomberg has decided, it is nice"
    tags = asked(token, "json")["tokens"]
    assert [text[tag["start"] : tag["end"]].lower() for tag in tags] == [tag["token"].removeprefix("##") for tag in tags]
    assert len(asked(token, "scores")["tokens"][0]["scores"]) == 9

    answered = asked(question, "json")
    assert answered["answer"] == QUESTION["context"][answered["start"] : answered["end"]]
    assert question.answer({"body": QUESTION}) == [answered["answer"]]
    spans = asked(question, "top_k", top_k=3)["top_k"]
    assert len(spans) == 3
    assert [span["score"] for span in spans] == sorted((span["score"] for span in spans), reverse=True)
    assert len(asked(question, "logits")["start_logits"]) == len(asked(question, "logits")["words"])


def test_the_header_accept_asks_for_json(sequence: Served) -> None:
    (answer,) = sequence.answer(body("jim"), headers={"accept": "application/json"})
    assert json.loads(answer)["label"] == sequence.answer(body("jim"))[0]
    # Many clients name JSON by default, and take everything.
    assert sequence.answer(body("jim"), headers={"Accept": "application/json, text/plain, */*"}) == sequence.answer(body("jim"))


def test_an_embedding_is_a_list_of_numbers(embedding: Served) -> None:
    (answer,) = embedding.answer(body("it is a new virus"))
    vector = json.loads(answer)
    assert len(vector) == 32
    assert np.linalg.norm(vector) == pytest.approx(1.0)
    assert json.loads(embedding.answer({"body": {"text": "it is a new virus", "format": "json"}})[0])["embedding"] == vector


@pytest.mark.parametrize("top_k", [None, 1])
def test_the_answers_of_the_workshop(tmp_path: Path, top_k: int | None) -> None:
    served = Served(model_directory(tmp_path, settings={key: value for key, value in WORKSHOP.items() if value}))
    wish = {} if top_k is None else {"top_k": top_k}
    requests: list[Any] = [{"body": {"text": text, "request_id": "test_id", **wish}} for text in TEXTS]
    answers = served.answer(*requests)  # more than one failed in the workshop's handler
    assert answers == [served.answer(request)[0] for request in requests]
    for answer in answers:
        ((labels),) = json.loads(answer)
        assert answer == json.dumps([labels], indent=2)
        assert len(labels) == (top_k or 2)
        assert list(labels.values()) == sorted(labels.values(), reverse=True)
    assert sum(json.loads(served.answer({"body": {"text": "jim"}})[0])[0].values()) == pytest.approx(1.0)


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


@settings(max_examples=30)
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


def test_the_documents_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[1] / "docs" / "transformers.md").read_text()
    handler, library = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(handler, names)
    served = Served(model_directory(tmp_path / "my_model"), handler=names["Handler"])
    answers = served.answer(body(TEXTS[0]), body(b"\xff"))
    assert answers[0] in ("ACCEPTED", "NOT ACCEPTED")
    assert served.statuses() == [200, 400]
    monkeypatch.chdir(tmp_path)
    exec(library, names)
    assert names["outcomes"][0].numbers.shape == (1, 2)
