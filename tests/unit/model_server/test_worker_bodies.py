"""What a worker makes of a handler's answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from persia import _core
from persia.handlers.answers import json_lines
from persia.model_server.worker_bodies import body_of, indented_json
from persia.model_server.worker_messages import Failure

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
KEYS = st.text() | st.integers() | st.booleans() | st.none()
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner) | st.tuples(inner, inner), max_leaves=12
)


@given(VALUES)
def test_json_is_what_torchserve_writes(value: Any) -> None:
    assert indented_json(value) == json.dumps(value, indent=2).encode()


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
@example([0.0, -0.0, 1e-4, 9.999e-5, 1e16, 9999999999999998.0, 5e-324, 1.7976931348623157e308, 2.0**53, 123.0])
def test_numbers_are_written_as_python_writes_them(numbers: list[float]) -> None:
    assert _core.json_lines(numbers) == json.dumps(numbers, indent=2).encode()


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1))
def test_scores_are_written_as_python_writes_them(scores: list[float]) -> None:
    assert json_lines(scores) == json.dumps(scores, indent=2).encode()


class Number(float):
    """Of a subclass, which may be written in another way."""


@pytest.mark.parametrize(
    "value", [[0.25, 0.5], [float("nan")], [Number(0.5)], (1, 2), {"a": 1, "b": ",\n"}, [], {}, [[1]], [{}]]
)
def test_json_of_flat_values_is_what_torchserve_writes(value: Any) -> None:
    assert body_of(value) == json.dumps(value, indent=2).encode()


@pytest.mark.parametrize("value", [object(), [object()], {"a": {1}}, "\ud800"])
def test_what_has_no_json_cannot_be_sent(value: Any) -> None:
    with pytest.raises(Failure, match="Unsupported model output data type"):
        body_of(value)
