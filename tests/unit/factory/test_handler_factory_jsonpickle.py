"""jsonpickle's text, read and written as plain data. The texts in data/jsonpickle are those of the real one."""

from __future__ import annotations

import base64
import json
import random
import sys
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from persia.errors import InvalidInput, TooLarge
from persia.handlers.factory.allowance import MAX_VALUES
from persia.handlers.factory.jsonpickle_reading import read_json_value, read_jsonpickle
from persia.handlers.factory.jsonpickle_writing import write_jsonpickle
from tests.support.places import DATA

TEXTS: dict[str, str] = json.loads((DATA / "jsonpickle" / "4.1.4.json").read_text())

SHARED = [1, 2]
PLAIN = {
    "a": SHARED,
    "b": (SHARED, [1.5, None, True, 'é"']),
    "c": {3},
    "d": b"\xff",
    1: float("inf"),
    None: (),
    (1, 2): {"a": [[], SHARED]},
}
ARRAY = np.arange(3, dtype=np.float32)
ARRAYS = {"a": ARRAY, "b": [ARRAY.copy(), ARRAY], "c": np.asfortranarray(np.arange(6).reshape(2, 3))}
TENSORS = [torch.tensor([[1.0, 3.0], [2.0, 4.0]]), torch.tensor([1, 2]), torch.ones(2, dtype=torch.bfloat16), torch.zeros(0, 3)]


@pytest.mark.parametrize(("name", "value"), [("plain", PLAIN), ("numpy", ARRAYS)])
def test_what_is_written_is_what_jsonpickle_writes(name: str, value: object) -> None:
    assert write_jsonpickle(value) == TEXTS[name].replace("numpy._core", np.array(0).__reduce__()[0].__module__[:11])


def as_json_keys(value: Any) -> Any:
    """jsonpickle makes text of keys."""
    if isinstance(value, dict):
        return {("null" if key is None else str(key)): as_json_keys(item) for key, item in value.items()}
    return type(value)(map(as_json_keys, value)) if isinstance(value, (list, tuple)) else value


def test_plain_data_of_jsonpickle_is_read() -> None:
    assert read_jsonpickle(TEXTS["plain"]) == as_json_keys(PLAIN)


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("numpy", ARRAYS),
        ("numpy scalar", np.float32(1.5)),
        ("numpy handler", ARRAY),
        ("numpy handler scalar", np.float32(1.5)),
        ("numpy handler, zlib", np.zeros((2, 200), np.int16)),
        ("numpy handler, view", np.zeros((2, 200))),
        ("torch", TENSORS),
    ],
)
def test_arrays_of_jsonpickle_are_read(name: str, want: object) -> None:
    assert_same(read_jsonpickle(TEXTS[name]), want)


def test_tensors_come_back_as_they_were() -> None:
    rows = torch.arange(1000.0).reshape(10, 100)
    text = write_jsonpickle([*TENSORS, rows[3]])
    assert_same(read_jsonpickle(text), [*TENSORS, rows[3]])
    assert len(text) < 4000  # without the other rows, which are other callers'


def assert_same(found: Any, want: Any) -> None:
    assert type(found) is type(want)
    if isinstance(want, dict):
        assert found.keys() == want.keys()
        found, want = list(found.values()), list(want.values())
    if isinstance(want, (list, tuple)):
        assert len(found) == len(want)
        for one, other in zip(found, want, strict=True):
            assert_same(one, other)
    elif isinstance(want, torch.Tensor):
        assert found.dtype == want.dtype and torch.equal(found, want)
    else:
        np.testing.assert_array_equal(found, want)
        assert getattr(found, "dtype", None) == getattr(want, "dtype", None)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
KEYS = st.text().filter(lambda key: not key.startswith("py/"))
HASHABLE = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=5)
VALUES = st.recursive(
    SCALARS | st.sets(HASHABLE, max_size=3),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(KEYS, inner),
    max_leaves=20,
)


@given(VALUES, st.integers(1, 3))
def test_plain_data_survives(value: Any, times: int) -> None:
    """Also if it stands there several times, and then as a number."""
    repeated = [value] * times
    assert read_jsonpickle(write_jsonpickle(repeated)) == repeated


