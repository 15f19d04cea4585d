"""Folders of text models whose weights are in several files: they are packed, and loaded, as those with one file are."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from persia.text import TextModel, TextSettings
from persia.text.tokenizer import Text
from tests.support.text_models import copy_of, pack, unpacked
from tests.support.text_serving import DENSE, SOURCES

SEQUENCE = SOURCES["sequence_classification"]
LOGITS = json.loads((DENSE / "logits.json").read_text())["models"]


def in_shards(folder: Path, is_safetensors: bool) -> list[str]:
    """With the weights in several files, as transformers writes those of large models. Their names, the index first."""
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    for name in ("model.safetensors", "pytorch_model.bin"):
        (folder / name).unlink()
    model.save_pretrained(folder, max_shard_size="20KB")
    index = folder / "model.safetensors.index.json"
    if not is_safetensors:  # as transformers 4 and older did
        for file in folder.glob("model-*.safetensors"):
            torch.save(load_file(file), folder / old_name(file.name))
            file.unlink()
        said = old_name(index.read_text())
        index.unlink()
        index = folder / old_name(index.name)
        index.write_text(said)
    return [index.name, *sorted({*json.loads(index.read_text())["weight_map"].values()})]


def old_name(text: str) -> str:
    for new, old in {"model-": "pytorch_model-", "model.safetensors": "pytorch_model.bin", ".safetensors": ".bin"}.items():
        text = text.replace(new, old)
    return text


@pytest.mark.parametrize("is_safetensors", [True, False])
def test_weights_in_several_files(tmp_path: Path, is_safetensors: bool) -> None:
    folder = copy_of(SEQUENCE, tmp_path / "folder")
    files = in_shards(folder, is_safetensors)
    assert len(files) > 3
    for name, options in (("plain", []), ("script", ["--save-mode", "torchscript"])):
        run = pack(tmp_path, folder, "--max-length", "32", *options, name=name)
        assert run.exit_code == 0, run.output
        model = unpacked(tmp_path / f"{name}-1.0.mar", tmp_path / name)
        case = LOGITS["bert_seq"][1]
        (outcome,) = model.answer([Text(*case["text"])])
        assert outcome.numbers[0].tolist() == pytest.approx(case["logits_with_token_types"], abs=1e-4)
    with zipfile.ZipFile(tmp_path / "plain-1.0.mar") as opened:
        assert json.loads(opened.read("MAR-INF/MANIFEST.json"))["model"]["serializedFile"] == files[0]
        assert {*files} < {*opened.namelist()}
    assert TextModel.load(folder, TextSettings()).mode == "sequence_classification"  # where the name is not said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder, files: (folder / files[1]).unlink(), "expected {1} beside {0}, which names"),
        (lambda folder, files: (folder / files[0]).write_text("{}"), "expected the file of each tensor, as save_pretrained"),
        (
            lambda folder, files: (folder / files[0]).write_text('{"weight_map": {"a": "../a.safetensors"}}'),
            "expected the name of a file beside the index, got '../a.safetensors'",
        ),
        (lambda folder, files: (folder / files[0]).write_text("{"), "expected JSON"),
    ],
)
def test_several_files_that_do_not_fit_are_refused(tmp_path: Path, change: Callable[[Path, list[str]], Any], said: str) -> None:
    folder = copy_of(SEQUENCE, tmp_path / "folder")
    files = in_shards(folder, is_safetensors=True)
    change(folder, files)
    run = pack(tmp_path, folder)
    assert run.exit_code == 1
    assert said.replace("{0}", files[0]).replace("{1}", files[1]) in run.stderr
