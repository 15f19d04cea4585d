"""The byte batch against golden files, against bytes written by hand, and against noise."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persia._core import Batch, BatchEncoder, decode_batch
from persia.errors import DecodeError
from tests.support.examples import examples
from tests.support.golden import golden
from tests.support.limits import memory_budget
from tests.support.reference import DTYPES
from tests.support.reference import Batch as Reference

GOLDEN_BATCHES = golden("*.bin")


def le(fields: str, *values: Any) -> bytes:
    return struct.pack("<" + fields, *values)


def text(value: str) -> bytes:
    return le("I", len(value.encode())) + value.encode()


# A batch written out by hand: a 2 x 1 float32 tensor, the feature "ab" with sample 0 = [7, 7] and sample 1 = [2**64 - 1].
DENSE = b"".join(
    [
        le("II", 0, 2),  # CPU storage, float32
        le("I2f", 2, 0.5, -1.0),
        le("I2Q", 2, 2, 1),  # shape
        le("I2q", 2, 1, 1),  # strides
        le("B", 1) + text("x"),
        le("IB", 0, 0),  # CPU device without an id
    ]
)
FEATURE = b"".join(
    [
        text("ab"),
        le("I", 2),
        le("QI4H", 7, 2, 0, 0, 0, 1),
        le("QI2H", 2**64 - 1, 1, 1, 0),
        le("I2I", 2, 2, 1),  # ids per sample
        le("I", 2) + le("QqQq", 7, 0, 2**64 - 1, 1),
        le("H", 2),  # batch size
    ]
)
BY_HAND = le("I", 1) + DENSE + le("I", 1) + le("BI", 1, 1) + FEATURE + le("BBB", 0, 0, 0) + le("I", 0) + le("BI2s", 1, 2, b"me")
BY_HAND += le("BQ", 1, 99)


def test_decodes_bytes_written_by_hand() -> None:
    batch = decode_batch(BY_HAND)
    assert batch.dense_names == ["x"] and batch.labels == [] and batch.label_names == []
    assert batch.dense[0].dtype == np.float32 and batch.dense[0].tolist() == [[0.5], [-1.0]]
    assert batch.has_ids and batch.requires_grad and batch.meta == b"me" and batch.batch_id == 99
    (feature,) = batch.features
    assert (feature.name, feature.batch_size) == ("ab", 2)
    assert feature.ids.tolist() == [7, 2**64 - 1] and feature.offsets.tolist() == [0, 2, 3]
    assert feature.positions.tolist() == [[0, 0], [0, 1], [1, 0]] and feature.ids_per_sample.tolist() == [2, 1]


def test_encodes_bytes_written_by_hand() -> None:
    encoder = BatchEncoder()
    encoder.add_dense(np.array([[0.5], [-1.0]], np.float32), "x")
    encoder.add_ids("ab", np.array([7, 7, 2**64 - 1], np.uint64), np.array([0, 2, 3]))
    encoder.set_requires_grad(True)
    encoder.set_meta(b"me")
    encoder.set_batch_id(99)
    assert encoder.to_bytes() == BY_HAND


def test_a_batch_without_ids() -> None:
    batch = decode_batch(bytes(14))
    assert not batch.has_ids and batch.features == [] and batch.meta is None and batch.batch_id is None


def samples_of(feature: Any) -> list[list[int]]:
    rows = [[0] * count for count in feature.ids_per_sample.tolist()]
    ids = np.repeat(feature.ids, np.diff(feature.offsets))
    for sign, (sample, column) in zip(ids.tolist(), feature.positions.tolist(), strict=True):
        rows[sample][column] = sign
    return rows


def assert_same(batch: Batch, reference: Reference) -> None:
    for arrays, names, expected in (
        (batch.dense, batch.dense_names, reference.dense),
        (batch.labels, batch.label_names, reference.labels),
    ):
        assert names == [name for name, _ in expected]
        for array, (_, other) in zip(arrays, expected, strict=True):
            assert array.dtype == other.dtype and array.shape == other.shape and array.tobytes() == other.tobytes()
    assert (batch.requires_grad, batch.meta, batch.batch_id) == (reference.requires_grad, reference.meta, reference.batch_id)
    assert batch.has_ids == (reference.features is not None)
    for feature, same in zip(batch.features, reference.features or [], strict=True):
        assert (feature.name, feature.batch_size) == (same.name, same.batch_size)
        assert feature.ids.tolist() == list(same.index)
        assert samples_of(feature) == same.samples()


def encode_again(batch: Batch) -> bytes:
    encoder = BatchEncoder()
    for array, name in zip(batch.dense, batch.dense_names, strict=True):
        encoder.add_dense(array, name or "")
    for array, name in zip(batch.labels, batch.label_names, strict=True):
        encoder.add_label(array, name or "")
    for feature in batch.features:
        encoder.add_id_lists(feature.name, [np.array(ids, np.uint64) for ids in samples_of(feature)])
    encoder.set_requires_grad(batch.requires_grad)
    if batch.meta is not None:
        encoder.set_meta(batch.meta)
    if batch.batch_id is not None:
        encoder.set_batch_id(batch.batch_id)
    return encoder.to_bytes()


@pytest.mark.parametrize("path", GOLDEN_BATCHES, ids=lambda path: f"{path.parts[-3]}-{path.parts[-2]}-{path.stem}")
def test_golden_batches(path: Path) -> None:
    raw = path.read_bytes()
    batch, reference = decode_batch(raw), Reference.read(raw)
    assert_same(batch, reference)
    again = encode_again(batch)
    assert len(again) == len(raw)
    other = Reference.read(again)
    for mine, theirs in zip(other.features or [], reference.features or [], strict=True):
        assert mine.samples() == theirs.samples() and mine.name == theirs.name
    assert [(n, a.tobytes()) for n, a in other.dense] == [(n, a.tobytes()) for n, a in reference.dense]
    assert other.requires_grad == reference.requires_grad


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
ids = st.integers(0, 2**64 - 1) | st.integers(0, 5)


@st.composite
def encoded(draw: st.DrawFn) -> tuple[BatchEncoder, dict[str, list[list[int]]], list[np.ndarray]]:
    size = draw(st.integers(0, 6))
    encoder, features, dense = BatchEncoder(), {}, []
    for name in draw(st.lists(names, max_size=4, unique=True)):
        samples = draw(st.lists(st.lists(ids, max_size=5), min_size=size, max_size=size))
        arrays = [np.array(sample, np.uint64) for sample in samples]
        if draw(st.booleans()):
            encoder.add_id_lists(name, arrays)
        else:
            offsets = np.cumsum([0] + [len(sample) for sample in samples])
            encoder.add_ids(name, np.concatenate([np.array([], np.uint64), *arrays]), offsets)
        features[name] = samples
    for dtype in draw(st.lists(st.sampled_from(DTYPES), max_size=4)):
        shape = (size, *draw(st.lists(st.integers(0, 3), max_size=3)))
        raw = draw(st.binary(min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
        dense.append(np.frombuffer(raw, np.uint8).reshape(shape).astype(dtype))
        encoder.add_dense(dense[-1], draw(names))
    return encoder, features, dense


@settings(max_examples=examples(200), deadline=None)
@given(encoded())
def test_round_trip(case: tuple[BatchEncoder, dict[str, list[list[int]]], list[np.ndarray]]) -> None:
    encoder, features, dense = case
    raw = encoder.to_bytes()
    batch = decode_batch(raw)
    assert_same(batch, Reference.read(raw))
    assert {feature.name: samples_of(feature) for feature in batch.features} == features
    for mine, theirs in zip(batch.dense, dense, strict=True):
        assert mine.dtype == theirs.dtype and mine.shape == theirs.shape and mine.tobytes() == theirs.tobytes()


def test_arrays_are_read_only_views_that_keep_the_bytes_alive() -> None:
    raw = bytearray(BY_HAND)
    batch = decode_batch(raw)
    dense, feature = batch.dense[0], batch.features[0]
    assert not dense.flags.writeable and not feature.ids.flags.writeable and not feature.positions.flags.writeable
    struct.pack_into("<f", raw, 16, 8.5)
    assert dense.tolist() == [[8.5], [-1.0]]  # no copy was made
    with pytest.raises(BufferError):
        raw.clear()
    signs = feature.ids
    del batch, feature
    assert signs.tolist() == [7, 2**64 - 1]


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, lambda raw: np.frombuffer(raw, np.uint8)])
def test_takes_anything_with_bytes(wrap: Callable[[bytes], Any]) -> None:
    assert decode_batch(wrap(BY_HAND)).batch_id == 99


@pytest.mark.parametrize("wrong", ["text", 3, None, [1, 2]])
def test_refuses_what_has_no_bytes(wrong: Any) -> None:
    with pytest.raises(TypeError):
        decode_batch(wrong)


def test_errors_say_what_was_expected_what_came_and_where() -> None:
    with pytest.raises(
        DecodeError, match=r"at byte 4: expected a tensor in CPU memory \(storage 0\), got tensor storage 1"
    ) as caught:
        decode_batch(BY_HAND[:4] + le("I", 1) + BY_HAND[8:])
    assert caught.value.byte == 4 and caught.value.code == "INVALID_ARGUMENT"
    tag = 4 + len(DENSE)
    with pytest.raises(DecodeError, match="exists in training only"):
        decode_batch(BY_HAND[:tag] + le("I", 2) + BY_HAND[tag + 4 :])
    with pytest.raises(DecodeError, match=f"at byte {len(BY_HAND)}: expected the end of the batch, got 1 more bytes"):
        decode_batch(BY_HAND + b"\0")


def test_a_length_is_not_believed_before_its_bytes_are_there() -> None:
    with memory_budget(megabytes=256):
        for at in range(len(BY_HAND) - 3):
            inflated = BY_HAND[:at] + b"\xff\xff\xff\x7f" + BY_HAND[at + 4 :]
            try:
                decode_batch(inflated)
            except DecodeError as error:
                assert 0 <= error.byte <= len(inflated)


def test_noise_ends_in_a_batch_or_a_decode_error() -> None:
    source = random.Random(11)
    seeds = [path.read_bytes() for path in GOLDEN_BATCHES if path.stat().st_size < 5000] + [BY_HAND]
    outcomes = {"accepted": 0, "refused": 0}
    for _ in range(5000):
        raw = bytearray(source.choice(seeds))
        for _ in range(source.randint(1, 3)):
            raw[source.randrange(len(raw))] = source.randrange(256)
        raw = raw[: source.choice([len(raw), len(raw), source.randrange(len(raw) + 1)])]
        try:
            batch = decode_batch(raw)
        except DecodeError as error:
            assert 0 <= error.byte <= len(raw) and error.expected and error.got
            outcomes["refused"] += 1
        else:
            assert all(int(feature.positions.shape[0]) == int(feature.ids_per_sample.sum()) for feature in batch.features)
            outcomes["accepted"] += 1
    assert min(outcomes.values()) > 100