HOSTILE = [
    {"py/reduce": [{"py/function": "os.mkdir"}, {"py/tuple": ["here"]}]},
    {"py/reduce": [{"py/type": "pathlib.Path.touch"}, {"py/tuple": ["here"]}]},
    {"py/object": "subprocess.Popen", "py/newargs": [["touch", "here"]]},
    {"py/object": "numpy.ndarray", "py/reduce": [{"py/function": "os.mkdir"}, {"py/tuple": ["here"]}]},
    {"py/function": "os.getcwd"},
    {"py/type": "os.system"},
    {"py/repr": "os/os.mkdir('here')"},
    {"py/module": "os"},
    {"py/ref": "/"},
    {"py/iterator": [1]},
    {"py/tuple": 3},
    {"py/tuple": [1], "py/set": [1]},
    {"py/set": [[1]]},
    {"py/b64": "?"},
    {"py/b85": "\u0100"},
    {"py/id": 0},
    {"py/id": -1},
    {"py/id": True},
    {"py/reduce": [{"py/type": "numpy.dtype"}, {"py/tuple": ["O8", False, True]}, {"py/tuple": [3, "|"]}]},
]


@pytest.mark.parametrize("value", HOSTILE, ids=json.dumps)
def test_what_would_run_code_is_refused_and_runs_nothing(
    value: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    for text in (json.dumps(value), json.dumps([{"a": {"py/tuple": [value]}}])):
        with pytest.raises(InvalidInput, match="expected"):
            read_jsonpickle(text)
    assert not list(tmp_path.iterdir()) and set(sys.modules) == before


NUMPY_PARTS = [
    ('"f4", false', '"O", false'),
    ('"f4", false', '"V4", false'),
    ('"<"', '"?"'),
    ('{"py/tuple": [3]}', '{"py/tuple": [-3]}'),
    ('{"py/tuple": [3]}', '{"py/tuple": [99999999999]}'),
    ('{"py/tuple": [3]}', '{"py/tuple": [true]}'),
]


@pytest.mark.parametrize(("part", "other"), NUMPY_PARTS)
def test_an_array_that_is_not_what_it_says_is_refused(part: str, other: str) -> None:
    assert part in TEXTS["numpy"]
    with pytest.raises(InvalidInput, match="expected"):
        read_jsonpickle(TEXTS["numpy"].replace(part, other, 1))


TORCH_PARTS = [
    ('{"py/tuple": [2, 2]}', '{"py/tuple": [2, 3]}'),
    ('{"py/tuple": [2, 2]}', '{"py/tuple": [2, 20000000000]}'),
    ('{"py/tuple": [2, 2]}, {"py/tuple": [1, 2]}', '{"py/tuple": [2, 20000000000]}, {"py/tuple": [0, 0]}'),
    ('}, 0, {"py/tuple": [2, 2]}', '}, 1, {"py/tuple": [2, 2]}'),
    ('}, 0, {"py/tuple": [2, 2]}', '}, -1, {"py/tuple": [2, 2]}'),
    ("torch.storage._load_from_bytes", "torch.load"),
    ("bG9hdFN0b3JhZ2", "bG9hdFN0b3JhYY"),  # FloatStorage, misspelt
]


@pytest.mark.parametrize(("part", "other"), TORCH_PARTS)
def test_a_tensor_that_is_not_what_it_says_is_refused(part: str, other: str) -> None:
    assert part in TEXTS["torch"]
    with pytest.raises(InvalidInput, match="expected"):
        read_jsonpickle(TEXTS["torch"].replace(part, other, 1))


def view_of_bytes(shape: Any, strides: Any, offset: Any) -> Any:
    """The text of a view of the bytes 0 to 63, read."""
    base = {"py/object": "numpy.ndarray", "dtype": "uint8", "values": list(range(64))}
    view = {"py/object": "numpy.ndarray", "dtype": "uint8", "base": base, "shape": shape, "strides": strides, "offset": offset}
    return read_jsonpickle(json.dumps(view))


OUTSIDE_VIEWS = [
    ([32], [1], -32),
    ([32], None, -32),
    ([32], None, -(1 << 40)),
    ([5], [1 << 62], 0),
    ([2], [-1], 0),
    ([2], [1], 63),
    ([2], None, 63),
    ([1], None, 1 << 70),
    ([2], [1 << 70], 0),
    ([0], [1 << 70], 0),
    ([0, 1 << 47, 1 << 47], None, 0),
    ([0], None, -1),
    ([1], "x", 0),
    ([1], None, "a"),
    ([1], None, True),
    ([1], [True], 0),
    ([1], [1, 1], 0),
    ([1], [1.0], 0),
    ([1] * 33, None, 0),
]


@pytest.mark.parametrize(("shape", "strides", "offset"), OUTSIDE_VIEWS, ids=str)
def test_a_view_that_does_not_lie_in_its_array_is_refused(shape: Any, strides: Any, offset: Any) -> None:
    with pytest.raises(InvalidInput, match="expected"):
        view_of_bytes(shape, strides, offset)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(-20, 20)), max_size=3),
    st.integers(-10, 70),
)
def test_a_view_shows_bytes_of_its_array_or_is_refused(axes: list[tuple[int, int]], offset: int) -> None:
    shape, strides = [length for length, _ in axes], [step for _, step in axes]
    places = [offset + sum(i * step for i, step in zip(index, strides, strict=True)) for index in np.ndindex(*shape)]
    if 0 <= offset <= 64 and len(places) <= 64 and all(0 <= place < 64 for place in places):
        np.testing.assert_array_equal(view_of_bytes(shape, strides, offset), np.reshape(np.array(places, np.uint8), shape))
    else:
        with pytest.raises(InvalidInput, match="expected"):
            view_of_bytes(shape, strides, offset)


