"""The ids that go on to a middleware: those of the byte batch in a third of its bytes, and refused when they are spoiled."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persia._core import Batch, decode_batch, decode_ids
from persia.batch import IDTypeFeature, PersiaBatch
from persia.errors import DecodeError, InvalidInput, TooLarge
from tests.support.examples import examples
from tests.support.golden import golden
from tests.support.limits import memory_budget
from tests.support.routing_reference import encode

# The ids 7 (twice) and 9 in one sample of the feature "t".
BY_HAND = bytes.fromhex(
    "50534931 01000000 01000000 74 0100 02000000 03000000 0700000000000000 0900000000000000"
) + bytes.fromhex("01 02 01  01 00 00 00  01 00 02 01  01 03")


def assert_same_ids(got: Batch, want: Batch) -> None:
    assert got.has_ids
    assert [feature.name for feature in got.features] == [feature.name for feature in want.features]
    for ours, theirs in zip(got.features, want.features, strict=True):
        assert ours.batch_size == theirs.batch_size
        for column in ("ids", "offsets", "positions", "ids_per_sample"):
            np.testing.assert_array_equal(getattr(ours, column), getattr(theirs, column), strict=True)


@pytest.mark.parametrize("path", golden("*.bin"), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_golden_ids_come_back(path: Path) -> None:
    batch = decode_batch(path.read_bytes())
    assert_same_ids(decode_ids(batch.encode_ids()), batch)


@settings(max_examples=examples(200))
@given(
    st.dictionaries(
        st.text(max_size=5),
        st.lists(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 3), max_size=300), min_size=2, max_size=2),
        min_size=1,
        max_size=4,
    )
)
def test_any_ids_come_back(features: dict[str, list[list[int]]]) -> None:
    batch = encode(features)
    assert_same_ids(decode_ids(batch.encode_ids()), batch)


def test_wide_columns_come_back() -> None:
    """Samples, columns and counts beyond one byte and beyond two."""
    samples = [np.arange(70, dtype=np.uint64)] + [np.empty(0, np.uint64)] * 299 + [np.full(65_536, 5, np.uint64)]
    batch = decode_batch(PersiaBatch([IDTypeFeature("wide", samples)], requires_grad=False).to_bytes())
    assert_same_ids(decode_ids(batch.encode_ids()), batch)


def test_a_large_batch_takes_a_third_of_its_bytes() -> None:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 200_000, (128, 16)).astype(np.uint64)
    data = PersiaBatch([IDTypeFeature("f", list(ids))], requires_grad=False).to_bytes()
    assert len(decode_batch(data).encode_ids()) <= 0.35 * len(data)


def test_a_batch_without_ids_has_no_id_part() -> None:
    with pytest.raises(InvalidInput, match="the batch has no id features"):
        decode_batch(bytes.fromhex("00000000 00000000 00000000 00 00")).encode_ids()


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (0, 0x51, "an id part, which begins with PSI1"),
        (4, 200, "at most 2 features"),
        (12, 0xFF, "UTF-8 in feature name"),
        (15, 200, "ids and positions that fit"),
        (19, 4, "at least 1 position for each id, and 4 for all"),
        (39, 3, "0, 1, 2 or 4 bytes for each of positions of an id"),
        (41, 0, "1 ids without one"),
        (42, 0, "1, 2 or 4 bytes for each of the sample of a position"),
        (43, 1, "positions in samples below 1, the batch size"),
        (46, 9, "0, 1, 2 or 4 bytes for each of the column"),
        (50, 0, "1, 2 or 4 bytes for each of ids per sample"),
        (51, 2, "as many ids in the samples as there are positions"),
    ],
)
def test_what_is_wrong_and_where(at: int, value: int, message: str) -> None:
    data = bytearray(BY_HAND)
    assert decode_ids(bytes(data)).features[0].ids.tolist() == [7, 9]
    data[at] = value
    with pytest.raises(DecodeError, match=message) as caught:
        decode_ids(bytes(data))
    assert 0 <= caught.value.byte <= len(data)


def test_the_same_feature_twice_and_bytes_after_the_end() -> None:
    feature = BY_HAND[8:]
    with pytest.raises(DecodeError, match="each feature once, got 't' again"):
        decode_ids(BY_HAND[:4] + (2).to_bytes(4, "little") + feature + feature)
    with pytest.raises(DecodeError, match="the end of the ids, got 1 more bytes"):
        decode_ids(BY_HAND + b"\0")


def test_no_ids_are_cut_short_in_silence() -> None:
    for length in range(len(BY_HAND)):
        with pytest.raises(DecodeError):
            decode_ids(BY_HAND[:length])


def test_spoiled_ids_end_in_a_batch_or_a_typed_error_and_in_bounded_memory() -> None:
    seeds = [decode_batch(path.read_bytes()).encode_ids() for path in golden("*.bin")] + [BY_HAND] * 20
    rng = random.Random(7)
    accepted = refused = 0
    with memory_budget(256):
        for _ in range(20_000):
            data = bytearray(rng.choice(seeds))
            for _ in range(rng.randint(1, 3)):
                place = rng.randrange(len(data))
                data[place : place + rng.choice([1, 1, 1, 4])] = rng.choice(
                    [rng.randbytes(1), rng.randbytes(4), b"\xff" * 4, b"\0"]
                )
            try:
                batch = decode_ids(bytes(data))
            except (DecodeError, TooLarge):
                refused += 1
                continue
            accepted += 1
            for feature in batch.features:
                assert feature.offsets[-1] == len(feature.positions) == feature.ids_per_sample.sum()
                assert len(feature.positions) == 0 or feature.positions[:, 0].max() < feature.batch_size
    assert min(accepted, refused) > 1000
