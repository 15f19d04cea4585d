"""Files that hold no dense model that could be served, and models that take one batch alone: refused, with what to do."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner, Result
from onnx import TensorProto, helper
from safetensors.torch import save_file

from persia.dense import compiled
from persia.dense.kinds import kind_of
from persia.dense.loading import load_dense
from persia.dense.onnx_file import is_onnx, weight_files
from persia.errors import CorruptFile, InvalidInput
from persia.torchserve.archive.command import archive
from persia.torchserve.archive.dense.answers import load_model_of
from tests.support.dense_models import BATCH, One, tensors
from tests.support.torchserves import MIX

pytestmark = [
    pytest.mark.filterwarnings("ignore:.torch.jit.*. is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec.:FutureWarning"),  # torch's own, while it exports
]
SAMPLE: list[str | Path] = ["--sample", BATCH, "--embedding-config", MIX / "embedding_config.yml"]


def pack(model: Path, *more: str | Path) -> Result:
    options = ["--model", model, "--name", "ctr", "--out", model.parent / "store", *more]
    return CliRunner().invoke(archive, [str(option) for option in options], catch_exceptions=False)


def refused(model: Path, *more: str | Path) -> str:
    run = pack(model, *more)
    assert run.exit_code == 1, run.output
    assert not list(model.parent.glob("store/*"))
    return run.stderr


@pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "before-zip"])
@pytest.mark.parametrize("name", ["model.pt", "model.pt2", "model.onnx"])
def test_a_pickled_module_and_a_state_dict_are_told_apart(tmp_path: Path, name: str, as_zip: bool) -> None:
    path = tmp_path / name
    torch.save(One(), path, _use_new_zipfile_serialization=as_zip)
    assert "a pickled module, which needs the source of its class" in refused(path)
    torch.save(One().state_dict(), path, _use_new_zipfile_serialization=as_zip)
    assert "weights alone (a state_dict)" in refused(path)
    torch.save({"epoch": 3, "model": One().state_dict()}, path, _use_new_zipfile_serialization=as_zip)
    assert "weights alone (a state_dict)" in refused(path)


def test_a_pickle_is_not_run_to_find_out_what_it_is(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (Path(tmp_path / "ran"),)  # type: ignore[return-value]

    torch.save(Hostile(), tmp_path / "model.pt")
    assert "a pickled module" in refused(tmp_path / "model.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no zip file, no pickle and no ONNX"),
        (b"hello world", "no zip file, no pickle and no ONNX"),
        (b"\x08\x0a" + b"\x3a\x7f", "no zip file, no pickle and no ONNX"),  # ONNX that ends too soon
    ],
)
def test_other_files_are_said_to_be_none(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    assert words in refused(tmp_path / "model.pt")


def test_safetensors_and_other_zip_files_are_named(tmp_path: Path) -> None:
    save_file(One().state_dict(), tmp_path / "model.safetensors")
    assert "weights alone (safetensors)" in refused(tmp_path / "model.safetensors")
    np.savez(tmp_path / "model.npz", a=np.zeros(1))
    assert "a zip file of something else" in refused(tmp_path / "model.npz")


def exported(path: Path, dynamic: bool) -> torch.export.ExportedProgram:
    dense, embeddings = tensors(3)
    batch = torch.export.Dim("batch")
    shapes = ([{0: batch} for _ in dense], [{0: batch} for _ in embeddings]) if dynamic else None
    program = torch.export.export(One().eval(), (dense, embeddings), dynamic_shapes=shapes)
    if path.suffix == ".pt2":
        torch.export.save(program, path)
    else:
        torch.onnx.export(program, (), path, dynamo=True, verbose=False)
    return program


@pytest.mark.parametrize("name", ["fixed.pt2", "fixed.onnx"])
def test_a_fixed_batch_is_seen_without_a_sample(tmp_path: Path, name: str) -> None:
    exported(tmp_path / name, dynamic=False)
    assert "expected a model that takes any number of samples, got one that takes 3 alone: export it" in refused(
        tmp_path / name
    )


def test_a_batch_of_at_most_a_thousand_is_seen_with_a_sample(tmp_path: Path) -> None:
    dense, embeddings = tensors(3)
    batch = torch.export.Dim("batch", max=1000)
    shapes = ([{0: batch} for _ in dense], [{0: batch} for _ in embeddings])
    torch.export.save(torch.export.export(One().eval(), (dense, embeddings), dynamic_shapes=shapes), tmp_path / "few.pt2")
    words = refused(tmp_path / "few.pt2", *SAMPLE)
    assert "got one that takes 16, and of 2048 says: the model refuses the sample" in words


def test_torchscript_of_a_fixed_batch_is_packed_as_ever_with_a_word_of_care(tmp_path: Path) -> None:
    class Fixed(One):
        def forward(self, dense: list[torch.Tensor], embeddings: list[torch.Tensor]) -> torch.Tensor:
            return embeddings[0].float().reshape(16, 8)[:, 0]

    torch.jit.script(Fixed()).save(str(tmp_path / "fixed.pt"))
    run = pack(tmp_path / "fixed.pt", *SAMPLE)
    assert run.exit_code == 0
    assert "careful: expected a model that takes any number of samples, got one that takes 16, and of 1 says" in run.stdout


def test_weights_beside_an_onnx_file_are_packed_with_it(tmp_path: Path) -> None:
    model = tmp_path / "dense.onnx"
    exported(model, dynamic=True)
    assert weight_files(model) == ["dense.onnx.data"]
    assert pack(model, *SAMPLE).exit_code == 0
    packed = tmp_path / "store" / "ctr-1.0.mar"
    assert {"dense.onnx", "dense.onnx.data"} <= set(zipfile.ZipFile(packed).namelist())
    with torch.inference_mode():
        torch.testing.assert_close(load_model_of(packed)(*tensors(2)), One()(*tensors(2)))
    (tmp_path / "dense.onnx.data").unlink()
    packed.unlink()
    with pytest.raises(InvalidInput, match="ONNX"):
        load_dense(model)
    refused(model)


def graph(inputs: dict[str, int], path: Path, kind: int = TensorProto.FLOAT) -> Path:
    """Adds up its inputs, of which each is (batch, its number)."""
    values = [helper.make_tensor_value_info(name, kind, ["batch", width]) for name, width in inputs.items()]
    nodes = [helper.make_node("Sum", list(inputs), ["sum"])]
    out = helper.make_tensor_value_info("sum", kind, ["batch", 1])
    made = helper.make_model(helper.make_graph(nodes, "sums", values, [out]), opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 9
    onnx.save(made, path)
    return path


def test_inputs_of_onnx_are_found_by_name_if_all_have_one(tmp_path: Path) -> None:
    model = load_dense(graph({"emb1": 1, "dense_0": 1}, tmp_path / "model.onnx"))
    dense, embeddings = [torch.tensor([[1.0]])], [torch.tensor([[10.0]]).half(), torch.tensor([[100.0]]).half()]
    assert model(dense, embeddings).tolist() == [[101.0]]
    with pytest.raises(InvalidInput, match=r"takes emb1, dense_0, got 1 dense tensors, 1 embeddings"):
        model(dense, embeddings[:1])


def test_inputs_of_onnx_with_other_names_are_taken_in_their_order(tmp_path: Path) -> None:
    model = load_dense(graph({"age": 1, "user": 1}, tmp_path / "model.onnx"))
    assert model([torch.ones(1, 1)], [torch.ones(1, 1).half()]).tolist() == [[2.0]]
    with pytest.raises(InvalidInput, match=r"takes 2 inputs \(age, user\), got 1 dense tensors and 2 embeddings: .* name its"):
        model([torch.ones(1, 1)], [torch.ones(1, 1).half()] * 2)


@pytest.mark.parametrize(
    "names",
    [["emb", "dense"], ["Embeddings0", "Dense0"], ["EMB.0", "dense"], ["embedding", "dense_0"]],
)
def test_names_of_onnx_need_neither_numbers_nor_small_letters(tmp_path: Path, names: list[str]) -> None:
    model = load_dense(graph(dict.fromkeys(names, 1), tmp_path / "model.onnx"))
    assert model([torch.ones(1, 1)], [torch.ones(1, 1), torch.full((1, 1), 5.0)]).tolist() == [[2.0]]
    assert model._places == [("emb", 0), ("dense", 0)]  # type: ignore[union-attr]  # a sum does not tell


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["emb_0", "dense_x"], "expected the ONNX model's dense inputs first, in order, and then its embeddings"),
        (["user_embedding", "dense_features"], "expected the ONNX model's dense inputs first"),
        (["dense_1", "dense_0", "user"], "expected the ONNX model's dense inputs first"),
        (["dense_0", "dense0"], "expected ONNX inputs for one tensor each, got two for dense0"),
        (["dense", "Dense_0", "x"], "expected ONNX inputs for one tensor each, got two for dense0"),
    ],
)
def test_names_of_onnx_that_contradict_are_refused(tmp_path: Path, names: list[str], words: str) -> None:
    path = graph(dict.fromkeys(names, 1), tmp_path / "model.onnx")
    with pytest.raises(InvalidInput) as refusal:
        load_dense(path)
    for said in (str(refusal.value), refused(path)):
        assert words in said
        assert f"{', '.join(names)}: name all inputs dense0, dense1, ... and emb0, emb1, ..." in said


def test_names_of_onnx_are_compared_with_what_they_take(tmp_path: Path) -> None:
    one = torch.ones(1, 1)
    model = load_dense(graph({"dense_features": 1, "embedding_tensors_0": 1}, tmp_path / "model.onnx"))
    assert model([one], [one]).tolist() == [[2.0]]
    with pytest.raises(InvalidInput, match="of which 'embedding_tensors_0' would take a dense tensor"):
        model([one, one], [])
    with pytest.raises(InvalidInput, match="of which 'dense_features' would take an embedding"):
        model([], [one, one])


def test_onnx_gets_no_number_that_its_type_does_not_hold(tmp_path: Path) -> None:
    model = load_dense(graph({"dense0": 1}, tmp_path / "model.onnx"))
    with pytest.raises(InvalidInput, match="takes float32 as 'dense0', got float64"):
        model([torch.ones(1, 1).double()], [])


def test_a_broken_onnx_file_is_no_onnx_file(tmp_path: Path) -> None:
    whole = graph({"dense0": 1}, tmp_path / "model.onnx").read_bytes()
    assert is_onnx(tmp_path / "model.onnx")
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    assert not is_onnx(tmp_path / "cut.onnx")
    inner = whole.replace(b"dense0", b"\xff\xff\xff\xff\xff\xff")
    (tmp_path / "inner.onnx").write_bytes(inner)
    with pytest.raises((CorruptFile, InvalidInput)):
        weight_files(tmp_path / "inner.onnx")
        load_dense(tmp_path / "inner.onnx")


def package(path: Path, **metadata: str) -> Path:
    """What is read of a package of AOTInductor before its code is loaded."""
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("model/data/aotinductor/model/x.wrapper_metadata.json", json.dumps(metadata))
    return path


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"AOTI_MACHINE": "riscv"}, "was compiled for riscv, and this machine is "),
        ({"AOTI_CPU_ISA": "AVX512 AMX"}, "was compiled for a processor with amx_tile, which this one lacks"),
        ({"AOTI_DEVICE_KEY": "cuda"}, "was compiled for cuda, and is to run on cpu"),
    ],
)
def test_code_for_another_machine_is_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metadata: dict[str, str], words: str
) -> None:
    monkeypatch.setattr(compiled, "_flags_of_processor", lambda: frozenset({"avx512f"}))
    path = package(tmp_path / "compiled.pt2", **metadata)
    assert kind_of(path).value == "AOTInductor"
    with pytest.raises(InvalidInput, match=f"{words}.*: compile it there, or serve the model as torch.export wrote it"):
        load_dense(path)