def test_an_empty_array_of_an_impossible_shape_is_refused() -> None:
    zeros = {"py/object": "numpy.ndarray", "dtype": "uint8", "values": "eJwDAAAAAAE=", "shape": [0, 1 << 47, 1 << 47]}
    with pytest.raises(InvalidInput, match="expected the shape of an array"):
        read_json_value(zeros)


def test_a_short_text_cannot_stand_for_a_long_one() -> None:
    levels = '{"py/id": %d}'
    doubled = "[[1,1,1,1]," + ",".join(f"[{levels % i},{levels % i}]" for i in range(1, 40)) + "]"
    with pytest.raises(TooLarge, match=f"at most {MAX_VALUES} values"):
        read_jsonpickle(doubled)
    zeros = {"py/object": "numpy.ndarray", "values": "eA==", "dtype": "float64", "byteorder": "<", "shape": [1 << 30]}
    with pytest.raises(TooLarge, match="arrays of at most"):
        read_json_value(zeros)


def packed_zeros(size: int) -> dict[str, Any]:
    data = base64.b64encode(zlib.compress(bytes(size), 9)).decode()
    return {"py/object": "numpy.ndarray", "dtype": "uint8", "values": data, "shape": [size]}


def test_the_arrays_of_a_request_are_limited_together() -> None:
    assert len(read_json_value([packed_zeros(400)] * 2, 1000)) == 2
    with pytest.raises(TooLarge, match="arrays of at most 1000 bytes in a request"):
        read_json_value([packed_zeros(400)] * 3, 1000)
    view = {"py/object": "numpy.ndarray", "dtype": "uint8", "base": packed_zeros(400), "shape": [400]}
    with pytest.raises(TooLarge, match="arrays of at most 1000 bytes"):
        read_json_value([view, view], 1000)


@pytest.mark.parametrize("array", [np.zeros(400, np.uint8), torch.zeros(100)], ids=["numpy", "torch"])
def test_a_reference_to_an_array_counts_as_the_array(array: Any) -> None:
    assert len(read_jsonpickle(write_jsonpickle([array] * 2), 1000)) == 2
    holder = [array]
    for value in ([array] * 3, [holder] * 3):
        with pytest.raises(TooLarge, match="arrays of at most 1000 bytes"):
            read_jsonpickle(write_jsonpickle(value), 1000)


@pytest.mark.parametrize("opening", ["[", '{"a":', '{"py/tuple":[', '{"py/set":['])
def test_a_text_that_nests_too_deeply_is_refused(opening: str) -> None:
    with pytest.raises(InvalidInput):
        read_jsonpickle(opening * 100_000)
    closing = opening.replace('"a":', "").replace('"py/tuple":', "").replace('"py/set":', "")
    closing = closing[::-1].translate(str.maketrans("[{", "]}"))
    with pytest.raises(InvalidInput):
        read_jsonpickle(opening * 3000 + "1" + closing * 3000)


@given(st.sampled_from(sorted(TEXTS)), st.randoms(use_true_random=False))
def test_a_damaged_text_is_read_or_refused_and_runs_nothing(name: str, chance: random.Random) -> None:
    modules = set(sys.modules)
    text = list(TEXTS[name])
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(text))
        text[place] = chance.choice(["", text[place] * 2, chance.choice('[]{}",:0129-eEAz/_'), '{"py/id": 1}', "1e9"])
    with suppress(InvalidInput, TooLarge):
        read_jsonpickle("".join(text))
    assert set(sys.modules) == modules
