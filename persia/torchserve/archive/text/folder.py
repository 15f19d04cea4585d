"""A folder of a text model, as save_pretrained writes it: which task it is for, where its weights are, and its labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from persia.errors import ConfigError, InvalidInput, NotFound
from persia.text.config_files import read_json, read_object
from persia.text.labels import labels_of, read_labels
from persia.text.settings import MODES
from persia.text.shards import INDEX_SUFFIX
from persia.torchserve.archive.text.sentences import MODULES_FILE, SentenceSettings

__all__ = ["CONFIG_FILE", "LABELLED", "TextFolder"]

CONFIG_FILE = "config.json"
LABELLED = ("sequence_classification", "token_classification")
_EMBEDDING = "text_embedding"
# How transformers' classes for each task end. A class without a head, such as BertModel, leaves the task open.
_TASKS = {
    "ForSequenceClassification": "sequence_classification",
    "ForTokenClassification": "token_classification",
    "ForQuestionAnswering": "question_answering",
}
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")


@dataclass(frozen=True)
class TextFolder:
    """`config`: what config.json says. `labels`: None where the task has none. `sentences`: None if others made the folder."""

    directory: Path
    config: Mapping[str, Any]
    mode: str
    weights: Path
    labels: Sequence[str] | None
    sentences: SentenceSettings | None

    @classmethod
    def read(cls, directory: Path, mode: str | None, labels: Path | None) -> TextFolder:
        """Raises NotFound for what is not there, InvalidInput and ConfigError for what does not fit, OSError.

        mode: the task; None if the folder is to say it. labels: a file of them, in the place of the folder's.
        """
        path = directory / CONFIG_FILE
        if not path.exists():
            raise NotFound(
                f"expected {CONFIG_FILE} in {directory}, got none: model.save_pretrained(...) writes it beside the weights, "
                "and tokenizer.save_pretrained(...) adds the tokenizer"
            )
        config = read_object(path)
        if mode is None and (directory / MODULES_FILE).exists():
            mode = _EMBEDDING
        task = _mode_of(config, mode)
        sentences = SentenceSettings.read(directory) if task == _EMBEDDING else None
        return cls(directory, config, task, _weights_of(directory), _labels_of(directory, config, task, labels), sentences)


def _mode_of(config: Mapping[str, Any], asked: str | None) -> str:
    """A model for another task would load without a word: heads of several tasks have the same names."""
    classes = [str(name) for name in config.get("architectures") or []]
    tasks = {task for name in classes for ending, task in _TASKS.items() if name.endswith(ending)}
    if asked is None and len(tasks) != 1:
        says = f"says {', '.join(classes)}" if classes else "does not say"
        raise InvalidInput(
            f"expected --mode, one of {', '.join(MODES)}: what the model is for is not known, as {CONFIG_FILE} {says} under "
            "`architectures`"
        )
    if asked is None:
        return tasks.pop()
    if tasks and asked not in tasks and asked != _EMBEDDING:
        raise InvalidInput(
            f"expected a model for {asked}, got one for {', '.join(sorted(tasks))} ({', '.join(classes)} in {CONFIG_FILE}): "
            "its head was trained for that"
        )
    return asked


def _weights_of(directory: Path) -> Path:
    for name in _WEIGHTS:
        if (directory / name).is_file():
            return directory / name
    if indexes := sorted(directory.glob(f"*{INDEX_SUFFIX}")):  # of two, model.safetensors' comes first
        return indexes[0]
    others = sorted(path for path in directory.iterdir() if path.suffix in _WEIGHT_SUFFIXES and path.is_file())
    if len(others) != 1:
        got = ", ".join(path.name for path in others) or "none"
        raise NotFound(f"expected the weights as {' or '.join(_WEIGHTS)} in {directory}, got {got}")
    return others[0]


def _labels_of(directory: Path, config: Mapping[str, Any], mode: str, given: Path | None) -> Sequence[str] | None:
    """Raises ConfigError unless there is one for each class."""
    if mode not in LABELLED:
        if given is not None:
            raise InvalidInput(f"--labels: a model for {mode} has no labels")
        return None
    labels = labels_of(read_json(given), given.name) if given is not None else read_labels(directory, config)
    classes = _classes_of(config)
    if labels is None:
        return [f"LABEL_{i}" for i in range(classes)]  # transformers' own names
    if len(labels) != classes:
        file = str(given if given is not None else directory / "index_to_name.json")
        raise ConfigError(f"expected {classes} labels, one for each class of the model, got {len(labels)}", file=file)
    return labels


def _classes_of(config: Mapping[str, Any]) -> int:
    """config.json does not say a number that is transformers' own default."""
    named = config.get("id2label")
    return len(named) if isinstance(named, Mapping) and named else int(config.get("num_labels") or 2)
