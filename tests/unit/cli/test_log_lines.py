"""Lines of the log as objects of JSON."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persia import _core
from persia.cli.log_lines import JsonLines, log_to_stderr


def line_of(message: str, *arguments: Any, **others: Any) -> str:
    record = logging.LogRecord("rows", logging.WARNING, "x.py", 1, message, arguments, others.pop("exc_info", None))
    vars(record).update(others)
    return JsonLines().format(record)


def test_a_line_says_when_how_bad_where_and_what() -> None:
    line = json.loads(line_of("%d rows of %s", 3, "s0"))
    assert line.pop("thread")
    when = datetime.fromisoformat(line.pop("time"))
    assert abs((datetime.now(timezone.utc) - when).total_seconds()) < 60
    assert line == {"level": "WARNING", "logger": "rows", "message": "3 rows of s0"}


def test_what_the_core_says_by_itself_is_of_the_same_form() -> None:
    text = 'internal error of /a/B: "x"\n\x01'
    assert _core.problem_line(text) == f"{text}\n"
    _core.set_problem_lines(True)
    try:
        written = _core.problem_line(text)
    finally:
        _core.set_problem_lines(False)
    line, usual = json.loads(written), json.loads(line_of("x"))
    assert written.endswith("}\n") and written.count("\n") == 1
    assert abs((datetime.now(timezone.utc) - datetime.fromisoformat(line.pop("time"))).total_seconds()) < 60
    assert line == {"level": "ERROR", "logger": "core", "message": text} and line.keys() <= usual.keys()


def test_the_form_of_the_log_is_that_of_the_core(monkeypatch: pytest.MonkeyPatch) -> None:
    forms: list[bool] = []
    monkeypatch.setattr(_core, "set_problem_lines", forms.append)
    for form in ("json", "text"):
        log_to_stderr("info", form)
    assert forms == [True, False]


def test_fields_stand_beside_the_message() -> None:
    line = json.loads(line_of("x", fields={"model": "ctr", "request_ids": ["a", "b"], "odd": {1}}))
    assert (line["model"], line["request_ids"], line["odd"]) == ("ctr", ["a", "b"], [1])


def test_an_error_is_one_line_with_its_trace() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        text = line_of("it failed", exc_info=(type(error), error, error.__traceback__))
    assert "\n" not in text
    assert json.loads(text)["error"].endswith("ValueError: two\nlines")


@given(st.text())
def test_any_message_is_one_line(message: str) -> None:
    text = line_of("%s", message)
    assert len(text.splitlines()) == 1 or "\n" not in text
    assert json.loads(text)["message"] == message
