"""What callers may send, what they get, and that one of them never changes what another one gets."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from persia.client.text import _input
from tests.support.places import ROOT
from tests.support.text_serving import QUESTION, SEQUENCE_LABELS, SOURCES, TEXTS, Served, body, model_directory

WORKSHOP = {"save_mode": "original", "top_k": 2, "model_name": "pt-original", "mode": None}


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


@pytest.mark.parametrize("request_", ["jim", ["jim", "it is"], {"text": "jim", "top_k": 2}, {"instances": ["jim"]}])
def test_what_clients_send_over_grpc_is_what_they_send_over_http(sequence: Served, request_: Any) -> None:
    inputs = {key: bytearray(value) for key, value in _input(request_).items()}
    assert sequence.answer(inputs) == sequence.answer({"body": request_})


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


def test_the_documents_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "transformers.md").read_text()
    *_, handler, library = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(handler, names)
    served = Served(model_directory(tmp_path / "my_model"), handler=names["Handler"])
    answers = served.answer(body(TEXTS[0]), body(b"\xff"))
    assert answers[0] in ("ACCEPTED", "NOT ACCEPTED")
    assert served.statuses() == [200, 400]
    monkeypatch.chdir(tmp_path)
    exec(library, names)
    assert names["outcomes"][0].numbers.shape == (1, 2)


def test_the_only_span_there_is_has_the_score_1(question: Served) -> None:
    answer = json.loads(question.answer({"body": {"question": "it is", "context": "virus", "format": "top_k"}})[0])
    assert (answer["answer"], answer["score"]) == ("virus", 1.0)
    assert [span["score"] for span in answer["top_k"]] == [1.0]


HALF = r"expected a text of whole characters, got half of one (\ud83d) at 2: in JSON a character beyond \uffff is two such"
MANY = "9" * 5000


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"body": {"text": "a \ud83d b"}}, HALF),
        ({"body": ["ok", "a \ud83d b"]}, f"entry 1 of the list: {HALF}"),
        ({"body": {"instances": ["ok", {"text": "ok", "text_pair": "a \ud83d"}]}}, f"entry 1 of the list: {HALF}"),
        ({"body": "a \ud83d b"}, HALF),
        ({"a \ud83d b": b""}, HALF),
        ({"text": b"ok", "top_k": MANY.encode()}, "expected a number of labels from 1 on as `top_k`, got a str"),
        ({"body": {"text": "ok", "top_k": MANY}}, "expected a number of labels from 1 on as `top_k`, got a str"),
        ({"body": {"text": "ok", "top_k": True}}, "expected a number of labels from 1 on as `top_k`, got True"),
        (
            {"body": {"instances": [{"text": "ok"}, {"text": "ok", "format": "json"}]}},
            "entry 1 of the list: expected a text, got `format` beside it: wishes are for all texts of a request",
        ),
        ({"body": [{"text": "ok", "top_k": 1}]}, 'stand outside, such as {"instances": [...], "top_k": ...}'),
        ({"body": {"text": {"text": "ok", "format": "json"}}}, "expected a text, got `format` beside it"),
        (
            {"body": {"text": "a", "data": "b"}},
            "expected one text, got `text` and `data`: the second text of a pair is `text_pair`",
        ),
        ({"text": b"a", "data": b"b"}, "expected one text, got `text` and `data`"),
        ({"body": ["a", {"text": "a", "inputs": "b"}]}, "entry 1 of the list: expected one text, got `text` and `inputs`"),
    ],
    ids=lambda value: str(value)[:40].encode("ascii", "replace").decode(),
)
def test_what_no_answer_can_be_given_to_is_refused_with_its_place(sequence: Served, data: Any, words: str) -> None:
    good, refusal = sequence.answer({"body": "it is a new virus"}, data)
    assert sequence.statuses() == [200, 400]
    assert words in json.loads(refusal)["message"]
    assert good in SEQUENCE_LABELS.values()


def test_objects_in_objects_end_somewhere(sequence: Served) -> None:
    text: Any = "it is"
    for _ in range(3000):
        text = {"text": text}
    (_, refusal) = sequence.answer({"body": "it is"}, {"body": text})
    assert sequence.statuses() == [200, 400]
    assert "nested too deep" in json.loads(refusal)["message"]


@pytest.mark.parametrize(
    "target", [MANY, "(0x" + "f" * 5000 + ")", "no number", [16**5000, 0]], ids=["9", "0xf", "text", "list"]
)
def test_a_target_that_is_none_is_refused(sequence: Served, target: Any) -> None:
    (_, refusal) = sequence.answer({"body": "it is"}, {"body": {"text": "it is", "target": target}}, explain=[1])
    assert sequence.statuses() == [200, 400]
    assert "expected the number of a class from 0 to 1 as `target`" in json.loads(refusal)["message"]


@pytest.mark.parametrize("mode", SOURCES)
@pytest.mark.parametrize("form", ["text", "json", "logits"])
def test_numbers_that_are_none_are_no_answer(mode: str, form: str, tmp_path: Path) -> None:
    directory = model_directory(tmp_path, mode)
    weights = load_file(directory / "model.safetensors")
    for name in weights:
        if name.endswith("bias") and name.startswith(("classifier", "qa_outputs")):
            weights[name].fill_(float("nan"))
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    served = Served(directory)
    request = {**QUESTION, "format": form} if mode == "question_answering" else {"text": "it is", "format": form}
    answers = served.answer({"body": request}, {"body": request}, explain=[1])
    assert served.statuses() == [500, 500]
    assert "the model answered NaN" in json.loads(answers[0])["message"]
    assert "the model answered NaN or infinity, which JSON does not have" in json.loads(answers[1])["message"]
