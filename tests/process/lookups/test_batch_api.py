"""The classes that clients build batches with, of both generations."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest

import persia.batch
import persia.embedding.data
from persia._core import BatchEncoder, decode_batch
from persia.batch import IDTypeFeature, IDTypeFeatureWithSingleID, Label, NonIDTypeFeature, PersiaBatch
from persia.errors import FeatureError, InvalidInput, TooLarge
from persia.prelude import PyPersiaBatchData
from tests.support.reference import Batch as Reference

U64 = np.uint64


def ids(*samples: list[int]) -> list[np.ndarray]:
    return [np.array(sample, U64) for sample in samples]


def sent(batch: PersiaBatch | PyPersiaBatchData) -> Reference:
    return Reference.read(batch.to_bytes())


def test_a_batch_of_everything() -> None:
    batch = PersiaBatch(
        [
            IDTypeFeature("lists", ids([1, 2, 2], [])),
            IDTypeFeature("csr", np.array([1, 2, 2], U64), np.array([0, 3, 3])),
            IDTypeFeature("matrix", np.array([[1, 2], [3, 4]], U64)),
            IDTypeFeatureWithSingleID("single", np.array([8, 9], U64)),
        ],
        non_id_type_features=[NonIDTypeFeature(np.ones((2, 3), np.float32)), NonIDTypeFeature(np.zeros(2, bool), "flag")],
        labels=[Label(np.zeros((2, 1), np.int64))],
        requires_grad=False,
        meta=b"meta",
    )
    assert batch.batch_size == 2 and batch.data is batch.batch
    got = sent(batch)
    assert got.features is not None
    assert {f.name: f.samples() for f in got.features} == {
        "lists": [[1, 2, 2], []],
        "csr": [[1, 2, 2], []],
        "matrix": [[1, 2], [3, 4]],
        "single": [[8], [9]],
    }
    assert [(name, a.dtype.str, a.shape) for name, a in got.dense] == [
        ("non_id_type_feature_anonymous", "<f4", (2, 3)),
        ("flag", "|b1", (2,)),
    ]
    assert [name for name, _ in got.labels] == ["label_anonymous"]
    assert got.meta == b"meta" and not got.requires_grad and got.batch_id is None


def test_defaults() -> None:
    got = sent(PersiaBatch([IDTypeFeature("f", ids([1]))]))
    assert got.requires_grad and got.meta is None and got.dense == [] and got.labels == []


def test_attributes_of_the_parts() -> None:
    feature, single = IDTypeFeature("f", ids([1], [])), IDTypeFeatureWithSingleID("g", np.zeros(3, U64))
    dense, label = NonIDTypeFeature(np.zeros((4, 2))), Label(np.zeros(5), "named")
    assert [part.batch_size for part in (feature, single, dense, label)] == [2, 3, 4, 5]
    assert [part.name for part in (feature, single, dense, label)] == ["f", "g", "non_id_type_feature_anonymous", "named"]
    assert len(dense) == 4 and IDTypeFeature("f", np.zeros(3, U64), [0, 1, 3]).batch_size == 2


@pytest.mark.parametrize("dtype", ["?", "i1", "i2", "i4", "i8", "u1", "f2", "f4", "f8", "q", ">f4", ">i8"])
def test_dense_dtypes(dtype: str) -> None:
    array = np.arange(6).reshape(2, 3).astype(dtype)
    _, got = sent(PersiaBatch([IDTypeFeature("f", ids([1], [2]))], [NonIDTypeFeature(array)])).dense[0]
    assert got.dtype == array.dtype.newbyteorder("=") and np.array_equal(got, array)


def test_any_memory_layout() -> None:
    wide = np.arange(12, dtype=np.float32).reshape(2, 6)
    signs = np.arange(20, dtype=U64)
    unaligned = np.frombuffer(b"\0" + signs.tobytes(), U64, 2, offset=1)
    batch = PersiaBatch(
        [
            IDTypeFeature("strided", [signs[::3], signs[::-1]]),
            IDTypeFeature("unaligned", [unaligned, unaligned[:1]]),
            IDTypeFeature("unaligned_csr", unaligned, [0, 1, 2]),
            IDTypeFeatureWithSingleID("single", signs[4:8:2]),
        ],
        [NonIDTypeFeature(wide[:, ::2]), NonIDTypeFeature(np.asfortranarray(wide))],
    )
    got = sent(batch)
    assert got.features is not None
    assert got.features[0].samples() == [signs[::3].tolist(), signs[::-1].tolist()]
    assert got.features[1].samples() == [[0, 1], [0]] and got.features[2].samples() == [[0], [1]]
    assert got.features[3].samples() == [[4], [6]]
    assert np.array_equal(got.dense[0][1], wide[:, ::2]) and np.array_equal(got.dense[1][1], wide)


def test_what_was_given_may_change_afterwards() -> None:
    signs, dense = np.array([1], U64), np.array([1.0])
    batch = PersiaBatch([IDTypeFeature("f", [signs])], [NonIDTypeFeature(dense)])
    before = batch.to_bytes()
    signs[0], dense[0] = 2, 2
    assert batch.to_bytes() == before


@pytest.mark.parametrize("meta", [b"m", bytearray(b"m"), memoryview(b"m"), "m"])
def test_meta(meta: Any) -> None:
    assert sent(PersiaBatch([IDTypeFeature("f", ids([1]))], meta=meta)).meta == b"m"


def feature(data: Any, offsets: Any = None) -> PersiaBatch:
    return PersiaBatch([IDTypeFeature("bad", data, offsets)])


def dense(array: Any) -> PersiaBatch:
    return PersiaBatch([IDTypeFeature("f", ids([1], [2]))], [NonIDTypeFeature(array, "bad")])


three = np.array([1, 2, 3], U64)


@pytest.mark.parametrize(
    ("build", "problem"),
    [
        (lambda: feature([three.astype(np.float64)]), "got float64 in sample 0: a float has lost the digits of a large id"),
        (
            lambda: feature([three, three.astype(bool)]),
            "got integers in sample 0 and bools in sample 1",
        ),
        (lambda: feature([three[None]]), "expected 1 dimension for sample 0, got more"),
        (lambda: feature([np.zeros(2, "M8[s]")]), r"got datetime64\[s\] \(within sample 0\)"),
        (lambda: feature([np.array([1, None])]), r"got None in sample 1 \(within sample 0\)"),
        (lambda: feature([three, None]), "a list of values for each sample, got None for sample 1"),
        (lambda: feature([U64(3)]), "expected a list of ids for each sample, got one id for each of 1"),
        (lambda: feature([b"12345678"]), "got bytes in sample 0"),
        (lambda: feature(three), "expected a list of arrays, or offsets beside one array"),
        (lambda: feature(7), "expected a list, an array or a column, got int"),
        (lambda: feature(np.zeros((2, 2, 2), np.int64)), r"\(batch\) or \(batch, ids\), got 3"),
        (lambda: feature([["a"], [1]]), "all of one kind, got int after str in sample 1"),
        (lambda: feature([np.array(["a"]), three]), "got strings in sample 0 and integers in sample 1"),
        (lambda: feature([np.zeros(65537, U64)]), "expected at most 65536 ids in a sample, got 65537 in sample 0"),
        (lambda: feature(three, [1, 3]), r"expected offsets from 0 to the number of values \(3\), got 1 to 3"),
        (lambda: feature(three, [0, 2]), "got 0 to 2"),
        (lambda: feature(three, [0, 4]), "got 0 to 4"),
        (lambda: feature(three, [0, 2, 1, 3]), "expected offsets that never fall, got 1 after 2 at offset 2"),
        (lambda: feature(three, []), r"expected offsets \(batch \+ 1\)"),
        (lambda: feature(three, [0.0, 3.0]), "of integers, got float64"),
        (lambda: feature(three, [[0, 3]]), r"of shape \(1, 2\)"),
        (lambda: feature(three, np.array([0, 2**63], U64)), "up to the number of values"),
        (lambda: feature([three], [0, 3]), "expected the values of a pair of values and offsets in 1 dimension, got lists"),
        (lambda: PersiaBatch([IDTypeFeatureWithSingleID("bad", three[None])]), "in 1 dimension, got lists"),
        (lambda: PersiaBatch([IDTypeFeatureWithSingleID("bad", three.astype(float))]), "got float64"),
        (
            lambda: PersiaBatch([IDTypeFeature("f", [three]), IDTypeFeature("bad", [three] * 2)]),
            "expected 1 samples, the batch size, got 2",
        ),
        (lambda: PersiaBatch([IDTypeFeature("bad", [three])], batch_size=3), "expected 3 samples, the batch size, got 1"),
        (lambda: PersiaBatch([IDTypeFeature("bad", [three])] * 2), "the batch has this feature twice"),
        (lambda: dense(np.zeros((3, 2))), "expected 2 samples, the batch size, got 3"),
        (lambda: dense(np.zeros((2, 2), np.complex64)), "got complex64"),
        (lambda: dense(np.zeros((2, 2), np.uint32)), "got uint32"),
        (lambda: dense(np.array(["a", "b"])), "got <U1"),
        (lambda: dense(np.array(1.0)), "at least 1 dimension"),
        (lambda: dense([1.0, 2.0]), "expected a numpy array, got list"),
        (lambda: PersiaBatch([IDTypeFeature("f", ids([1]))], labels=[Label(np.zeros(2), "bad")]), "expected 1 samples"),
    ],
)
def test_bad_parts_are_refused_by_name(build: Any, problem: str) -> None:
    with pytest.raises(FeatureError, match=problem) as caught:
        build()
    assert caught.value.feature == "bad"


@pytest.mark.parametrize(
    "build",
    [
        lambda: PersiaBatch([]),
        lambda: PersiaBatch([("f", ids([1]))]),  # type: ignore[list-item]
        lambda: PersiaBatch([IDTypeFeature("f", ids([1]))], [np.zeros(1)]),  # type: ignore[list-item]
        lambda: PersiaBatch([IDTypeFeature("f", ids([1]))], meta=3),  # type: ignore[arg-type]
        lambda: IDTypeFeature(3, ids([1])),  # type: ignore[arg-type]
        lambda: IDTypeFeatureWithSingleID(None, three),  # type: ignore[arg-type]
        lambda: NonIDTypeFeature(np.zeros(1), name=3),  # type: ignore[arg-type]
        lambda: PyPersiaBatchData().add_dense(np.zeros((2, 2))),  # type: ignore[arg-type]
    ],
)
def test_other_bad_input(build: Any) -> None:
    with pytest.raises(InvalidInput):
        build()


def test_a_batch_size_that_the_wire_cannot_hold() -> None:
    with pytest.raises(TooLarge, match="expected a batch of at most 65535 samples, got 65536"):
        PersiaBatch([IDTypeFeatureWithSingleID("f", np.zeros(65536, U64))])
    with pytest.raises(FeatureError, match="expected at most 65535 samples, got 65536"):
        PyPersiaBatchData().add_sparse([("f", [three] * 65536)])


def test_threads_that_share_an_encoder_get_errors_and_not_crashes() -> None:
    encoder, refused = BatchEncoder(), []
    values = np.arange(60_000, dtype=U64)
    start = threading.Barrier(4)

    def add(thread: int) -> None:
        start.wait()
        for k in range(20):
            try:
                encoder.add_single_ids(f"{thread} {k}", values)
            except InvalidInput as error:
                refused.append(str(error))

    threads = [threading.Thread(target=add, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    features = decode_batch(encoder.to_bytes()).features
    assert len(features) + len(refused) == 80
    assert all(np.array_equal(feature.ids, values) for feature in features)
    assert all("one thread at a time" in text for text in refused)


def test_limits_are_inclusive() -> None:
    PersiaBatch([IDTypeFeatureWithSingleID("f", np.zeros(65535, U64))])
    assert sent(PersiaBatch([IDTypeFeature("f", [np.arange(65536, dtype=U64)])])).features[0].ids_per_sample == [65536]  # type: ignore[index]


def test_the_guide_s_client() -> None:
    batch_size, feature_dim = 128, 16
    denses = [np.random.rand(batch_size, 13).astype(np.float32)]
    sparse = []
    for sparse_idx in range(26):
        sparse.append(
            (
                f"feature{sparse_idx + 1}",
                [np.random.randint(1000000, size=feature_dim).astype(np.uint64) for _ in range(batch_size)],
            )
        )
    batch_data = PyPersiaBatchData()
    batch_data.add_dense(denses)
    batch_data.add_sparse(sparse)
    got = sent(batch_data)
    assert got.features is not None and [f.name for f in got.features] == [name for name, _ in sparse]
    assert all(f.samples() == [sample.tolist() for sample in data] for f, (_, data) in zip(got.features, sparse, strict=True))
    assert np.array_equal(got.dense[0][1], denses[0])


def test_both_generations_write_the_same_bytes() -> None:
    signs, single, array, label = ids([1, 1], [2]), np.array([5, 6], U64), np.ones((2, 2), "f"), np.zeros((2, 1), "f")
    first = PyPersiaBatchData()
    first.add_dense([array])
    first.add_dense_f64(array.astype(np.float64))
    first.add_sparse([("f", signs)], requires_grad=False)
    first.add_id_type_features_with_single_id([("g", single)], requires_grad=False)
    first.add_target(label)
    first.add_meta(b"m")
    last = PersiaBatch(
        [IDTypeFeature("f", signs), IDTypeFeatureWithSingleID("g", single)],
        [NonIDTypeFeature(array), NonIDTypeFeature(array.astype(np.float64))],
        [Label(label)],
        requires_grad=False,
        meta=b"m",
    )
    assert first.to_bytes() == last.to_bytes()


def test_the_first_generation_checks_too() -> None:
    batch = PyPersiaBatchData()
    batch.add_dense([np.zeros((2, 3), np.float32)])
    with pytest.raises(FeatureError, match="expected 2 samples, the batch size, got 3"):
        batch.add_sparse([("f", ids([1], [2], [3]))])
    batch.add_sparse([("f", ids([1], [2]))])
    with pytest.raises(FeatureError, match="the batch has this feature twice"):
        batch.add_sparse([("f", ids([1], [2]))])


def test_the_old_name_has_the_same_classes() -> None:
    for name in persia.embedding.data.__all__:
        assert getattr(persia.embedding.data, name) is getattr(persia.batch, name)


def test_a_client_needs_neither_grpc_nor_torch() -> None:
    code = "import sys, json, persia.batch, persia.prelude, persia.embedding.data; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
    assert not {"grpc", "torch", "google.protobuf"} & set(loaded)


def test_a_name_that_utf8_cannot_hold_is_refused() -> None:
    with pytest.raises(InvalidInput, match="text that UTF-8 can hold"):
        IDTypeFeatureWithSingleID("\ud800", np.zeros(1, np.uint64))
