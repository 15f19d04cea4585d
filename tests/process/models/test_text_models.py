"""Models of other families, of other ages and in other files than the golden ones; and what is wrong with some."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from persia.errors import ConfigError, NotFound
from persia.text import TextModel, TextSettings
from persia.text.tokenizer import Text
from tests.support.text_serving import (
    DENSE,
    SEQUENCE_LABELS,
    SOURCES,
    TEXTS,
    TOKENIZER,
    Served,
    body,
    byte_bpe,
    changed,
    model_directory,
    save_model,
    unigram,
)

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
DISTIL = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "vocab_size": 191, "max_position_embeddings": 64}
MODES = {
    "SequenceClassification": "sequence_classification",
    "TokenClassification": "token_classification",
    "QuestionAnswering": "question_answering",
    "": "text_embedding",
}


def distilbert(out: Path, head: str) -> Any:
    model = save_model(out, "distilbert", head, **DISTIL)
    shutil.copy(DENSE / "vocab.txt", out)
    return model


def roberta(out: Path, head: str) -> Any:
    model = save_model(
        out, "roberta", head, vocab_size=400, max_position_embeddings=66, pad_token_id=1, type_vocab_size=1, **SMALL
    )
    byte_bpe(out)
    return model


def albert(out: Path, head: str) -> Any:
    made = unigram(out)
    return save_model(
        out,
        "albert",
        head,
        vocab_size=made.get_vocab_size(),
        embedding_size=16,
        max_position_embeddings=64,
        pad_token_id=0,
        **SMALL,
    )


FAMILIES = {"distilbert": distilbert, "roberta": roberta, "albert": albert}


def load(directory: Path, weights: str = "model.safetensors", **settings: Any) -> TextModel:
    return TextModel.load(directory, TextSettings.of(settings), weights)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("head", MODES)
def test_other_families_give_what_transformers_gives(family: str, head: str, tmp_path: Path) -> None:
    reference = FAMILIES[family](tmp_path, head)
    (tmp_path / "index_to_name.json").write_text(json.dumps(SEQUENCE_LABELS))
    model = load(tmp_path, mode=MODES[head], max_length=150, pooling="cls")
    assert model.tokenizer.max_length == 64  # as many as there are positions
    for text in [*TEXTS, "na\u00efve caf\u00e9, \u65e5\u672c", "report " * 200]:
        pair = Text("who?", text) if head == "QuestionAnswering" else Text(text)
        tokens = model.tokenize(pair)
        arguments = {
            "input_ids": torch.tensor([tokens.ids]),
            "attention_mask": torch.ones(1, len(tokens.ids), dtype=torch.long),
        }
        if family == "albert":
            arguments["token_type_ids"] = torch.tensor([tokens.type_ids])
        with torch.no_grad():
            outputs = reference(**arguments, return_dict=False)
        wanted = torch.stack(outputs[:2], 1) if head == "QuestionAnswering" else outputs[0]
        wanted = wanted[0, 0] if not head else wanted[0]
        np.testing.assert_allclose(model.run(tokens).reshape(-1), wanted.reshape(-1).numpy(), rtol=0, atol=1e-5)
    assert model.tokenize(pair).left_out > 0


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("head", ["SequenceClassification", "TokenClassification"])
def test_other_families_are_explained(family: str, head: str, tmp_path: Path) -> None:
    """The importances of all words together are about what they change in the output; steep models want more steps."""
    FAMILIES[family](tmp_path, head)
    (tmp_path / "setup_config.json").write_text(json.dumps({"mode": MODES[head], "max_length": "32"}))
    explained = json.loads(Served(tmp_path).answer(body(TEXTS[1]), explain=[0])[0])
    assert len(explained["words"]) == len(explained["importances"]) > 3
    assert explained["importances"][0] == 0
    # RoBERTa counts the positions of words alone, so that the empty text's last token stands elsewhere; captum has it so, too.
    assert family == "roberta" or explained["importances"][-1] == 0
    assert abs(explained["delta"]) < 0.1
    assert not any("\u0120" in word for word in explained["words"])


def test_tokens_of_a_roberta_are_those_of_transformers(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    roberta(tmp_path, "SequenceClassification")
    model = load(tmp_path, max_length=64)
    reference = AutoTokenizer.from_pretrained(tmp_path)
    for text in TEXTS:
        assert model.tokenize(Text(text)).ids == reference(text)["input_ids"]
        assert model.tokenize(Text(text, "who?")).ids == reference(text, "who?")["input_ids"]


@pytest.mark.parametrize("files", [("vocab.txt",), ("tokenizer.json",), TOKENIZER], ids=str)
def test_any_file_of_a_tokenizer_is_enough(files: tuple[str, ...], tmp_path: Path) -> None:
    model = load(model_directory(tmp_path, tokenizer=files), max_length=32)
    whole = load(model_directory(tmp_path / "whole"), max_length=32)
    for text in [*TEXTS, "Na\u00efve caf\u00e9, \u65e5\u672c [MASK] don't", "report " * 90]:
        for given in (Text(text), Text("Who was Jim?", text)):
            assert model.tokenize(given) == whole.tokenize(given)


def test_the_tokenizer_needs_neither_transformers_nor_the_hub() -> None:
    code = (
        "import sys; from pathlib import Path; from persia.text.tokenizer import Text, TextTokenizer; "
        f"print(TextTokenizer.load(Path({str(DENSE / 'bert_seq')!r}), {{}}, 32).tokenize(Text('jim')).ids); "
        "print('transformers' in sys.modules, 'torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout.splitlines()[1] == "False False"


def test_a_setting_of_the_case_that_contradicts_the_tokenizer_is_followed_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = model_directory(tmp_path)
    as_made = load(directory, max_length=32, do_lower_case="True").tokenize(Text("Bloomberg"))
    assert not caplog.records
    other = load(directory, max_length=32, do_lower_case="False").tokenize(Text("Bloomberg"))
    assert as_made.words == ["[CLS]", "bloom", "##berg", "[SEP]"]
    assert other.words == ["[CLS]", "[UNK]", "[SEP]"]
    assert "do_lower_case is False, but tokenizer.json" in caplog.text


def test_a_config_without_a_type_is_of_the_class_that_it_names(tmp_path: Path) -> None:
    assert load(changed(model_directory(tmp_path), "config.json", model_type=None)).mode == "sequence_classification"
    with pytest.raises(ConfigError, match='such as "model_type": "bert"'):
        load(changed(tmp_path, "config.json", architectures=None))


def test_the_mode_is_that_of_the_class_if_no_setting_says_it(tmp_path: Path) -> None:
    for mode in SOURCES:
        assert load(model_directory(tmp_path / mode, mode)).mode == mode


def test_labels_of_the_config_stand_in_for_a_file(tmp_path: Path) -> None:
    directory = changed(model_directory(tmp_path, labels=None), "config.json", id2label={"0": "no", "1": "yes"})
    assert Served(directory).answer(body("jim"))[0] in ("no", "yes")
    assert Served(changed(directory, "config.json", id2label=None)).answer(body("jim"))[0] in ("LABEL_0", "LABEL_1")


def test_labels_that_no_class_has_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    load(model_directory(tmp_path, labels=["no", "yes", "perhaps"]))
    assert "3 labels for the model's 2 classes: the last ones, from perhaps on, are never answered" in caplog.text


def without_head(directory: Path) -> None:
    weights = torch.load(directory / "pytorch_model.bin", weights_only=True)
    torch.save({key: value for key, value in weights.items() if "classifier" not in key}, directory / "base.bin")


def test_what_cannot_be_served_says_why(tmp_path: Path) -> None:
    directory = model_directory(tmp_path / "a", weights="pytorch_model.bin")
    with pytest.raises(NotFound, match=r"expected the model's weights as .*nothing\.bin"):
        load(directory, "nothing.bin")
    without_head(directory)
    with pytest.raises(ConfigError, match=r"the weights lack classifier\.bias, classifier\.weight: .* at random"):
        load(directory, "base.bin")
    torch.save(torch.nn.Linear(2, 2), directory / "whole.bin")
    with pytest.raises(ConfigError, match=r"a pickled model, .* torch\.save\(model\.state_dict\(\)"):
        load(directory, "whole.bin")
    (directory / "text.bin").write_text("no weights")
    with pytest.raises(ConfigError, match="expected weights"):
        load(directory, "text.bin")
    with pytest.raises(ConfigError, match="a label for each of the model's 9 classes, got 2"):
        load(model_directory(tmp_path / "b", "token_classification", labels=SEQUENCE_LABELS), mode="token_classification")
    with pytest.raises(ConfigError, match=r"outputs of shape \(1, \d+, labels\)"):
        load(model_directory(tmp_path / "c", weights="traced_model.pt"), "traced_model.pt", mode="token_classification")
    bare = model_directory(tmp_path / "d", tokenizer=())
    with pytest.raises(NotFound, match=r"got none of tokenizer\.json, vocab\.txt, .* --extra-files"):
        load(bare)
    os.remove(model_directory(tmp_path / "e") / "config.json")
    with pytest.raises(ConfigError, match=r"expected config\.json beside model\.safetensors"):
        load(tmp_path / "e", mode="sequence_classification")
    (tmp_path / "e" / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigError, match="expected a tokenizer"):
        load(tmp_path / "e", mode="sequence_classification")


@pytest.mark.parametrize(("mode", "least"), [("sequence_classification", 3), ("question_answering", 5)])
def test_a_length_without_room_for_a_text_is_refused(mode: str, least: int, tmp_path: Path) -> None:
    for length in range(1, least + 1):
        directory = model_directory(tmp_path / str(length), mode, settings={"max_length": length})
        settings = TextSettings.of_directory(directory)
        if length == least:
            assert TextModel.load(directory, settings).tokenizer.max_length == least
            continue
        with pytest.raises(
            ConfigError, match=rf"expected a max_length of at least {least}, .*, got {length} - at `\$\.max_length"
        ):
            TextModel.load(directory, settings)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["a", "b", "c"], "there are 3 labels for the model's 2 classes: the last ones, from c on"),
        (["a", "a"], "the label 'a' stands for several classes"),
    ],
)
def test_labels_that_look_wrong_are_said(
    labels: list[str], words: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    TextModel.load(model_directory(tmp_path, labels=labels), TextSettings.of_directory(tmp_path))
    assert words in caplog.text
