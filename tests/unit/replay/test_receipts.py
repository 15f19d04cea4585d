"""Receipts and files of kept answers: what is written is read, and anything else is refused by name."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persia.errors import CorruptFile, InvalidInput, NotReplayable, PersiaError
from persia.receipts.kept import MAGIC, KeptFile, encoded, kept_files, read_kept, write_kept
from persia.receipts.receipt import (
    KeptAnswer,
    Receipt,
    decode_kept_scores,
    parse_receipt,
    read_receipt,
    receipt_of,
)
from persia.torchserve.details import Details, FeatureDetails
from persia.torchserve.scores import encode_scores

BATCH = b"a batch"
SCORES = encode_scores(np.array([0.25, 0.5], np.float32))
DETAILS = Details(
    model="ctr",
    model_version="7.0",
    model_hash="0123456789abcdef",
    table_versions=(77, 78),
    checkpoint="00000000000000ff",
    epoch=42,
    embedding_config="fedcba9876543210",
    features={"user": FeatureDetails(3, 2, 0, 0)},
    release="0.1.0",
)
KEPT = KeptAnswer(receipt_of(DETAILS, BATCH, "npy", SCORES, 1_795_150_000_000), BATCH)


def test_a_receipt_is_read_as_it_was_written() -> None:
    assert parse_receipt(KEPT.receipt.to_bytes(), "x") == KEPT.receipt
    assert KEPT.receipt.shards == 2 and KEPT.receipt.epoch == 42 and KEPT.receipt.features == {"user": (3, 2, 0, 0)}
    np.testing.assert_array_equal(KEPT.scores, [0.25, 0.5])


@pytest.mark.parametrize(
    ("changes", "missing"), [({"release": ""}, "release"), ({"embedding_config": None}, "embedding_config")]
)
def test_details_of_older_programs_make_no_receipt(changes: dict[str, Any], missing: str) -> None:
    with pytest.raises(NotReplayable) as caught:
        receipt_of(msgspec.structs.replace(DETAILS, **changes), BATCH, "npy", SCORES, 0)
    assert caught.value.missing == missing


FAULTS: list[tuple[str, Any, str]] = [
    ("format", 2, "`int` <= 1"),
    ("model_hash", "0123456789ABCDEF", "matching regex"),
    ("checkpoint", "0123", "matching regex"),
    ("epoch", -1, "`int` >= 0"),
    ("table_versions", [], "length >= 1"),
    ("missing_shards", [2], "missing shards below 2"),
    ("features", {"user": [1, 2, 3]}, "`array` of length 4"),
    ("batch_sha256", "x", "matching regex"),
    ("scores_format", "xml", "matching regex"),
    ("scores", "?", "base64"),
    ("signed_by", "me", "unknown field `signed_by`"),
]


@pytest.mark.parametrize(("key", "value", "message"), FAULTS, ids=[key for key, _, _ in FAULTS])
def test_a_receipt_that_says_something_else_is_corrupt(key: str, value: Any, message: str) -> None:
    told = json.loads(KEPT.receipt.to_bytes())
    with pytest.raises(CorruptFile, match=message):
        parse_receipt(json.dumps({**told, key: value}).encode(), "x.json")


@pytest.mark.parametrize("key", Receipt.__struct_fields__)
def test_no_field_may_be_missing(key: str) -> None:
    told = json.loads(KEPT.receipt.to_bytes())
    del told[key]
    with pytest.raises(CorruptFile, match=f"missing required field `{key}`"):
        parse_receipt(json.dumps(told).encode(), "x.json")


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_other_bytes_are_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptFile):
        parse_receipt(data, "x.json")


def test_a_receipt_and_a_batch_that_do_not_belong_together_are_told_apart(tmp_path: Path) -> None:
    receipt, batch = tmp_path / "receipt.json", tmp_path / "batch.bin"
    receipt.write_bytes(KEPT.receipt.to_bytes())
    batch.write_bytes(BATCH)
    assert read_receipt(receipt, batch) == KeptAnswer(KEPT.receipt, BATCH, str(receipt))
    batch.write_bytes(BATCH + b".")
    with pytest.raises(CorruptFile, match="which the receipt names"):
        read_receipt(receipt, batch)


@given(st.lists(st.tuples(st.binary(max_size=30), st.binary(max_size=30)), max_size=4))
def test_files_have_the_answers_that_were_written(answers: list[tuple[bytes, bytes]]) -> None:
    kept = [KeptAnswer(receipt_of(DETAILS, batch, "json", scores, 5), batch) for batch, scores in answers]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "x.kept"
        write_kept(path, kept)
        assert [(answer.receipt, answer.batch) for answer in read_kept(path)] == [(one.receipt, one.batch) for one in kept]


def test_a_file_that_ends_anywhere_has_the_answers_before_and_says_so(tmp_path: Path) -> None:
    whole, one = MAGIC + encoded(KEPT) * 2, len(MAGIC) + len(encoded(KEPT))
    path = tmp_path / "x.kept"
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        file = KeptFile(path)
        assert len(list(file)) == (size >= one), size
        is_whole = size in (len(MAGIC), one)
        assert (file.torn_at is None) == is_whole, size
        if not is_whole:
            with pytest.raises(CorruptFile):
                read_kept(path)


def test_a_byte_that_is_another_one_is_found_wherever_it_is(tmp_path: Path) -> None:
    whole = MAGIC + encoded(KEPT) * 2
    path = tmp_path / "x.kept"
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with pytest.raises(CorruptFile):
            read_kept(path)


def test_a_length_with_another_bit_is_no_torn_tail(tmp_path: Path) -> None:
    whole, one = MAGIC + encoded(KEPT) * 2, len(encoded(KEPT))
    path = tmp_path / "x.kept"
    for begin in (len(MAGIC), len(MAGIC) + one):
        for bit in range(8 * 8):  # both lengths
            at = begin + bit // 8
            path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << bit % 8)]) + whole[at + 1 :])
            with pytest.raises(CorruptFile) as caught:
                list(KeptFile(path))
            assert caught.value.byte == begin


def test_files_of_kept_answers_have_a_name_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"ends with \.kept"):
        write_kept(tmp_path / "x.json", [KEPT])
    write_kept(tmp_path / "b.kept", [KEPT])
    write_kept(tmp_path / "a.kept", [])
    (tmp_path / "notes.txt").touch()
    assert [file.path.name for file in kept_files(tmp_path)] == ["a.kept", "b.kept"]
    assert [len(list(file)) for file in kept_files(tmp_path)] == [0, 1]


def test_raw_scores_are_numbers_of_four_bytes() -> None:
    np.testing.assert_array_equal(decode_kept_scores("raw", np.array([1.5], "<f4").tobytes()), [1.5])
    with pytest.raises(PersiaError, match="float32"):
        decode_kept_scores("raw", b"123")
