"""A text model, its tokenizer and its labels."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from persia.errors import ConfigError, InvalidInput

from .config_files import read_object_if_there
from .embedded import embedded_files
from .engines import Engine, load_engine
from .labels import LABELS_FILE, read_labels
from .positions import positions_of
from .settings import MODES, SETUP_FILE, TextSettings
from .shards import INDEX_SUFFIX
from .tasks import numbers_of, shape_problem
from .tokenizer import Text, TextTokenizer, Tokens

__all__ = ["Outcome", "TextModel", "mode_of"]

log = logging.getLogger(__name__)

_HEADS = {
    "ForSequenceClassification": "sequence_classification",
    "ForTokenClassification": "token_classification",
    "ForQuestionAnswering": "question_answering",
    "Model": "text_embedding",
}


@dataclass(frozen=True)
class Outcome:
    """What the model said of a text. numbers: as tasks.numbers_of has them; those of a token are at its place in `tokens`."""

    text: Text
    tokens: Tokens
    numbers: np.ndarray


class TextModel:
    """Answers depend on their own text alone: each is run by itself, without padding. Not for several threads at a time."""

    def __init__(
        self,
        engine: Engine,
        tokenizer: TextTokenizer,
        settings: TextSettings,
        mode: str,
        labels: Sequence[str] = (),
        problem_type: str | None = None,
    ) -> None:
        self.engine = engine
        self.tokenizer = tokenizer
        self.settings = settings
        self.mode = mode
        self.labels = labels
        self.problem_type = problem_type

    @classmethod
    def load(cls, directory: Path, settings: TextSettings, weights: str | None = None, device: str = "cpu") -> TextModel:
        """From the files of a folder, such as an unpacked archive; nothing else is asked, least of all the hub.

        weights: the name of the file; where it is not said, model.safetensors, pytorch_model.bin and the like are looked for.

        Raises NotFound for what is not there, ConfigError for what is wrong, OSError.
        """
        path = directory / (weights or _weights_in(directory))
        config = read_object_if_there(directory / "config.json")
        embedded = embedded_files(config, path)
        config = config or embedded.get("config.json", {})
        mode = settings.mode or mode_of(config)
        tokenizer = TextTokenizer.load(directory, config, _longest(settings, config), settings.do_lower_case, embedded)
        engine = load_engine(path, mode, config, device, settings.threads)
        needs_labels = mode in ("sequence_classification", "token_classification")
        labels = (read_labels(directory, config) or []) if needs_labels else []
        model = cls(engine, tokenizer, settings, mode, labels, config.get("problem_type"))
        model._try()
        return model

    def tokenize(self, text: Text) -> Tokens:
        """Raises InvalidInput for a text that the mode does not take."""
        is_question = self.mode == "question_answering"
        if is_question and text.second is None:
            raise InvalidInput('expected a question and a context, such as {"question": "...", "context": "..."}, got one text')
        if self.mode == "text_embedding" and text.second is not None:
            raise InvalidInput("expected one text, got a pair: an embedding is of one")
        return self.tokenizer.tokenize(text, keep_first=is_question and self.settings.qa_span == "best")

    def type_ids(self, tokens: Tokens) -> list[int]:
        """As the model gets them. The example passes none, so that a question and its context are one segment."""
        return tokens.type_ids if self.settings.qa_span == "best" else [0] * len(tokens.ids)

    def run(self, tokens: Tokens) -> np.ndarray:
        """The numbers of one text (tasks.numbers_of)."""
        mask = [1] * len(tokens.ids)
        if self.settings.pads:
            tokens, mask = self.tokenizer.padded(tokens)
        return numbers_of(self._outputs(tokens, mask), self.mode, self.settings, np.asarray([mask]))[0]

    def answer(self, texts: Sequence[Text]) -> list[Outcome]:
        """What the model says of each. Raises InvalidInput for the first that it cannot take."""
        found = [(text, self.tokenize(text)) for text in texts]
        return [self.outcome(text, tokens, self.run(tokens)) for text, tokens in found]

    def outcome(self, text: Text, tokens: Tokens, numbers: np.ndarray) -> Outcome:
        """With the tokens that the numbers are of, which are more than the text's if inputs are padded."""
        return Outcome(text, self.tokenizer.padded(tokens)[0] if self.settings.pads else tokens, numbers)

    def _try(self) -> None:
        """Runs the model once, so that a worker that could only fail does not start. Raises ConfigError."""
        self._check_length()
        tokens = self.tokenizer.tokenize(Text("a", "b") if self.mode == "question_answering" else Text("a"))
        mask = [1] * len(tokens.ids)
        if self.settings.pads:
            tokens, mask = self.tokenizer.padded(tokens)
        try:
            outputs = self._outputs(tokens, mask)
        except Exception as error:  # of the engine's own kind
            outputs, mask = self._of_one_length(tokens, mask, error)
        if problem := shape_problem(outputs, self.mode, len(mask)):
            raise ConfigError(problem, "$.mode", SETUP_FILE)
        if self.mode in ("sequence_classification", "token_classification"):
            self._check_labels(outputs[0].shape[-1])

    def _check_length(self) -> None:
        """Special tokens alone say nothing."""
        texts = 2 if self.mode == "question_answering" else 1
        least = self.tokenizer.backend.num_special_tokens_to_add(texts == 2) + texts
        if self.tokenizer.max_length < least:
            raise ConfigError(
                f"expected a max_length of at least {least}, which has room for {least - texts} special tokens and one of "
                f"{'each text' if texts == 2 else 'the text'}, got {self.tokenizer.max_length}",
                "$.max_length",
                SETUP_FILE,
            )

    def _of_one_length(self, tokens: Tokens, mask: list[int], error: Exception) -> tuple[Sequence[np.ndarray], list[int]]:
        """A trace of before torch 1.3, or a rigid export, takes texts of the length alone with which it was made."""
        last = str(error).strip().splitlines()[-1:]
        failed = ConfigError(f"the model fails for a text of {len(mask)} tokens: {''.join(last)}", file=SETUP_FILE)
        if self.settings.pads:
            raise failed from error
        try:
            padded, mask = self.tokenizer.padded(tokens)
            outputs = self._outputs(padded, mask)
        except Exception:
            raise failed from error
        log.warning("the model takes texts of %d tokens alone: shorter ones are filled up", len(mask))
        self.settings = replace(self.settings, padding="max_length")
        return outputs, mask

    def _check_labels(self, classes: int) -> None:
        if not self.labels:
            log.warning("no index_to_name.json and no id2label of config.json: answers are LABEL_0 to LABEL_%d", classes - 1)
            self.labels = [f"LABEL_{i}" for i in range(classes)]  # as transformers has it
        if len(self.labels) < classes:
            raise ConfigError(
                f"expected a label for each of the model's {classes} classes, got {len(self.labels)}: give them in "
                "index_to_name.json, or as id2label of config.json",
                file=LABELS_FILE,
            )
        if len(self.labels) > classes:
            log.warning(
                "there are %d labels for the model's %d classes: the last ones, from %s on, are never answered; is %s this "
                "model's?",
                len(self.labels),
                classes,
                self.labels[classes],
                LABELS_FILE,
            )
        if twice := [label for label, times in Counter(self.labels).items() if times > 1]:
            log.warning("the label %r stands for several classes, which answers cannot tell apart", twice[0])

    def _outputs(self, tokens: Tokens, mask: list[int]) -> Sequence[np.ndarray]:
        arrays = {"input_ids": tokens.ids, "attention_mask": mask, "token_type_ids": self.type_ids(tokens)}
        return self.engine.run({name: np.asarray([values], np.int64) for name, values in arrays.items()})


def mode_of(config: Mapping[str, Any]) -> str:
    """Of the class of model that config.json names; else sequence classification, as the example has it."""
    for name in config.get("architectures") or ():
        for ending, mode in _HEADS.items():
            if str(name).endswith(ending):
                return mode
    return MODES[0]


def _longest(settings: TextSettings, config: Mapping[str, Any]) -> int:
    positions = positions_of(config)
    if positions is None or settings.max_length <= positions:
        return settings.max_length
    log.warning(
        "max_length is %d, as many tokens as the model has positions for, instead of %d", positions, settings.max_length
    )
    return positions


def _weights_in(directory: Path) -> str:
    whole = ("model.safetensors", "pytorch_model.bin", "traced_model.pt", "model.onnx", "model.pt2")
    for name in (*whole, f"model.safetensors{INDEX_SUFFIX}", f"pytorch_model.bin{INDEX_SUFFIX}"):
        if (directory / name).exists():
            return name
    return "model.safetensors"
