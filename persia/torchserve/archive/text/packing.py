"""A folder of a text model -> an archive, which is loaded as a worker would load it and tried before it appears."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from persia.errors import ConfigError, InvalidInput
from persia.text import TextModel, TextSettings
from persia.text.labels import LABELS_FILE
from persia.text.pretrained import PretrainedEngine
from persia.text.shards import shards_of
from persia.text.tokenizer import Text, TextTokenizer
from persia.torch_errors import last_line
from persia.torchserve.archive.compare.agreement import Answers, agreement_of
from persia.torchserve.archive.handler_files import TEXT_HANDLER
from persia.torchserve.archive.options import Place, QuantizationOptions, Serving, TextOptions
from persia.torchserve.archive.text.answers import answers_of
from persia.torchserve.archive.text.folder import CONFIG_FILE, TextFolder
from persia.torchserve.archive.text.formats import write_model
from persia.torchserve.archive.text.loading import check_tokenizer, load_model, load_tokenizer
from persia.torchserve.archive.text.samples import made_texts, read_texts
from persia.torchserve.archive.writing import write_archive

__all__ = ["pack_text_model"]

# What the scores of an archive may differ by from those of the folder: float32 in another order of additions.
_NOISE = 1e-4


def pack_text_model(
    directory: Path,
    sample: Path | None,
    options: TextOptions,
    quantization: QuantizationOptions,
    place: Place,
    serving: Serving,
) -> str:
    """Writes the archive, and gives what to say of the model. Raises PersiaError, OSError."""
    place.check()
    save_mode = options.save_mode or ("torchscript" if quantization.quantize else "pretrained")
    if quantization.quantize and save_mode == "pretrained":
        raise InvalidInput("expected --save-mode torchscript or onnx with --quantize: pretrained has no int8 layers")
    folder = TextFolder.read(directory, options.mode, options.labels)
    tokenizer = load_tokenizer(folder, options.max_length)
    model, whole = load_model(folder, options.allow_random_head)
    config = serving.read_config()
    settings = _settings(folder, tokenizer, options, quantization, save_mode, config)
    text = serving.model_config({**config, "handler": settings})
    original = TextModel(
        PretrainedEngine(model, "cpu"),
        tokenizer,
        TextSettings.of(settings, "model-config.yaml"),
        folder.mode,
        folder.labels or (),
        folder.config.get("problem_type"),
    )
    texts = read_texts(sample, folder.mode) if sample is not None else made_texts(tokenizer, folder.mode)
    tried = f"{len(texts)} texts {f'of {sample.name}' if sample is not None else 'made of the vocabulary'}"
    check_tokenizer(folder, tokenizer, texts)
    expected = answers_of(original, texts)
    with tempfile.TemporaryDirectory(prefix="persia-archive-") as staging:
        weights = write_model(model, whole, folder, save_mode, quantization.quantize is not None, Path(staging))
        others = _write_others(folder, tokenizer, Path(staging))
        found = agreement_of(expected, _answers_of_files(weights, original.settings, texts, save_mode))
        if quantization.quantize:
            quantization.check(found, tried, given=sample is not None)
        elif found.agreement < 1 or found.max_distance > _NOISE:
            raise InvalidInput(
                f"expected the same answers from the folder and from its archive ({save_mode}), got {found} for {tried}, and "
                f"scores that differ by up to {found.max_distance:.2g}: choose another --save-mode"
            )
        place.out.mkdir(parents=True, exist_ok=True)
        extra = [*shards_of(weights), *others, *serving.extra_files]
        write_archive(place.archive, place.name, place.version, weights, serving.handler or TEXT_HANDLER, text, extra)
    kind = f"{folder.mode}, {save_mode}{' int8' if quantization.quantize else ''}, up to {tokenizer.max_length} tokens"
    if folder.sentences is not None:
        kind += f"; sentence-transformers' files say: {folder.sentences}"
    said = f"as int8 {found}" if quantization.quantize else "answers as the folder does"
    return f"{kind}; for {tried}: {said}"


def _answers_of_files(weights: Path, settings: TextSettings, texts: Sequence[Text], save_mode: str) -> Answers:
    """What a worker would answer with these files. Raises InvalidInput if it could not."""
    try:
        return answers_of(TextModel.load(weights.parent, settings, weights=weights.name), texts)
    except Exception as error:  # TorchScript and ONNX Runtime raise their own kinds for a graph that is of one length alone
        reason = last_line(error)
        raise InvalidInput(f"the model cannot be served as {save_mode}, choose another --save-mode: {reason}") from error


def _settings(
    folder: TextFolder,
    tokenizer: TextTokenizer,
    options: TextOptions,
    quantization: QuantizationOptions,
    save_mode: str,
    config: Mapping[str, Any],
) -> dict[str, Any]:
    """Those of the folder, over them those of --config, and over these those of the command line. Raises ConfigError."""
    given = config.get("handler") or {}
    if not isinstance(given, dict):
        raise ConfigError(f"expected a mapping of settings, got {given!r}", "$.handler", "--config")
    said = {
        "mode": folder.mode,
        "save_mode": save_mode,
        "max_length": tokenizer.max_length,
        "num_labels": len(folder.labels) if folder.labels is not None else None,
        "top_k": options.top_k,
        "pooling": options.pooling,
        "normalize": options.normalize,
        "quantized": quantization.quantize,
    }
    of_folder = _settings_of_sentences(folder)
    return {"padding": "none", **of_folder, **given, **{key: value for key, value in said.items() if value is not None}}


def _settings_of_sentences(folder: TextFolder) -> dict[str, Any]:
    """Those that sentence-transformers' files say, beside the length, which the tokenizer has."""
    sentences = folder.sentences
    if sentences is None:
        return {}
    lower = {"do_lower_case": True} if sentences.lower_case else {}
    return {"pooling": sentences.pooling, "normalize": sentences.normalize, **lower}


def _write_others(folder: TextFolder, tokenizer: TextTokenizer, out: Path) -> list[Path]:
    """What a worker needs beside the weights."""
    files = [out / CONFIG_FILE, out / "tokenizer.json"]
    if not files[0].exists():
        shutil.copy(folder.directory / CONFIG_FILE, files[0])
    tokenizer.backend.save(str(files[1]))
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (folder.directory / name).exists():
            files.append(Path(shutil.copy(folder.directory / name, out / name)))
    if folder.labels is not None:
        files.append(out / LABELS_FILE)
        names = {str(i): label for i, label in enumerate(folder.labels)}
        files[-1].write_text(json.dumps(names, indent=2, ensure_ascii=False), encoding="utf-8")
    return files
