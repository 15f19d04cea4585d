"""The folder Transformer_model of TorchServe's example: a model of a folder or of the hub, as its archive commands want it."""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import torch

from persia.errors import NotFound
from persia.torch_deprecations import torch_deprecations_ignored

from .embedded import CONFIG_KEY
from .extras import extra
from .model import mode_of
from .pretrained import CLASSES
from .quiet import transformers_quiet
from .settings import TextSettings
from .tokenizer import Text, TextTokenizer

__all__ = ["prepare"]

log = logging.getLogger(__name__)

_LABELLED = ("sequence_classification", "token_classification")
# The example's, on which a trace is made.
_DUMMY = "This is a dummy input for torch jit trace"


def prepare(settings: TextSettings, out: Path) -> list[str]:
    """Writes the model and its tokenizer. Returns the names of parameters that were drawn at random, as nothing was trained.

    settings: `model_name` is a folder, or a name of the hub, which has to be reachable then.

    Raises NotFound, also for a model that is nowhere, ConfigError, OSError.
    """
    transformers = extra("transformers")
    name = settings.model_name or ""
    with transformers_quiet():
        try:
            model, mode, random = _model_of(transformers, name, settings)
        except Exception as error:  # of the hub's client, which has several kinds for no way to it
            if Path(name).is_dir():
                raise
            raise NotFound(
                f"expected model_name to be a folder, or a model that the hub gives, got {name!r}: no folder here, and the hub "
                "does not give it, or cannot be reached. Set model_name to a folder that save_pretrained of the model and of "
                f"its tokenizer wrote ({_first_line(error)})"
            ) from error
        config = model.config
        model = model.float().eval()
        out.mkdir(parents=True, exist_ok=True)
        model.save_pretrained(out)
        _write_tokenizer(transformers, name, out)
    tokenizer = TextTokenizer.load(out, config.to_dict(), settings.max_length, settings.do_lower_case)
    files = {"tokenizer.json": json.loads(tokenizer.backend.to_str())}
    if (out / "tokenizer_config.json").exists():
        files["tokenizer_config.json"] = json.loads((out / "tokenizer_config.json").read_bytes())
    if settings.save_mode in ("torchscript", "jit"):
        _write_trace(model, mode, tokenizer, {"config.json": config.to_dict(), **files}, out / "traced_model.pt")
    else:
        # Older guides archive this one, newer ones model.safetensors.
        torch.save(model.state_dict(), out / "pytorch_model.bin")
    written = json.loads((out / "config.json").read_bytes())
    (out / "config.json").write_text(json.dumps({**written, CONFIG_KEY: files}, indent=2) + "\n")
    return random


def _model_of(transformers: Any, name: str, settings: TextSettings) -> tuple[Any, str, list[str]]:
    """With its mode, and the names of parameters that were drawn at random. A trained head keeps its number of labels."""
    config = transformers.AutoConfig.from_pretrained(name)
    mode = settings.mode or mode_of(config.to_dict())
    model, random = _load(transformers, name, mode, config)
    wanted, has = settings.num_labels, config.num_labels
    if not wanted or wanted == has or mode not in _LABELLED:
        return model, mode, random
    if not random:
        log.warning(
            "num_labels is %d, but the head of %s was trained for %d labels: it is kept, with all of them", wanted, name, has
        )
        return model, mode, random
    model, random = _load(transformers, name, mode, transformers.AutoConfig.from_pretrained(name, num_labels=wanted))
    return model, mode, random


def _load(transformers: Any, name: str, mode: str, config: Any) -> tuple[Any, list[str]]:
    """A model, and the names of parameters that were drawn at random."""
    model, report = getattr(transformers, CLASSES[mode]).from_pretrained(
        name, config=config, ignore_mismatched_sizes=True, output_loading_info=True
    )
    return model, sorted([*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])])


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _write_tokenizer(transformers: Any, name: str, out: Path) -> None:
    """Where transformers cannot, the files of a local folder are taken as they are."""
    folder = Path(name)
    try:
        transformers.AutoTokenizer.from_pretrained(name).save_pretrained(out)
    except (OSError, ValueError):
        if not folder.is_dir():
            raise
        for path in folder.glob("vocab*"):
            (out / path.name).write_bytes(path.read_bytes())


def _write_trace(model: Any, mode: str, tokenizer: TextTokenizer, files: dict[str, Any], out: Path) -> None:
    """Of two inputs, as the example's; of three for questions, where the model is to know which text is which."""
    second = _DUMMY if mode == "question_answering" else None
    tokens = tokenizer.tokenize(Text(_DUMMY, second))
    inputs = {"input_ids": torch.tensor([tokens.ids]), "attention_mask": torch.ones(1, len(tokens.ids), dtype=torch.long)}
    if second is not None and getattr(model.config, "type_vocab_size", 0) > 1:
        inputs["token_type_ids"] = torch.tensor([tokens.type_ids])
    extras = {name: json.dumps(value) for name, value in files.items()}
    with torch_deprecations_ignored(), warnings.catch_warnings(), transformers_quiet(), torch.no_grad():
        warnings.filterwarnings("ignore", "Converting a tensor to a Python boolean")  # branches that masks of ones always take
        model.config.return_dict = False  # a trace gives tensors
        traced = torch.jit.trace(model, example_kwarg_inputs=inputs, check_trace=False)
        torch.jit.save(traced, str(out), _extra_files=extras)
