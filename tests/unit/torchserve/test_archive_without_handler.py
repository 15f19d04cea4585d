"""`persia-launcher archive --no-handler`: what goes into the archive, and which options say nothing of it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner, Result

from persia.torchserve.archive.command import archive
from tests.support.tensor_models import save_exported, save_onnx, save_scripted

DECLARED = """
open_inference:
  inputs: [{name: x, datatype: FP32, shape: [-1, 2]}, {name: scale, datatype: FP32, shape: [-1, 1]}]
"""


def pack(out: Path, model: Path, *options: str | Path) -> Result:
    command = ["--model", model, "--name", "scores", "--out", out, "--no-handler", *options]
    return CliRunner().invoke(archive, [str(one) for one in command], catch_exceptions=False)


def contents(path: Path) -> tuple[dict[str, str], set[str]]:
    """The manifest's model, and the names of all files."""
    with zipfile.ZipFile(path) as opened:
        return json.loads(opened.read("MAR-INF/MANIFEST.json"))["model"], set(opened.namelist())


def test_the_archive_has_the_model_and_its_settings_alone(tmp_path: Path) -> None:
    save_scripted(tmp_path / "scores.pth")
    (tmp_path / "declared.yaml").write_text(DECLARED)
    packed = pack(tmp_path, tmp_path / "scores.pth", "--config", tmp_path / "declared.yaml", "--version", "2.0")
    assert packed.exit_code == 0, packed.output
    assert "without a handler" in packed.output and "'x' FP32 [-1, 2]" in packed.output
    model, names = contents(tmp_path / "scores-2.0.mar")
    assert model == {
        "modelName": "scores",
        "modelVersion": "2.0",
        "serializedFile": "scores.pt",
        "configFile": "model-config.yaml",
    }
    assert names == {"MAR-INF/MANIFEST.json", "model-config.yaml", "scores.pt"}


def test_what_a_model_takes_is_told(tmp_path: Path) -> None:
    save_exported(tmp_path / "exported.pt2")
    said = pack(tmp_path, tmp_path / "exported.pt2").output
    assert "it takes 'x' FP32 [-1, 2], 'scale' FP32 [-1, 1], and answers 'y' FP32 [-1, 1]" in said


def test_weights_beside_an_onnx_model_are_packed_too(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    save_onnx(path)
    model = onnx.load(path)
    (weight,) = model.graph.initializer
    weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight), weight.name))  # as bytes
    onnx.save(model, path, save_as_external_data=True, location="net.weights", size_threshold=0)
    assert pack(tmp_path, path).exit_code == 0
    assert contents(tmp_path / "scores-1.0.mar")[1] >= {"net.onnx", "net.weights"}


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scores.pt").write_bytes(b"none")
    packed = pack(tmp_path, tmp_path / "scores.pt")
    assert packed.exit_code == 1 and str(tmp_path / "scores.pt") in packed.output
    assert not list(tmp_path.glob("*.mar"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--handler", __file__], "expected --handler FILE or --no-handler, got both"),
        (["--sample", __file__], "expected no --sample beside --no-handler"),
        (["--features", "a"], "--features says nothing of --no-handler"),
        (["--quantize", "dynamic"], "--quantize says nothing of --no-handler"),
        (["--top-k", "3"], "--top-k says nothing of --model"),
    ],
)
def test_options_that_say_nothing_of_it_are_refused(tmp_path: Path, options: list[str], words: str) -> None:
    save_scripted(tmp_path / "scores.pt")
    packed = pack(tmp_path, tmp_path / "scores.pt", *options)
    assert packed.exit_code == 2 and words in packed.output


def test_a_text_model_needs_a_handler(tmp_path: Path) -> None:
    command = ["--transformers", str(tmp_path), "--name", "text", "--no-handler"]
    packed = CliRunner().invoke(archive, command)
    assert packed.exit_code == 2 and "a text model is served by a handler" in packed.output
