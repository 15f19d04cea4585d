"""Text models for tests: those of the golden answers, tiny ones of other families, and the handler in this process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from persia.handlers.transformers_handler import TransformersHandler
from tests.support.handlers_here import HandlerHere
from tests.support.places import DATA

DENSE = DATA / "dense"
GOLDEN = json.loads((DENSE / "golden.json").read_text())["runs"]
SEQUENCE_LABELS = {"0": "Not Accepted", "1": "Accepted"}
TOKEN_LABELS = {"label_list": "[O, B-MISC, I-MISC, B-PER, I-PER, B-ORG, I-ORG, B-LOC, I-LOC]"}
LABELS = {"sequence_classification": SEQUENCE_LABELS, "token_classification": TOKEN_LABELS, "question_answering": None}
SOURCES = {
    "sequence_classification": DENSE / "bert_seq",
    "token_classification": DENSE / "bert_tok",
    "question_answering": DENSE / "bert_qa",
}
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
TEXTS = ("Bloomberg has decided to publish a new report", "it is a new virus", "the weather is nice", "who was jim henson?", "")
QUESTION = {"question": "who was jim?", "context": "Jim was a nice puppet, and the weather is nice"}


def model_directory(
    out: Path,
    mode: str = "sequence_classification",
    weights: str = "model.safetensors",
    settings: Mapping[str, Any] | None = None,
    tokenizer: Sequence[str] = TOKENIZER,
    name: str | None = None,
    labels: Any = "of the mode",
) -> Path:
    """An unpacked archive of a golden model. name: of the file of the weights in it."""
    out.mkdir(parents=True, exist_ok=True)
    source = SOURCES[mode]
    path = next(path for path in (source / weights, source / "traced" / weights) if path.exists())
    shutil.copy(path, out / (name or weights))
    for file in ("config.json", *tokenizer):
        shutil.copy(source / file, out)
    (out / "setup_config.json").write_text(json.dumps({"mode": mode, "max_length": 32, **(settings or {})}))
    if (chosen := LABELS[mode] if labels == "of the mode" else labels) is not None:
        (out / "index_to_name.json").write_text(json.dumps(chosen))
    return out


class Served(HandlerHere):
    """Our handler of text models in this process."""

    def __init__(
        self,
        directory: Path,
        weights: str = "model.safetensors",
        model_config: Mapping[str, Any] | None = None,
        handler: Callable[[], Any] = TransformersHandler,
    ) -> None:
        super().__init__(handler, directory, weights, model_config)


def body(text: str | bytes) -> dict[str, bytearray]:
    """As `curl -T` has TorchServe hand it over."""
    return {"body": bytearray(text.encode() if isinstance(text, str) else text)}


def golden_directory(out: Path, run: Mapping[str, Any], **settings: Any) -> Path:
    """As the archive was that gave a golden run, in the form of settings of its time."""
    generations = {
        "v011": {"do_lower_case": "True", "num_labels": "2", "max_length": str(run["max_length"])},
        "v020": {"do_lower_case": "True", "num_labels": "2", "max_length": str(run["max_length"])},
        "v0120": {"do_lower_case": True, "num_labels": 2, "max_length": run["max_length"], "captum_explanation": run["captum"]},
    }
    given = {"model_name": "bert-base-uncased", "save_mode": run["save_mode"], **generations[run["handler"]], **settings}
    return model_directory(out, run["mode"], run["serialized"], given)


def bert_tokenizer() -> Tokenizer:
    """That of the golden models."""
    return Tokenizer.from_file(str(DENSE / "bert_seq" / "tokenizer.json"))


def byte_bpe(out: Path) -> None:
    """RoBERTa's vocab.json and merges.txt, learned from the golden texts."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=400, special_tokens=specials, initial_alphabet=alphabet))
    made.model.save(str(out))


def unigram(out: Path) -> Tokenizer:
    """As ALBERT's: pieces with a bar before each word, `[CLS]` and `[SEP]` around."""
    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    specials = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]
    made.train_from_iterator(TEXTS, trainers.UnigramTrainer(vocab_size=80, special_tokens=specials, unk_token="<unk>"))
    ends = [(token, made.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    made.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", ends)
    made.save(str(out / "tokenizer.json"))
    return made


def save_model(out: Path, kind: str, head: str, **config: Any) -> Any:
    """Random weights that tell texts apart, and config.json, as save_pretrained writes them."""
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(7)
    made = transformers.AutoConfig.for_model(kind, **{"initializer_range": 0.35, **config})
    model = getattr(transformers, f"AutoModelFor{head}" if head else "AutoModel").from_config(made).eval()
    model.save_pretrained(out)
    return model


def changed(directory: Path, file: str, **values: Any) -> Path:
    content = json.loads((directory / file).read_text())
    kept = {key: value for key, value in {**content, **values}.items() if value is not None}
    (directory / file).write_text(json.dumps(kept))
    return directory
