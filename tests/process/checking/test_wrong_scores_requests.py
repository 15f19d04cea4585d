"""Ways to get wrong scores (docs/wrong-scores.md): what requests hold is not what the dense model was trained with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
import yaml

from persia.batch import IDTypeFeature, Label, NonIDTypeFeature, PersiaBatch
from persia.checking.report import Report
from persia.checking.samples import read_sample
from persia.checking.signatures import check_config, dense_of
from persia.errors import FeatureError
from persia.signature import DenseSignature
from tests.support.check_archives import Model, add_archive
from tests.support.checks import CONFIG, SAMPLES, WIDTH, Checked, Files, changed, parse, signature_of, table_ids

NUMBERS = np.random.default_rng(5).random((SAMPLES, WIDTH), np.float32)
STARTS = ["--middleware-port", "0", "--port", "0", "--management-port", "0"]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    files = Files(tmp_path_factory.mktemp("deployment"))
    files.write()
    add_archive(files, CONFIG)
    return files.directory


@pytest.fixture
def files(directory: Path) -> Files:
    """All is as it should be, until a test writes something anew."""
    files = Files(directory)
    files.write_config(CONFIG)
    files.write_sample(files.ids())
    add_archive(files, CONFIG)
    return files


def check(files: Files, *arguments: str) -> Checked:
    return files.check(*STARTS, "--model-store", str(files.directory / "store"), *arguments)


def told(files: Files, pattern: str, *arguments: str, state: str = "fail") -> None:
    checked = check(files, *arguments)
    assert checked.code == {"fail": 2, "warn": 1}[state]
    assert any(re.search(pattern, text) for text in checked.of(state)), checked.of(state)


def dense(*tensors: tuple[np.ndarray, str | None]) -> list[NonIDTypeFeature]:
    return [NonIDTypeFeature(array, name) if name else NonIDTypeFeature(array) for array, name in tensors]


def test_the_right_requests_have_the_models_own_scores(files: Files) -> None:
    checked = check(files, "--strict")
    assert (checked.code, checked.of("warn"), checked.of("fail")) == (0, [], [])
    embeddings = [torch.from_numpy(files.embeddings()[name]) for name in CONFIG["slots_config"]]
    scores = Model(1.0)([torch.from_numpy(NUMBERS)], embeddings)
    (figures,) = (f["figures"] for f in checked.content["findings"] if f["text"].startswith("scores of the sample"))
    assert figures == pytest.approx({"min": float(scores.min()), "mean": float(scores.mean()), "max": float(scores.max())})


def test_way_01_features_in_another_order_come_to_the_model_in_its_own(files: Files) -> None:
    want = [text for text in check(files).of("ok") if "scores of the sample" in text]
    files.write_sample(dict(reversed(files.ids().items())))
    assert [text for text in check(files, "--strict").of("ok") if "scores of the sample" in text] == want


def test_way_02_a_feature_that_is_missing(files: Files) -> None:
    files.write_sample({name: ids for name, ids in files.ids().items() if name != "tags"})
    told(files, r"archive ctr-1.0.mar: the sample does not fit the model: .*tags")


def test_way_03_a_feature_that_the_model_does_not_take(files: Files) -> None:
    without = {**CONFIG, "slots_config": {name: slot for name, slot in CONFIG["slots_config"].items() if name != "city"}}
    add_archive(files, without)
    told(files, r"archive ctr-1.0.mar: the sample does not fit the model: .*city")
    add_archive(files, without, extra_features="drop")
    assert check(files, "--strict").code == 0


def test_way_04_a_feature_twice(files: Files) -> None:
    user, other = (IDTypeFeature(name, files.ids()["user"]) for name in ("user", "resu"))
    path = files.directory / "sample.bin"
    path.write_bytes(PersiaBatch([user, other], requires_grad=False).to_bytes().replace(b"resu", b"user"))  # ours refuses it
    told(files, r"sample sample.bin: at byte \d+: expected each feature once, got 'user' again")


def test_way_05_a_feature_that_the_embedding_config_does_not_have(files: Files) -> None:
    ids = files.ids()
    files.write_sample({**ids, "usr": ids["user"]})
    told(files, r"sample usr: the embedding config has no such feature -> is it user\?")
    with pytest.raises(FeatureError, match="usr"):
        files.embeddings()


def test_way_27_a_label_among_the_dense_tensors(files: Files) -> None:
    clicks = np.random.default_rng(2).integers(0, 2, (SAMPLES, 1)).astype(np.float32)
    files.write_sample(files.ids(), dense((clicks, "numbers")), labels=[Label(clicks, "click")])
    told(files, r"sample dense numbers: it is one of the sample's labels")
    files.write_sample(files.ids(), dense((NUMBERS, "numbers"), (clicks, "click")), labels=[Label(clicks, "click")])
    told(files, r"sample dense click: it is one of the sample's labels")


def test_way_28_dense_tensors_in_another_order(files: Files) -> None:
    two = tuple(DenseSignature(name=name, shape=(WIDTH,), dtype="float32") for name in ("a", "b"))
    signature = msgspec.structs.replace(signature_of(CONFIG), dense=two)
    files.write_sample(files.ids(), dense((NUMBERS * 2, "b"), (NUMBERS, "a")))
    sample = read_sample(Report(), files.directory / "sample.bin", parse(CONFIG))
    assert sample is not None
    np.testing.assert_array_equal(dense_of(Report(), "", signature, sample, False), [NUMBERS, NUMBERS * 2])


@pytest.mark.parametrize("width", [WIDTH - 1, WIDTH + 1])
def test_way_29_a_dense_tensor_of_another_width(files: Files, width: int) -> None:
    files.write_sample(files.ids(), dense((np.ones((SAMPLES, width), np.float32), "numbers")))
    told(files, r"archive ctr-1.0.mar: the sample does not fit the model: .*numbers.*shape")


def test_way_30_a_dense_tensor_of_float64(files: Files) -> None:
    files.write_sample(files.ids(), dense((NUMBERS.astype(np.float64), "numbers")))
    checked = check(files, "--strict")
    assert (checked.code, checked.of("warn")) == (0, [])  # the handler converts it, as the signature says
    add_archive(files, None)
    told(files, r"sample dense numbers: it is float64", "--strict", state="warn")


def test_way_31_dense_numbers_that_are_nan(files: Files) -> None:
    missing = NUMBERS.copy()
    missing[3, 1] = np.nan
    files.write_sample(files.ids(), dense((missing, "numbers")))
    told(files, r"archive ctr-1.0.mar: the sample does not fit the model: .*numbers.*NaN")
    assert not any("NaN" in text for text in check(files).of("warn"))  # the signature has judged
    add_archive(files, None)
    assert any(text.startswith("sample dense numbers: 1 of 80 numbers are NaN") for text in check(files).of("warn"))


def test_way_32_ids_as_a_dense_tensor(files: Files) -> None:
    user = np.array([samples[0] for samples in files.ids()["user"]], np.float32).reshape(-1, 1)
    files.write_sample(files.ids(), dense((NUMBERS, "numbers"), (user, "user")))
    told(files, r"sample dense user: a dense tensor has the name of a feature of ids")


def test_way_33_histories_that_are_cut(files: Files) -> None:
    history = table_ids()["history"]
    files.write_sample({**files.ids(), "history": [history[i : i + 5] for i in range(SAMPLES)]})
    told(files, r"sample history: 16 of 16 samples have more than 3 ids \(up to 5\)", "--strict", state="warn")


def test_way_34_a_feature_without_ids(files: Files) -> None:
    files.write_sample({**files.ids(), "user": [np.zeros(0, np.uint64)] * SAMPLES})
    told(files, r"sample user: no sample has an id: its embeddings are zeros", "--strict", state="warn")


OTHERS: list[tuple[str, dict[str, Any], str]] = [
    ("pooling", changed(user={"sqrt_scaling": True}), r"feature 'user': expected pooling sqrtn, got sum"),
    ("length", changed(history={"sample_fixed_size": 9}), r"feature 'history': expected length 9, got 3"),
    ("keep", changed(history={"keep": "last"}), r"feature 'history': expected keep last, got first"),
    ("dim", changed(user={"dim": 16}), r"feature 'user': expected dim 16, got 4"),
    ("raw", changed(tags={"embedding_summation": False}), r"feature 'tags': expected pooling raw, got sum"),
    (
        "group",
        {**CONFIG, "feature_groups": {"all": ["user", "item"]}},
        r"feature 'item': expected the prefix of group 1, got that of group 2 .* -> use the embedding config that",
    ),
    ("bits", {**CONFIG, "feature_index_prefix_bit": 12}, r"feature 'user': expected prefix_bits 12, got 8 -> use the"),
]


@pytest.mark.parametrize(("content", "pattern"), [other[1:] for other in OTHERS], ids=[other[0] for other in OTHERS])
def test_way_35_a_model_that_was_packed_for_another_config(files: Files, content: dict[str, Any], pattern: str) -> None:
    add_archive(files, content)
    told(files, rf"^archive ctr-1.0.mar: the embedding config is not the model's: {pattern}")


def test_way_36_an_archive_of_another_model_under_the_name(files: Files) -> None:
    slots = {"clicks": {"dim": 4}, **CONFIG["slots_config"]}
    add_archive(files, {**CONFIG, "slots_config": slots})
    told(files, r"^archive ctr-1.0.mar: .*feature 'clicks': expected a slot of this name, got an embedding config without one")


def test_a_signature_that_does_not_say_which_ids_are_kept_fits_as_for_the_handler(files: Files) -> None:
    signature = signature_of(CONFIG)
    features = tuple(msgspec.structs.replace(feature, keep=None) for feature in signature.features)
    assert check_config(Report(), "", msgspec.structs.replace(signature, features=features), parse(CONFIG))


def test_way_38_an_older_embedding_config_in_the_archive(files: Files) -> None:
    older = files.directory / "older.yml"
    older.write_text(
        yaml.safe_dump({**CONFIG, "slots_config": {"gone": {"dim": 4}, **CONFIG["slots_config"]}}, sort_keys=False)
    )
    add_archive(files, CONFIG, embedding_config=str(older))
    told(files, r"^archive ctr-1.0.mar: its handler has an embedding config of its own, .*: gone, user")
    add_archive(files, CONFIG, embedding_config=str(files.directory / "embedding_config.yml"))
    assert check(files, "--strict").code == 0


def test_way_37_a_model_whose_scores_are_nan(files: Files) -> None:
    add_archive(files, CONFIG, scale=float("nan"))
    told(files, r"^archive ctr-1.0.mar: 16 of 16 scores of the sample are NaN or infinite")


def test_an_archive_without_a_signature_is_a_warning(files: Files) -> None:
    add_archive(files, None)
    told(files, r"^archive ctr-1.0.mar: it has no signature", "--strict", state="warn")
    assert any("scores of the sample" in text for text in check(files).of("ok"))


def test_archives_that_cannot_be_served(files: Files) -> None:
    path = add_archive(files, CONFIG)
    path.write_bytes(path.read_bytes()[:-100])
    told(files, r"^archive ctr-1.0.mar: .*expected a model archive")
    told(files, r"^archive gone.mar: there is no such archive", "--models", "ctr-1.0.mar,other=gone.mar")


def test_an_archive_that_is_named_no_more_by_the_state_may_be_gone(files: Files) -> None:
    state = files.directory / "state"
    (state / "ts").mkdir(parents=True)
    (state / "ts" / "models.json").write_text("{}")
    gone = r"^archive gone.mar: there is no such archive"
    told(files, gone, "--strict", "--models", "ctr-1.0.mar,gone.mar", "--state", str(state), state="warn")


def test_another_handler_may_call_the_model_in_its_own_way(files: Files) -> None:
    handler = files.directory / "own_handler.py"
    handler.write_text("class Own:\n    pass\n")
    add_archive(files, None, handler=handler)
    files.write_sample(files.ids(), [])
    told(files, r"^archive ctr-1.0.mar: the model refuses the sample .* no matter if its own handler", "--strict", state="warn")
