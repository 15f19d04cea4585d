"""The errors as values: their messages, their parts, their way to another process."""

from __future__ import annotations

import pickle

import pytest

from persia import errors

EXAMPLES = [
    (errors.PersiaError("x"), "x"),
    (errors.InvalidInput("x"), "x"),
    (errors.FeatureError("age", "expected 2 samples, got 3"), "'age': expected 2 samples, got 3"),
    (errors.DecodeError("0 or 1", "2", 7), "at byte 7: expected 0 or 1, got 2"),
    (errors.ExportError("x"), "x"),
    (errors.NotRepresentable("x"), "x"),
    (errors.DuplicateSign(7, "x.emb"), "expected each sign once, got 7 twice, for x.emb"),
    (errors.NotFound("x"), "x"),
    (errors.AccessDenied("x"), "x"),
    (errors.TooLarge("x"), "x"),
    (errors.ConfigError("not a slot"), "not a slot - at `$`"),
    (errors.ConfigError("not a slot", "$.a", "f.yml", 3), "f.yml, line 3: not a slot - at `$.a`"),
    (errors.CorruptFile("x.emb", "0 or 1", "2", 7), "x.emb at byte 7: expected 0 or 1, got 2"),
    (errors.NotReplayable("packet", "x"), "x"),
    (errors.Overloaded("x"), "x"),
    (errors.Superseded("x"), "x"),
    (errors.Unauthenticated("x"), "x"),
    (errors.Unavailable("x"), "x"),
    (errors.DeadlineExceeded("x"), "x"),
]


def test_every_error_is_tried() -> None:
    assert {type(error).__name__ for error, _ in EXAMPLES} == set(errors.__all__)


@pytest.mark.parametrize(("error", "message"), EXAMPLES, ids=lambda value: type(value).__name__)
def test_messages_survive_the_way_to_another_process(error: errors.PersiaError, message: str) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error) and str(copy) == str(error) == message
    assert vars(copy) == vars(error) and copy.code == error.code


@pytest.mark.parametrize("error", [error for error, _ in EXAMPLES], ids=lambda value: type(value).__name__)
def test_the_docstring_tells_what_each_error_also_is(error: errors.PersiaError) -> None:
    (line,) = [line for line in (errors.__doc__ or "").splitlines() if f" {type(error).__name__} " in f"{line} "]
    assert error.code in line
    for builtin in (ValueError, LookupError, PermissionError, ConnectionError, TimeoutError):
        if builtin in type(error).__bases__:
            assert f"also a {builtin.__name__}" in line
