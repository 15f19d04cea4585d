"""Tokenizers of all kinds of files give the ids of transformers' AutoTokenizer."""

from __future__ import annotations

import json
import logging
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers

from persia.errors import NotFound, TooLarge
from persia.text.tokenizer import MAX_CHARACTERS, Text, TextTokenizer
from persia.text.tokens import shortened
from tests.support.text_models import copy_of, pack
from tests.support.text_serving import SOURCES, TEXTS, Served, bert_tokenizer, byte_bpe, model_directory

SOURCE = SOURCES["sequence_classification"]
LENGTH = 24
HARD = (
    *TEXTS,
    "Hello WORLD caf\u00e9 \u65e5\u672c\u8a9e",
    "it is [NEW] here <new>",
    "[MASK] [SEP] <s> </s> <mask> <pad>",
    "  a  ",
    "it is nice " * 20,
)
NEW = {"content": "[NEW]", "lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True}
# The ids after those of the vocabulary.
AFTER = bert_tokenizer().get_vocab_size()


def bert(out: Path, *files: str, kind: str = "bert", **said: Any) -> Path:
    for file in files:
        shutil.copy(SOURCE / file, out)
    return described(out, kind, said)


def roberta(out: Path, **said: Any) -> Path:
    byte_bpe(out)
    return described(out, "roberta", said)


def described(out: Path, kind: str, said: dict[str, Any]) -> Path:
    (out / "config.json").write_text(json.dumps({"model_type": kind}))
    if said:
        (out / "tokenizer_config.json").write_text(json.dumps(said))
    return out


def roberta_json(out: Path, **said: Any) -> Path:
    transformers.AutoTokenizer.from_pretrained(roberta(out)).save_pretrained(out)
    for name in ("vocab.json", "merges.txt"):
        (out / name).unlink(missing_ok=True)
    return described(out, "roberta", {"tokenizer_class": "RobertaTokenizer", **said})


def with_added(directory: Path, tokens: dict[str, int]) -> Path:
    (directory / "added_tokens.json").write_text(json.dumps(tokens))
    return directory


def with_specials(directory: Path) -> Path:
    (directory / "special_tokens_map.json").write_text('{"additional_special_tokens": ["[NEW]"]}')
    return directory


JSON, VOCAB = "tokenizer.json", "vocab.txt"
ADDED = {"[NEW]": AFTER, "<new>": AFTER + 1}
FOLDERS: dict[str, Callable[[Path], Path]] = {
    "vocab": lambda out: bert(out, VOCAB),
    "vocab_added": lambda out: with_added(bert(out, VOCAB, tokenizer_class="BertTokenizer"), ADDED),
    "vocab_decoder": lambda out: bert(out, VOCAB, added_tokens_decoder={str(AFTER): NEW}),
    "vocab_specials": lambda out: with_specials(bert(out, VOCAB)),
    "vocab_left": lambda out: bert(out, VOCAB, truncation_side="left"),
    "vocab_splinter": lambda out: bert(out, VOCAB, kind="splinter"),
    "json_added": lambda out: with_added(bert(out, JSON), ADDED),
    "json_decoder": lambda out: bert(out, JSON, added_tokens_decoder={str(AFTER): NEW}),
    "json_specials": lambda out: with_specials(bert(out, JSON)),
    "json_left": lambda out: bert(out, JSON, truncation_side="left"),
    "json_accents": lambda out: bert(out, JSON, tokenizer_class="BertTokenizer", strip_accents=False),
    "json_chinese": lambda out: bert(out, JSON, tokenizer_class="BertTokenizer", tokenize_chinese_chars=False),
    "json_ends": lambda out: bert(out, JSON, tokenizer_class="BertTokenizer", cls_token="the", sep_token="is"),
    "roberta": roberta,
    "roberta_added": lambda out: with_added(roberta(out), {"<new>": 400}),
    "roberta_blank": lambda out: roberta_json(out, add_prefix_space=True),
}


@pytest.mark.parametrize("folder", FOLDERS)
def test_ids_are_those_of_transformers(folder: str, tmp_path: Path) -> None:
    directory = FOLDERS[folder](tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(directory)
    ours = TextTokenizer.load(
        directory, {"model_type": json.loads((directory / "config.json").read_text())["model_type"]}, LENGTH
    )
    for text in HARD:
        assert ours.tokenize(Text(text)).ids == theirs(text, truncation=True, max_length=LENGTH)["input_ids"], text
        pair = theirs(text, "a new virus", truncation="longest_first", max_length=LENGTH)["input_ids"]
        assert ours.tokenize(Text(text, "a new virus")).ids == pair, text


def test_a_class_that_only_slow_code_has_is_refused(tmp_path: Path) -> None:
    """Its vocab.txt looks like BERT's."""
    said = {"word_tokenizer_type": "basic", "subword_tokenizer_type": "character"}
    directory = bert(tmp_path, VOCAB, tokenizer_class="BertJapaneseTokenizer", **said)
    with pytest.raises(NotFound, match="BertJapaneseTokenizer, which only Python's slow code has"):
        TextTokenizer.load(directory, {"model_type": "bert"}, LENGTH)


def test_a_tokenizer_json_that_is_not_followed_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory = bert(tmp_path, JSON, tokenizer_class="BertTokenizer", strip_accents=False)
    with caplog.at_level(logging.WARNING):
        TextTokenizer.load(directory, {"model_type": "bert"}, LENGTH)
    assert "tokenizer_config.json says otherwise than tokenizer.json of strip_accents" in caplog.text


def test_a_config_json_that_is_elsewhere_will_do(tmp_path: Path) -> None:
    """It may travel inside the model's file."""
    directory = with_added(bert(tmp_path, VOCAB), ADDED)
    (directory / "config.json").unlink()
    assert AFTER in TextTokenizer.load(directory, {"model_type": "bert"}, LENGTH).tokenize(Text("a [NEW] b")).ids


@pytest.mark.parametrize("direction", ["left", "right"])
@pytest.mark.parametrize("strategy", ["longest_first", "only_second"])
def test_tokens_are_cut_as_the_library_cuts_them(direction: str, strategy: str) -> None:
    chosen = random.Random(3)
    for _ in range(300):
        first, second = ("it is nice " * chosen.randrange(8) for _ in range(2))
        text = Text(first, second if strategy == "only_second" or chosen.random() < 0.7 else None)
        length = chosen.randrange(6, 24)
        ours = TextTokenizer(bert_tokenizer(), length, "[PAD]", direction == "left")
        found = ours.tokenize(text, keep_first=strategy == "only_second")
        whole = ours.backend.encode(text.first, text.second)
        keeps = strategy == "only_second" and whole.sequence_ids.count(1) > len(whole) - length
        ours.backend.enable_truncation(length, strategy="only_second" if keeps else "longest_first", direction=direction)
        wanted = ours.backend.encode(text.first, text.second)
        assert (found.ids, found.type_ids, found.offsets) == (wanted.ids, wanted.type_ids, wanted.offsets)
        assert (found.words, found.sequences, found.left_out > 0) == (wanted.tokens, wanted.sequence_ids, len(whole) > length)


def test_long_texts_are_cut_and_longer_ones_refused(tmp_path: Path) -> None:
    """The library itself takes minutes to cut a pair of this length."""
    served = Served(model_directory(tmp_path))
    long = ("it is nice " * MAX_CHARACTERS)[:100_000]
    pair = {"text": long, "text_pair": long, "format": "json"}
    answers = served.answer(
        *({"body": value} for value in ({"text": long, "format": "json"}, pair, {"text": "a" * (MAX_CHARACTERS + 1)}))
    )
    assert [json.loads(answer)["truncated"] for answer in answers[:2]] == [True, True]
    assert "at most 1000000 characters" in answers[2] and served.statuses()[2] == 413
    with pytest.raises(TooLarge):
        served.handler.model.tokenize(Text("a", "b" * MAX_CHARACTERS))


@pytest.mark.parametrize("change", ["added", "left"])
def test_packing_tries_added_tokens_and_texts_that_are_cut(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tokenizer that forgets either is refused."""
    folder = copy_of(SOURCE, tmp_path / "folder", JSON)
    said = json.loads((folder / "tokenizer_config.json").read_text())
    if change == "added":
        del said["added_tokens_decoder"]
        monkeypatch.setattr("persia.text.tokenizer_files.tokens_agree", lambda *_: True)
        with_added(folder, {"<new>": AFTER})
    else:
        said["truncation_side"] = "left"
        monkeypatch.setattr(
            "persia.text.tokenizer.shortened", lambda tokens, length, keep, _: shortened(tokens, length, keep, False)
        )
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    run = pack(tmp_path / "out", folder, "--max-length", "16")
    assert run.exit_code == 1 and "expected the ids of transformers' BertTokenizer" in run.stderr, run.output
