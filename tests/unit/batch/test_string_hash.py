"""The hash of strings against vectors that an independent implementation of FarmHash wrote."""

import json

import numpy as np
import pytest

from persia import _core
from persia.errors import InvalidInput
from persia.signs import farmhash64, hash_string
from tests.support.places import DATA

VECTORS: list[tuple[str, int]] = [
    (text, int(value)) for text, value in json.loads((DATA / "string_hash_vectors.json").read_text())
]


def test_the_vectors_have_every_length_to_200_bytes_and_text_that_is_not_ascii() -> None:
    assert {len(text.encode()) for text, _ in VECTORS} >= set(range(201))
    assert sum(not text.isascii() for text, _ in VECTORS) >= 10


@pytest.mark.parametrize(("text", "value"), VECTORS)
def test_string(text: str, value: int) -> None:
    assert hash_string(text) == value


def test_strings_one_after_the_other_in_a_buffer_hash_alike() -> None:
    texts = [text.encode() for text, _ in VECTORS]
    offsets = np.cumsum([0, *map(len, texts)])
    assert _core.hash_utf8(b"".join(texts), offsets).tolist() == [value for _, value in VECTORS]


def test_eight_bytes_hash_as_the_number_that_they_are() -> None:
    number = np.frombuffer(b"12345678", "<u8")
    assert hash_string("12345678") == farmhash64(number)[0] == 3430003927990384362


@pytest.mark.parametrize("offsets", [[0, 4], [-1, 2], [2, 1]])
def test_offsets_that_do_not_fit(offsets: list[int]) -> None:
    with pytest.raises(InvalidInput, match="offsets that rise within 3 bytes"):
        _core.hash_utf8(b"abc", np.array(offsets))


@pytest.mark.parametrize(("texts", "problem"), [(["a", None], "NoneType at place 1"), (["\ud800"], "surrogate")])
def test_what_is_no_text(texts: list[str], problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        _core.hash_strings(texts)
