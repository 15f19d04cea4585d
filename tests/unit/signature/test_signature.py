"""The signature that `persia-launcher archive` writes: names, shapes and dtypes of what the model was tried with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from persia.config import load_embedding_config
from persia.errors import CorruptFile
from persia.signature import DenseSignature, FeatureSignature, Signature, read_signature
from persia.torchserve.archive.command import archive
from tests.support.golden import arrays_of
from tests.support.signed_models import signature_of_archive
from tests.support.torchserves import MIX

MODEL = MIX / "ckpt" / "jit_dense.pt"
BATCH = MIX / "golden" / "batch16_0.bin"
CONFIG = MIX / "embedding_config.yml"
FEATURES = "user_id,clicked,bought,query,seen,scaled_query"

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")


def make(out: Path, *arguments: str | Path, model: Path = MODEL) -> Result:
    options = ["--model", model, "--name", "ctr", "--out", out, *arguments]
    return CliRunner().invoke(archive, [str(option) for option in options], catch_exceptions=False)


def signed(out: Path, *arguments: str | Path, model: Path = MODEL) -> Signature:
    run = make(out, *arguments, "--embedding-config", CONFIG, model=model)
    assert run.exit_code == 0, run.output
    signature = signature_of_archive(out / "ctr-1.0.mar")
    assert signature is not None
    return signature


def test_a_byte_batch_gives_names_shapes_dtypes_and_the_rule_for_signs(tmp_path: Path) -> None:
    signature = signed(tmp_path, "--sample", BATCH)
    config = load_embedding_config(CONFIG)
    shapes = {feature.name: feature.tensor_shape for feature in signature.features}
    npz = arrays_of(BATCH.with_suffix(".npz"))
    names = [feature.name for feature in signature.features]
    assert shapes == {name: npz[f"emb{i}"].shape[1:] for i, name in enumerate(names)}
    clicked = next(feature for feature in signature.features if feature.name == "clicked")
    assert (clicked.pooling, clicked.length, clicked.dim) == ("raw", 5, 8)
    assert {feature.name: feature.pooling for feature in signature.features}["bought"] == "sqrtn"
    for feature in signature.features:
        slot = config.slots[feature.name]
        assert (feature.prefix, feature.prefix_bits) == (slot.prefix, slot.prefix_bits)
        assert (feature.hash_stack_rounds, feature.hash_stack_size) == (slot.hash_stack_rounds, slot.hash_stack_size)
    (dense,) = signature.dense
    assert (dense.shape, dense.dtype, dense.nan_allowed) == (npz["dense0"].shape[1:], "float32", False)
    (output,) = signature.outputs
    assert (output.name, output.dtype) == (None, "float32")
    assert signature.embedding_config == config.fingerprint


def test_features_alone_give_a_signature_that_leaves_dense_tensors_unchecked(tmp_path: Path) -> None:
    signature = signed(tmp_path, "--features", "seen,user_id")
    assert [feature.name for feature in signature.features] == ["seen", "user_id"]
    assert (signature.dense_known, signature.dense, signature.outputs) == (False, (), ())


def test_features_name_the_embeddings_of_an_npz_file(tmp_path: Path) -> None:
    batch = signed(tmp_path / "a", "--sample", BATCH)
    names = ",".join(feature.name for feature in batch.features)
    npz = signed(tmp_path / "b", "--sample", BATCH.with_suffix(".npz"), "--features", names)
    assert npz.features == batch.features and npz.outputs == batch.outputs
    make(tmp_path / "c", "--sample", BATCH.with_suffix(".npz"))
    assert signature_of_archive(tmp_path / "c" / "ctr-1.0.mar") is None  # its embeddings have no names


def test_no_signature_and_nan_only_on_request(tmp_path: Path) -> None:
    assert make(tmp_path, "--sample", BATCH, "--embedding-config", CONFIG, "--no-signature").exit_code == 0
    assert signature_of_archive(tmp_path / "ctr-1.0.mar") is None
    assert [dense.nan_allowed for dense in signed(tmp_path, "--sample", BATCH, "--allow-nan", "--overwrite").dense] == [True]


NPZ = BATCH.with_suffix(".npz")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--features", "user_id,sen"], "the embedding config has no slot 'sen'; did you mean 'seen'?"),
        (["--features", "seen,seen"], "'seen' stands there twice, expected it once"),
        (["--features", "seen", "--sample", BATCH], "expected the features of the sample, .* as --features, got seen"),
        (["--features", "seen", "--sample", NPZ], r"expected 6 names in --features, for emb0 to emb5, got 1"),
        (
            ["--features", "seen,user_id,bought,query,clicked,scaled_query", "--sample", NPZ],
            r"expected tensors of \(batch, .*\) as the embedding config has them, got \(16",
        ),
        (["--sample", "nan.npz", "--features", FEATURES], "'non_id_type_feature_anonymous': the sample has NaN or infinity"),
        (["--sample", BATCH, "--extra-file", "signature.json"], "expected files of different names"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str | Path], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    model = tmp_path / "first.pt"
    torch.jit.script(First()).save(str(model))
    arrays: dict[str, Any] = arrays_of(NPZ)
    arrays["dense0"][3, 0] = np.nan
    np.savez("nan.npz", **{key: value for key, value in arrays.items() if key.startswith(("dense", "emb"))})
    Path("signature.json").touch()
    run = make(tmp_path / "out", *options, "--embedding-config", CONFIG, model=model)
    assert run.exit_code == 1 and re.search(message, run.stderr), run.stderr
    assert list(tmp_path.glob("out/*")) == []


class First(torch.nn.Module):
    def forward(self, dense: list[torch.Tensor], embeddings: list[torch.Tensor]) -> torch.Tensor:
        return embeddings[0][:, 0]


class Two(torch.nn.Module):
    def forward(self, dense: list[torch.Tensor], embeddings: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"ctr": dense[0][:, 0], "cvr": embeddings[0].float()}


class Pair(torch.nn.Module):
    def forward(self, dense: list[torch.Tensor], embeddings: list[torch.Tensor]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        return dense[0], embeddings


def test_several_outputs_have_names_and_what_is_no_output_is_refused(tmp_path: Path) -> None:
    model = tmp_path / "two.pt"
    torch.jit.script(Two()).save(str(model))
    outputs = signed(tmp_path, "--sample", BATCH, model=model).outputs
    assert {output.name: output.shape for output in outputs}.keys() == {"ctr", "cvr"}
    torch.jit.script(Pair()).save(str(model))
    run = make(tmp_path, "--sample", BATCH, "--embedding-config", CONFIG, "--overwrite", model=model)
    assert run.exit_code == 1
    assert "expected tensors with text as their names from the model, got list as 'output1'" in run.stderr


@given(st.binary(max_size=200) | st.text(max_size=50).map(str.encode))
def test_whatever_a_file_holds_it_is_a_signature_or_an_error(data: bytes) -> None:
    try:
        read_signature(data)
    except CorruptFile as error:
        assert "the signature of a dense model" in str(error)


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
features = st.builds(
    FeatureSignature, name=names, dim=st.integers(1, 9), prefix=st.integers(0, 2**64 - 1), prefix_bits=st.integers(1, 63)
)
dense = st.builds(DenseSignature, name=names, shape=st.tuples(st.integers(0, 9)), dtype=st.just("float32"))


@given(st.builds(Signature, features=st.tuples(features), dense=st.tuples(dense), outputs=st.just(()), embedding_config=names))
def test_what_is_written_is_read_again(signature: Signature) -> None:
    assert read_signature(signature.to_bytes()) == signature


def test_a_signature_of_another_format_is_refused() -> None:
    data = Signature(features=(), embedding_config="x").to_bytes()
    with pytest.raises(CorruptFile, match="format"):
        read_signature(data.replace(b'"format": 1', b'"format": 2'))


def test_an_archive_says_which_features_are_single_and_what_ids_are(tmp_path: Path) -> None:
    signature = signed(tmp_path, "--features", FEATURES, "--single", "user_id", "--single", "query", "--ids", "query", "text")
    facts = {feature.name: (feature.single, feature.ids) for feature in signature.features}
    assert facts["user_id"] == (True, None) and facts["query"] == (True, "text") and facts["clicked"] == (False, None)
    assert read_signature(signature.to_bytes()) == signature
    old = re.sub(rb',\s*"(single|ids)": [^,}\n]+', b"", signature.to_bytes())  # of an archive that knows neither
    assert b"single" not in old
    assert not any(feature.single or feature.ids for feature in read_signature(old).features)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--single", "user"], "--single: the model takes no feature 'user'; did you mean 'user_id'?"),
        (["--ids", "qery", "text"], "--ids: the model takes no feature 'qery'; did you mean 'query'?"),
        (["--sample", BATCH, "--single", "clicked"], "'clicked': expected exactly one id in each sample"),
    ],
)
def test_what_is_said_of_features_must_fit(tmp_path: Path, arguments: list[str | Path], message: str) -> None:
    run = make(
        tmp_path, "--embedding-config", CONFIG, *(arguments if BATCH in arguments else ["--features", FEATURES, *arguments])
    )
    assert run.exit_code == 1 and message in run.output
    assert "need a signature" in make(tmp_path, "--single", "user_id").output
    assert list(tmp_path.iterdir()) == []
