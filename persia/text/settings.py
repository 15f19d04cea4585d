"""Settings of a text model: setup_config.json of any age, and the `handler:` part of a model-config.yaml, which wins."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from persia.errors import ConfigError

from .brief import brief
from .config_files import read_object_if_there
from .setting_kinds import Kind, choice, count, text, yes_or_no

__all__ = ["DEFAULT_MAX_LENGTH", "MODES", "SETUP_FILE", "TextSettings"]

log = logging.getLogger(__name__)

SETUP_FILE = "setup_config.json"
DEFAULT_MAX_LENGTH = 512
MODES = ("sequence_classification", "token_classification", "question_answering", "text_embedding")

# What the example's keys mean and how they may be written. The second half is Persia's own.
KEYS: Mapping[str, Kind] = {
    "model_name": text,
    "mode": choice(*MODES, also=("text_generation",)),
    "do_lower_case": yes_or_no,
    "num_labels": count(0),
    "save_mode": choice("pretrained", "torchscript", "original", "jit", "onnx", "pt2"),
    "max_length": count(1),
    "captum_explanation": yes_or_no,
    "embedding_name": text,
    "base_model": text,
    "top_k": count(1),
    "qa_span": choice("best", "example"),
    "max_answer_tokens": count(1),
    "padding": choice("none", "max_length"),
    "pooling": choice("mean", "cls"),
    "normalize": yes_or_no,
    "threads": count(1),
    "answer_cache_mib": count(0),
    "quantized": choice("dynamic"),
}

# Keys of the example that change nothing here, and why.
IDLE = {
    "FasterTransformer": "the library that it loads is no longer made",
    "BetterTransformer": "torch's own attention kernels, which it stood for, are the default",
    "model_parallel": "transformers no longer has it",
    "hardware": "the model runs on the CPU, or on the GPU that TorchServe gives the worker",
    "batch_size": "batchSize of model-config.yaml says how many requests a worker gets at a time",
}


@dataclass(frozen=True)
class TextSettings:
    """Every setting has a default: files of older versions lack the newer keys."""

    mode: str | None = None
    model_name: str | None = None
    base_model: str | None = None
    do_lower_case: bool | None = None
    num_labels: int | None = None
    save_mode: str | None = None
    max_length: int = DEFAULT_MAX_LENGTH
    captum_explanation: bool = False
    embedding_name: str | None = None
    top_k: int | None = None
    qa_span: str = "best"
    max_answer_tokens: int = 30
    padding: str | None = None
    pooling: str = "mean"
    normalize: bool = False
    threads: int = 1
    answer_cache_mib: int = 0
    tags_padding: bool = False  # of files as the example has them since 0.4, whose answers have tags for the padding
    quantized: str | None = None  # says how the archive's model was made int8; its file is loaded like any other

    @classmethod
    def of(cls, values: Mapping[str, Any], file: str = SETUP_FILE) -> TextSettings:
        """Of what setup_config.json says. Raises ConfigError."""
        return cls(**_read(values, file, "$"))

    @classmethod
    def of_directory(cls, directory: Path, model_config: Mapping[str, Any] | None = None) -> TextSettings:
        """Of an unpacked archive. model_config: the whole model-config.yaml, if there is one. Raises ConfigError, OSError."""
        setup = read_object_if_there(directory / SETUP_FILE)
        handler = (model_config or {}).get("handler") or {}
        if not isinstance(handler, Mapping):
            raise ConfigError(f"expected a mapping of settings, got {brief(handler)}", "$.handler", "model-config.yaml")
        read = {**_read(setup, SETUP_FILE, "$"), **_read(handler, "model-config.yaml", "$.handler")}
        return cls(**read, tags_padding=bool(handler) or "captum_explanation" in setup)

    @property
    def pads(self) -> bool:
        """Whether inputs are filled up to max_length, as the example does: its spans and its lists of tags depend on that."""
        as_the_example = self.qa_span == "example" or (self.mode == "token_classification" and self.tags_padding)
        return self.padding == "max_length" or (self.padding is None and as_the_example)

    @property
    def is_workshop(self) -> bool:
        """Whether the archive is one of the workshop's, whose answers are the best labels with their probabilities."""
        return self.save_mode in ("original", "jit")


def _read(values: Mapping[str, Any], file: str, path: str) -> dict[str, Any]:
    """Keys as the example's files have them. One that changes nothing is logged, so that nobody wonders."""
    read: dict[str, Any] = {}
    for key, value in values.items():
        if key in IDLE:
            log.info("%s: the setting `%s` does nothing: %s", file, key, IDLE[key])
        elif key not in KEYS:
            log.warning("%s: the setting `%s` is unknown and does nothing%s", file, key, _nearest(key))
        elif value is not None:
            read[key] = KEYS[key](value, f"{path}.{key}", file)
    if read.get("mode") == "text_generation":
        known = ", ".join(MODES)
        reason = "text_generation draws its answers at random, token by token, and is not served here"
        raise ConfigError(f"{reason}; expected {known}", f"{path}.mode", file)
    return read


def _nearest(key: str) -> str:
    near = difflib.get_close_matches(key, KEYS, 1)
    return f": did you mean `{near[0]}`?" if near else ""
