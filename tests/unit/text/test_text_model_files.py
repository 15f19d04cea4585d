"""The files that a text model may be in: whichever it is, the answers are the same."""

from __future__ import annotations

import json
import logging
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from persia.errors import ConfigError
from persia.text import TextModel, TextSettings
from persia.text.preparing import prepare
from persia.text.tokenizer import Text
from persia.torch_deprecations import torch_deprecations_ignored
from tests.support.text_serving import (
    DENSE,
    SOURCES,
    TEXTS,
    Served,
    changed,
    model_directory,
)


def load(directory: Path, weights: str = "model.safetensors", **settings: Any) -> TextModel:
    return TextModel.load(directory, TextSettings.of(settings), weights)


@pytest.mark.parametrize("mode", SOURCES)
def test_every_kind_of_file_gives_the_same(mode: str, tmp_path: Path) -> None:
    """Under any name, also one that says something else."""
    directory = model_directory(tmp_path, mode, name="my.weights")
    given = Text("who was jim?", "jim was a puppet") if mode == "question_answering" else Text("who was jim?")
    wanted = load(directory, "my.weights", mode=mode, qa_span="example", padding="none").answer([given])[0].numbers
    for weights, name in (
        ("pytorch_model.bin", "w"),
        ("traced_model.pt", "model.pt2"),
        ("traced_model_ids_only.pt", "model.bin"),
    ):
        other = load(model_directory(tmp_path, mode, weights, name=name), name, mode=mode, qa_span="example", padding="none")
        np.testing.assert_allclose(other.answer([given])[0].numbers, wanted, rtol=0, atol=2e-5)


