"""Models as save_pretrained writes them, of any age of transformers: config.json, and the weights under any name."""

from __future__ import annotations

import inspect
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch

from persia.errors import ConfigError

from .embedded import CONFIG_KEY
from .engines import INPUT_NAMES, Inputs
from .extras import extra
from .outputs import arrays_of
from .quiet import transformers_quiet
from .shards import shards_of

__all__ = ["CLASSES", "PretrainedEngine", "load_pretrained", "read_weights"]

CLASSES = {
    "sequence_classification": "AutoModelForSequenceClassification",
    "token_classification": "AutoModelForTokenClassification",
    "question_answering": "AutoModelForQuestionAnswering",
    "text_embedding": "AutoModel",
}


class PretrainedEngine:
    """A model of transformers, in eager mode: the one kind whose answers can be explained."""

    def __init__(self, model: Any, device: str) -> None:
        self.model = model
        self.device = device
        accepted = inspect.signature(model.forward).parameters
        has_types = getattr(model.config, "type_vocab_size", 2) > 1
        self.names = [name for name in INPUT_NAMES if name in accepted and (name != "token_type_ids" or has_types)]

    @classmethod
    def load(cls, path: Path, mode: str, config: Mapping[str, Any], device: str = "cpu") -> PretrainedEngine:
        """Raises ConfigError, OSError."""
        model, missing = load_pretrained(path, mode, config)
        if mode == "text_embedding":  # which uses no pooler, so that many models leave it out
            missing = [name for name in missing if "pooler" not in name]
        if missing:
            raise ConfigError(
                f"the weights lack {', '.join(missing[:4])}{', ...' if len(missing) > 4 else ''}: without them the model would "
                f"answer at random; expected a model that was fine-tuned for {mode}",
                file=path.name,
            )
        return cls(model.to(device), device)

    @property
    def takes_token_types(self) -> bool:
        return "token_type_ids" in self.names

    def run(self, inputs: Inputs) -> Sequence[np.ndarray]:
        arguments = {name: torch.from_numpy(inputs[name]).to(self.device) for name in self.names}
        with torch.inference_mode():
            return arrays_of(self.model(**arguments))


def load_pretrained(path: Path, mode: str, config: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """The model in float32, and the names of parameters that the weights lack. Raises ConfigError, OSError."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    transformers = extra("transformers")
    with transformers_quiet():
        settings = _config_of(transformers, config)
        mapping = getattr(transformers, CLASSES[mode])._model_mapping
        if type(settings) not in mapping:
            raise ConfigError(
                f"transformers has no model of type {settings.model_type} for {mode}", "$.model_type", "config.json"
            )
        model, report = mapping[type(settings)].from_pretrained(
            None,
            config=settings,
            state_dict=read_weights(path),
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # which else are an error that does not name them
        )
    if report["mismatched_keys"]:
        name, got, expected = sorted(report["mismatched_keys"])[0]
        raise ConfigError(f"expected {name} of shape {tuple(expected)}, got {tuple(got)}", file=path.name)
    return model.float().eval(), sorted(report["missing_keys"])


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """A state_dict, of safetensors or of torch.save in either of its formats; or of all files that an index names.

    No code of a file is run. Raises ConfigError, NotFound, OSError.
    """
    if shards := shards_of(path):
        return {name: tensor for shard in shards for name, tensor in read_weights(shard).items()}
    with path.open("rb") as opened:
        is_safetensors = opened.read(9)[8:] == b"{"  # after the length of its header
    try:
        if is_safetensors:
            return dict(extra("safetensors.torch").load_file(str(path)))
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        if not zipfile.is_zipfile(path) and not path.read_bytes()[:1] == b"\x80":  # how each pickle begins
            raise ConfigError(
                "expected weights (safetensors, or a state_dict of torch.save), got neither", file=path.name
            ) from error
        raise ConfigError(
            "the file holds a pickled model, whose code would run when it is loaded; expected its weights: "
            "torch.save(model.state_dict(), ...) or model.save_pretrained(...)",
            file=path.name,
        ) from error
    except Exception as error:  # safetensors' and torch's own kinds
        raise ConfigError(f"expected weights (safetensors, or a state_dict of torch.save): {error}", file=path.name) from error
    if not isinstance(weights, Mapping) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise ConfigError(f"expected a state_dict of tensors, got a {type(weights).__name__}", file=path.name)
    return dict(weights)


def _config_of(transformers: Any, config: Mapping[str, Any]) -> Any:
    """Files of transformers 2 do not say their type: then the name of the class does."""
    kind = config.get("model_type") or _type_of_class(transformers, config)
    if kind is None:
        raise ConfigError(
            'expected the type of the model, such as "model_type": "bert", got none (from transformers 2): add it',
            "$.model_type",
            "config.json",
        )
    try:
        return transformers.AutoConfig.for_model(
            **{key: value for key, value in config.items() if key != CONFIG_KEY} | {"model_type": kind}
        )
    except ValueError as error:
        raise ConfigError(f"transformers {transformers.__version__} refuses it: {error}", file="config.json") from error


def _type_of_class(transformers: Any, config: Mapping[str, Any]) -> str | None:
    named = (config.get("architectures") or [None])[0]
    for name in CLASSES.values():
        for settings, model in getattr(transformers, name)._model_mapping._model_mapping.items():
            if named is not None and model == named:
                return str(settings)
    return None
