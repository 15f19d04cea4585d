"""Tiny text models for tests: those of the examples' answers, and random ones of other families."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import torch
import yaml
from click.testing import CliRunner, Result

from persia.text import TextModel, TextSettings
from persia.torchserve.archive.command import archive
from persia.torchserve.archive.contents import open_archive
from tests.support.text_serving import DENSE, SOURCES


def pack(out: Path, folder: Path, *options: str | Path, name: str = "text") -> Result:
    """`persia-launcher archive --transformers`, in this process."""
    arguments = ["--transformers", folder, "--name", name, "--out", out, *options]
    return CliRunner().invoke(archive, [str(argument) for argument in arguments], catch_exceptions=False)


def copy_of(folder: Path, to: Path, *without: str, **config: Any) -> Path:
    """A copy of a folder without some files, and with other values in its config.json; None takes a key out."""
    shutil.copytree(folder, to, ignore=shutil.ignore_patterns("traced", *without))
    if config:
        path = to / "config.json"
        values = {**json.loads(path.read_text()), **config}
        path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))
    return to


def random_distilbert(to: Path, mode: str = "sequence_classification", **config: Any) -> Path:
    """Of random weights, with the vocabulary of the others."""
    import transformers

    classes = {
        "sequence_classification": transformers.DistilBertForSequenceClassification,
        "token_classification": transformers.DistilBertForTokenClassification,
    }
    settings = transformers.DistilBertConfig(
        vocab_size=len((DENSE / "vocab.txt").read_text().splitlines()),
        dim=32,
        hidden_dim=64,
        n_layers=2,
        n_heads=4,
        max_position_embeddings=128,
        initializer_range=0.35,
        **config,
    )
    torch.manual_seed(7)
    classes[mode](settings).save_pretrained(to)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(SOURCES["sequence_classification"] / file, to)
    (to / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 128}))
    return to


def random_roberta(to: Path, **config: Any) -> Path:
    """With byte pairs as vocab.json and merges.txt, as folders of that family are."""
    import transformers
    from tokenizers import ByteLevelBPETokenizer

    texts = ["the best game that I have ever played", "a nice puppet of Jim Henson", "herbal tea and a new virus, in summer"]
    trained = ByteLevelBPETokenizer()
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained.train_from_iterator(texts * 3, vocab_size=320, special_tokens=specials, show_progress=False)
    to.mkdir()
    trained.save_model(str(to))
    settings = transformers.RobertaConfig(
        vocab_size=trained.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=66,
        initializer_range=0.35,
        **config,
    )
    torch.manual_seed(7)
    transformers.RobertaForSequenceClassification(settings).save_pretrained(to)
    return to


def random_longformer(to: Path, roberta: Path) -> Path:
    """Its code fills texts up to whole windows, by a number that a trace keeps. roberta: a folder with its tokenizer."""
    import transformers

    settings = transformers.LongformerConfig(
        vocab_size=json.loads((roberta / "config.json").read_text())["vocab_size"],
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=66,
        attention_window=8,
        pad_token_id=1,
    )
    torch.manual_seed(7)
    transformers.LongformerForSequenceClassification(settings).save_pretrained(to)
    for file in ("vocab.json", "merges.txt"):
        shutil.copy(roberta / file, to)
    return to


def settings_of(mar: Path) -> dict[str, Any]:
    with zipfile.ZipFile(mar) as opened:
        return dict(yaml.safe_load(opened.read("model-config.yaml")))


def unpacked(mar: Path, to: Path) -> TextModel:
    """As a worker loads it."""
    with zipfile.ZipFile(mar) as opened:
        opened.extractall(to)
    return TextModel.load(to, TextSettings.of_directory(to, settings_of(mar)), open_archive(mar).model_file)
