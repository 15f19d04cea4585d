"""Folders of text models that are not packed, and what `archive` says of them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from persia.torchserve.archive.command import archive
from tests.support.text_models import copy_of, pack, unpacked
from tests.support.text_serving import DENSE, SOURCES

SEQUENCE = SOURCES["sequence_classification"]
LOGITS = json.loads((DENSE / "logits.json").read_text())["models"]


def base_model(to: Path) -> Path:
    import transformers

    copy_of(SEQUENCE, to, "model.safetensors", "pytorch_model.bin", "config.json")
    transformers.BertModel.from_pretrained(SEQUENCE).save_pretrained(to)
    return to


def test_a_random_head_is_packed_only_if_it_is_asked_for(tmp_path: Path) -> None:
    folder = base_model(tmp_path / "base")
    run = pack(tmp_path, folder)
    assert run.exit_code == 1 and "expected --mode, one of sequence_classification, token_" in run.stderr
    run = pack(tmp_path, folder, "--mode", "sequence_classification")
    assert run.exit_code == 1
    assert "got weights without classifier.bias, classifier.weight in" in run.stderr and "--allow-random-head" in run.stderr
    assert list(tmp_path.glob("*.mar")) == []
    assert pack(tmp_path, folder, "--mode", "sequence_classification", "--allow-random-head").exit_code == 0
    assert unpacked(tmp_path / "text-1.0.mar", tmp_path / "unpacked").mode == "sequence_classification"
    assert pack(tmp_path, folder, "--mode", "text_embedding", "--version", "2").exit_code == 0


ALL_OF_TOKENIZER = ("vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


@pytest.mark.parametrize(
    ("without", "config", "options", "message"),
    [
        (ALL_OF_TOKENIZER, {}, [], "got none of tokenizer.json, vocab.txt, vocab.json with merges.txt"),
        ((), {"model_type": None, "architectures": None}, ["--mode", "text_embedding"], '"model_type": "bert", got none'),
        (("config.json",), {}, [], "expected config.json in .*save_pretrained"),
        (("model.safetensors", "pytorch_model.bin"), {}, [], "expected the weights as .*, got none"),
        ((), {}, ["--mode", "token_classification"], "one for sequence_classification .*its head was trained for that"),
        ((), {}, ["--max-length", "257"], "at most 256 tokens, which the model has positions for, got 257"),
        ((), {"vocab_size": 100}, [], "expected a tokenizer of at most 100 pieces"),
        ((), {"num_labels": 3}, [], "expected classifier.* of shape"),
        ((), {"id2label": {"0": "a", "1": "b", "2": "c"}}, [], "expected classifier.* of shape"),
        ((), {}, ["--quantize", "dynamic", "--save-mode", "pretrained"], "pretrained has no int8 layers"),
        ((), {}, ["--name", "a/b"], "expected a name of letters"),
    ],
)  # fmt: skip
def test_what_would_fail_or_answer_at_random_is_refused(
    tmp_path: Path, without: tuple[str, ...], config: dict[str, Any], options: list[str], message: str
) -> None:
    folder = copy_of(SEQUENCE, tmp_path / "folder", *without, **config)
    run = pack(tmp_path / "out", folder, *options)
    assert run.exit_code == 1, run.output
    assert re.search(message, run.stderr), run.stderr
    assert list(tmp_path.glob("out/*")) == []


@pytest.mark.parametrize(("labels", "got"), [('["a", "b", "c"]', 3), ('{"label_list": "[a]"}', 1)])
def test_labels_of_the_wrong_number_are_refused(tmp_path: Path, labels: str, got: int) -> None:
    given = tmp_path / "names.json"
    given.write_text(labels)
    run = pack(tmp_path, SEQUENCE, "--labels", given)
    assert run.exit_code == 1
    assert f"names.json: expected 2 labels, one for each class of the model, got {got}" in run.stderr
    folder = copy_of(SEQUENCE, tmp_path / "folder")
    given.rename(folder / "index_to_name.json")
    run = pack(tmp_path, folder)
    assert run.exit_code == 1 and "index_to_name.json: expected 2 labels" in run.stderr


def test_a_pickled_model_is_refused(tmp_path: Path) -> None:
    folder = copy_of(SEQUENCE, tmp_path / "folder", "model.safetensors")
    torch.save(torch.nn.Linear(2, 2), folder / "pytorch_model.bin")
    run = pack(tmp_path, folder)
    assert run.exit_code == 1 and "torch.save(model.state_dict(), ...)" in run.stderr


def test_a_tokenizer_of_other_words_is_refused(tmp_path: Path) -> None:
    """transformers would take its vocabulary from vocab.txt where this differs from tokenizer.json."""
    folder = copy_of(SEQUENCE, tmp_path / "folder")
    written = json.loads((folder / "tokenizer.json").read_text())
    written["normalizer"] = {"type": "Prepend", "prepend": "x"}
    (folder / "tokenizer.json").write_text(json.dumps(written))
    run = pack(tmp_path, folder)
    assert run.exit_code == 1 and "expected the ids of transformers' BertTokenizer for" in run.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--features", "a"], "--features says nothing of --transformers: it is for a dense model"),
        (["--model", SEQUENCE / "config.json"], "expected --model FILE for a dense model, or --transformers"),
    ],
)
def test_options_of_the_other_kind_are_refused(tmp_path: Path, options: list[str | Path], message: str) -> None:
    run = pack(tmp_path, SEQUENCE, *options)
    assert run.exit_code == 2 and message in run.stderr
    run = CliRunner().invoke(archive, ["--model", str(SEQUENCE / "config.json"), "--name", "a", "--top-k", "3"])
    assert run.exit_code == 2 and "--top-k says nothing of --model: it is for a text model" in run.stderr
    assert CliRunner().invoke(archive, ["--name", "a"]).exit_code == 2