def with_names_of_2018(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    renamed = {
        key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value.clone()
        for key, value in weights.items()
    }
    return {**renamed, "bert.embeddings.position_ids": torch.arange(256)[None]}


@pytest.mark.parametrize("zipped", [True, False])
def test_weights_of_old_torch_and_old_names_load(zipped: bool, tmp_path: Path) -> None:
    directory = model_directory(tmp_path)
    weights = torch.load(SOURCES["sequence_classification"] / "pytorch_model.bin", weights_only=True)
    torch.save(with_names_of_2018(weights), directory / "old.bin", _use_new_zipfile_serialization=zipped)
    old, new = (load(directory, name).answer([Text("jim")])[0].numbers for name in ("old.bin", "model.safetensors"))
    np.testing.assert_allclose(old, new, rtol=0, atol=1e-6)


class Named(torch.nn.Module):
    """As exporters give outputs: by name. The inputs are those of a pretrained model."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": self.model(input_ids, attention_mask, return_dict=False)[0]}


@pytest.mark.filterwarnings("ignore")  # of exporters
@pytest.mark.parametrize("name", ["model.onnx", "model.pt2", "traced.pt"])
def test_exported_models_give_the_same(name: str, tmp_path: Path) -> None:
    directory = model_directory(tmp_path)
    wanted = load(directory)
    module = Named(wanted.engine.model).eval()  # type: ignore[attr-defined]
    inputs = tuple(torch.tensor(rows) for rows in ([[2, 5, 6, 3], [2, 7, 8, 3]], [[1, 1, 1, 1], [1, 1, 1, 1]]))
    length = torch.export.Dim("length", min=2, max=256)
    shapes = {
        "input_ids": {0: torch.export.Dim("texts"), 1: length},
        "attention_mask": {0: torch.export.Dim("texts"), 1: length},
    }
    with torch_deprecations_ignored(), torch.no_grad():
        if name == "model.onnx":
            torch.onnx.export(module, inputs, str(directory / name), dynamic_shapes=shapes, dynamo=True, verbose=False)
        elif name == "model.pt2":
            torch.export.save(torch.export.export(module, inputs, dynamic_shapes=shapes), directory / name)
        else:
            torch.jit.save(torch.jit.trace(module, inputs, strict=False, check_trace=False), str(directory / name))
    found = load(directory, name)
    for text in TEXTS:
        np.testing.assert_allclose(found.run(found.tokenize(Text(text))), wanted.run(wanted.tokenize(Text(text))), atol=1e-5)


class Unnamed(torch.nn.Module):
    """As people trace models of their own: one tensor, and inputs under any names."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor, keep: torch.Tensor, kind: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(x, attention_mask=keep, token_type_ids=kind, return_dict=False)[0]
        return logits


@pytest.mark.filterwarnings("ignore:Converting a tensor to a Python boolean")
def test_inputs_of_other_names_go_by_their_order(tmp_path: Path) -> None:
    directory = model_directory(tmp_path)
    wanted = load(directory)
    inputs = tuple(torch.tensor([row]) for row in ([2, 5, 6, 3], [1, 1, 1, 1], [0, 0, 0, 0]))
    with torch_deprecations_ignored(), torch.no_grad():
        traced = torch.jit.trace(Unnamed(wanted.engine.model).eval(), inputs, check_trace=False)  # type: ignore[attr-defined]
        torch.jit.save(traced, str(directory / "own.pt"))
    found = load(directory, "own.pt")
    pair = Text("who was jim?", "jim was a puppet")
    np.testing.assert_allclose(found.answer([pair])[0].numbers, wanted.answer([pair])[0].numbers, rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Converting a tensor to a Python boolean")
def test_answers_of_an_int8_model_do_not_depend_on_their_neighbours_at_all(tmp_path: Path) -> None:
    """Its activations are scaled by the largest of a whole batch, so that in one with others each would be another."""
    directory = model_directory(tmp_path)
    with torch_deprecations_ignored(), torch.no_grad():
        module = Named(load(directory).engine.model).eval()  # type: ignore[attr-defined]
        small = torch.ao.quantization.quantize_dynamic(module, {torch.nn.Linear}, torch.qint8)
        inputs = (torch.tensor([[2, 5, 6, 3]]), torch.tensor([[1, 1, 1, 1]]))
        torch.jit.save(torch.jit.trace(small, inputs, strict=False, check_trace=False), str(directory / "int8.pt"))
    served = Served(directory, "int8.pt")
    requests = [{"body": {"text": text, "format": "logits"}} for text in ("jim who", "it is", "nice who", "weather is", *TEXTS)]
    assert served.answer(*requests) == [served.answer(request)[0] for request in requests]


def test_a_tokenizer_may_travel_inside_the_model(tmp_path: Path) -> None:
    """As examples/transformers writes it, in a TorchScript file and in config.json."""
    whole = load(model_directory(tmp_path / "whole"))
    files = {"tokenizer.json": json.loads((DENSE / "bert_seq" / "tokenizer.json").read_text())}
    directory = changed(model_directory(tmp_path / "config", tokenizer=()), "config.json", persia_files=files)
    assert load(directory).tokenize(Text(TEXTS[0])) == whole.tokenize(Text(TEXTS[0]))
    traced = model_directory(tmp_path / "traced", weights="traced_model.pt", tokenizer=()) / "traced_model.pt"
    with zipfile.ZipFile(traced, "a") as opened:
        opened.writestr("traced_model/extra/tokenizer.json", json.dumps(files["tokenizer.json"]))
    assert load(traced.parent, traced.name).tokenize(Text(TEXTS[0])) == whole.tokenize(Text(TEXTS[0]))


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_a_prepared_trace_knows_the_question_from_the_context(tmp_path: Path) -> None:
    """The example's takes no types of tokens, so that both are one text to it."""
    settings: dict[str, Any] = {"mode": "question_answering", "max_length": 32}
    wanted = load(model_directory(tmp_path / "folder", "question_answering"), **settings)
    names = TextSettings.of({**settings, "model_name": str(SOURCES["question_answering"]), "save_mode": "torchscript"})
    assert prepare(names, tmp_path / "out") == []
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(tmp_path / "out" / "traced_model.pt", alone)
    found = load(alone, "traced_model.pt", **settings)
    pair = Text("who was jim?", "jim was a puppet")
    np.testing.assert_allclose(found.answer([pair])[0].numbers, wanted.answer([pair])[0].numbers, rtol=0, atol=2e-5)


def test_nothing_is_written_while_a_model_is_loaded(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        load(model_directory(tmp_path), max_length=32)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_a_model_of_one_length_gets_texts_of_that_length(tmp_path: Path) -> None:
    """Some traces and exports have the length that they were made with for good."""
    directory = model_directory(tmp_path)
    free = load(directory, max_length=32)
    module = Named(free.engine.model).eval()  # type: ignore[attr-defined]
    inputs = (torch.ones(1, 32, dtype=torch.long), torch.ones(1, 32, dtype=torch.long))
    torch.export.save(torch.export.export(module, inputs), directory / "rigid.pt2")
    rigid = load(directory, "rigid.pt2", max_length=32)
    for text in TEXTS:
        found, wanted = (model.answer([Text(text)])[0].numbers for model in (rigid, free))
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)
    with pytest.raises(ConfigError, match="fails for a text of 3 tokens"):
        load(directory, "rigid.pt2", max_length=16)
