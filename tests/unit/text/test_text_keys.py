"""Keys that a request has beside its text: what would be ignored is refused by name, beside those that are known."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from persia.errors import InvalidInput
from persia.text.requests import RequestReader

TEXT = (
    "expected no keys but text, data, inputs, body, text_pair, format, top_k, target, parameters, request_id in an object with"
)
QUESTION = {"question": "who", "context": "jim"}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"body": {"text": "jim", "topk": 2}}, f"{TEXT} `text`, got 'topk'"),
        ({"body": {"inputs": "jim", "options": {}, "id": 1}}, f"{TEXT} `inputs`, got 'options' and 'id'"),
        ({"data": b"jim", "threshold": b"0.5"}, f"{TEXT} `data`, got 'threshold'"),
        ({"body": b'{"text": "jim", "topk": 2}', "content_type": b"application/json"}, f"{TEXT} `text`, got 'topk'"),
        ({"body": {"text": ["jim", "it"], "topk": 2}}, f"{TEXT} `text`, got 'topk'"),
        ({"body": {"instances": ["jim"], "text": "it"}}, "parameters, request_id in an object with `instances`, got 'text'"),
        ({"body": {**QUESTION, "text": "it"}}, "expected no keys but question, context, format, "),
        (
            {"body": ["jim", {"text": "it", "id": 7}]},
            "entry 1 of the list: expected no keys but text, data, inputs, body, text_pair",
        ),
        (
            {"body": {"inputs": {**QUESTION, "id": 7}}},
            "expected no keys but question, context in an object with `question`, got 'id'",
        ),
        ({"body": {"text": "jim", "parameters": {"topk": 2}}}, "expected format, top_k, target in `parameters`, got 'topk'"),
        ({"body": {"text": "jim", "parameters": 2}}, "expected an object as `parameters`, got 2"),
        ({"body": ["jim", {"text": "it", "target": 1}]}, "entry 1 of the list: expected a text, got `target` beside it"),
        ({"body": {"instances": [{**QUESTION, "target": 1}]}}, "entry 0 of the list: expected a text, got `target` beside it"),
    ],
    ids=str,
)
def test_what_would_be_ignored_is_refused_by_name(data: Any, words: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(words)):
        RequestReader("sequence_classification").read(data)


@pytest.mark.parametrize(
    "data",
    [
        {"body": {"text": "jim", "text_pair": None, "format": "json", "top_k": 1, "target": 0, "request_id": "a"}},
        {"body": {"text": "jim", "data": None, "parameters": {"top_k": 1}}},
        {"body": {"text": "jim", "parameters": None}},
        {"body": b"jim", "request_id": b"a"},
        {"body": b'{"text": "jim"}', "content_type": b"application/json", "request_id": b"a"},
        {"text": b"jim", "request_id": b"a", "top_k": b"1"},
    ],
    ids=str,
)
def test_what_is_known_is_taken(data: Any) -> None:
    (text,) = RequestReader("sequence_classification").read(data).texts
    assert text.first == "jim"


@pytest.mark.parametrize("write", [json.dumps, str])
def test_in_the_examples_own_form_they_are_ignored_as_it_does(write: Any) -> None:
    written = write({**QUESTION, "id": "56be4db0acb8001400a502ec"})
    (text,) = RequestReader("question_answering").read({"body": written.encode()}).texts
    assert (text.first, text.second) == ("who", "jim")
    written = write({"text": "jim", "target": 0, "id": 7})
    captum = RequestReader("sequence_classification", parses_text=True)
    assert captum.read({"body": written.encode()}).texts[0].first == "jim"
