"""The files that a tokenizer is made of: tokenizer.json, a BERT vocab.txt, RoBERTa's vocab.json and merges.txt, or others."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from persia.errors import ConfigError, NotFound

from .extras import extra

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["TOKENIZER_FILES", "has_tokenizer", "load_backend", "of_tokenizer_json", "tokenizer_files_of"]

log = logging.getLogger(__name__)

# What a folder may have of a tokenizer. Any one of these lines is enough; the others of its folder go along.
TOKENIZER_FILES = (
    *(
        "tokenizer.json",
        "vocab.txt",
        "vocab.json",
        "merges.txt",
        "spiece.model",
        "sentencepiece.bpe.model",
        "sentencepiece.model",
    ),
    *("tokenizer.model", "bpe.codes", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
)
_SENTENCEPIECE = ("spiece.model", "sentencepiece.bpe.model", "sentencepiece.model", "tokenizer.model")

# Kinds of models whose vocab.txt is BERT's, and whose vocab.json and merges.txt are RoBERTa's. None: config.json names no kind.
_WORDPIECE = {None, "bert", "convbert", "distilbert", "electra", "layoutlm", "lxmert", "mobilebert", "squeezebert", "splinter"}
_BYTE_BPE = {"roberta", "longformer", "bart", "led", "mvp"}


def tokenizer_files_of(directory: Path) -> list[Path]:
    """Those that an archive needs. Raises NotFound if they make no tokenizer."""
    files = [directory / name for name in TOKENIZER_FILES if (directory / name).exists()]
    _check_there(directory)
    return files


def load_backend(directory: Path, config: Mapping[str, Any], said: Mapping[str, Any], do_lower_case: Any = None) -> Tokenizer:
    """config, said: what config.json and tokenizer_config.json say. Raises NotFound, ConfigError, OSError."""
    _check_there(directory)
    kind = config.get("model_type")
    if (directory / "tokenizer.json").exists():
        return of_tokenizer_json((directory / "tokenizer.json").read_text(encoding="utf-8"), do_lower_case)
    if (directory / "vocab.txt").exists() and kind in _WORDPIECE:
        return _wordpiece(directory / "vocab.txt", said, do_lower_case is not False)
    if (directory / "merges.txt").exists() and kind in _BYTE_BPE:
        return _byte_bpe(directory, bool(said.get("add_prefix_space")))
    return _by_transformers(directory)


def has_tokenizer(directory: Path) -> bool:
    """Whether the folder has the files of one."""
    names = {path.name for path in directory.iterdir()}
    alone = ("tokenizer.json", "vocab.txt", "bpe.codes", *_SENTENCEPIECE)
    return not names.isdisjoint(alone) or {"vocab.json", "merges.txt"} <= names


def _check_there(directory: Path) -> None:
    if has_tokenizer(directory):
        return
    raise NotFound(
        f"expected the model's tokenizer in {directory}, got none of tokenizer.json, vocab.txt, vocab.json with merges.txt, "
        f"{', '.join(_SENTENCEPIECE)}: nothing is loaded from the hub, so add the file to the archive, such as by "
        '--extra-files "Transformer_model/tokenizer.json,..." of torch-model-archiver'
    )


def of_tokenizer_json(text: str, do_lower_case: Any = None) -> Tokenizer:
    """do_lower_case: what a setting says of it, if one does. Raises ConfigError."""
    tokenizers = extra("tokenizers")
    try:
        described = json.loads(text)
        normalizer = described.get("normalizer") or {}
        # As transformers has it: of BERT's normalizer the setting decides, of others the file.
        is_set = isinstance(do_lower_case, bool) and normalizer.get("type") == "BertNormalizer"
        if is_set and do_lower_case != normalizer.get("lowercase"):
            log.warning(
                "do_lower_case is %s, but tokenizer.json, with which the model was probably trained, has lowercase %s: the "
                "setting decides; leave it out to follow the file",
                do_lower_case,
                normalizer.get("lowercase"),
            )
            normalizer["lowercase"] = do_lower_case
            text = json.dumps(described)
        return cast("Tokenizer", tokenizers.Tokenizer.from_str(text))
    except Exception as error:  # of the library, which has no class of its own for it
        raise ConfigError(
            f"expected a tokenizer that `tokenizers` {tokenizers.__version__} reads: {error}", file="tokenizer.json"
        ) from error


def _wordpiece(path: Path, said: Mapping[str, Any], lower: bool) -> Tokenizer:
    tokenizers = extra("tokenizers")
    pieces = path.read_text(encoding="utf-8").rstrip("\n").split("\n")  # other ends of lines may be pieces
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    specials = {name: _special(said, name, f"[{name.upper()}]") for name in ("unk", "sep", "pad", "cls", "mask")}
    missing = [specials[name] for name in ("unk", "sep", "cls") if specials[name] not in vocabulary]
    if missing:
        raise ConfigError(f"expected the pieces of BERT's WordPiece, got none of {', '.join(missing)}", file=path.name)
    model = tokenizers.models.WordPiece(vocabulary, unk_token=specials["unk"], max_input_chars_per_word=100)
    made = tokenizers.Tokenizer(model)
    made.normalizer = tokenizers.normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=said.get("tokenize_chinese_chars", True),
        strip_accents=said.get("strip_accents"),
        lowercase=lower,
    )
    made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    ends = [(specials[name], vocabulary[specials[name]]) for name in ("sep", "cls")]
    made.post_processor = tokenizers.processors.BertProcessing(*ends)
    made.decoder = tokenizers.decoders.WordPiece(prefix="##")
    made.add_special_tokens([token for token in specials.values() if token in vocabulary])
    return cast("Tokenizer", made)


def _byte_bpe(directory: Path, add_prefix_space: bool) -> Tokenizer:
    tokenizers = extra("tokenizers")
    model = tokenizers.models.BPE.from_file(str(directory / "vocab.json"), str(directory / "merges.txt"))
    made = tokenizers.Tokenizer(model)
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    made.decoder = tokenizers.decoders.ByteLevel()
    specials = [token for token in ("<s>", "<pad>", "</s>", "<unk>") if made.token_to_id(token) is not None]
    made.add_special_tokens(specials)
    # The mask takes the blank before it along.
    if made.token_to_id("<mask>") is not None:
        made.add_special_tokens([tokenizers.AddedToken("<mask>", lstrip=True, special=True)])
    if made.token_to_id("</s>") is None or made.token_to_id("<s>") is None:
        raise ConfigError("expected RoBERTa's pieces, got no <s> or no </s>", file="vocab.json")
    ends = [(token, made.token_to_id(token)) for token in ("</s>", "<s>")]
    made.post_processor = tokenizers.processors.RobertaProcessing(*ends, trim_offsets=True, add_prefix_space=add_prefix_space)
    return cast("Tokenizer", made)


def _by_transformers(directory: Path) -> Tokenizer:
    os.environ["HF_HUB_OFFLINE"] = "1"
    transformers = extra("transformers")
    try:
        loaded = transformers.AutoTokenizer.from_pretrained(str(directory), local_files_only=True)
        backend = getattr(loaded, "backend_tokenizer", None)
    except Exception as error:  # whatever class the kind of tokenizer raises
        raise NotFound(
            f"the tokenizer in {directory} cannot be made from its files: {error}; where it can, "
            "AutoTokenizer.from_pretrained(...).save_pretrained(...) writes a tokenizer.json, which needs nothing else"
        ) from error
    if backend is None:
        raise NotFound(
            f"the tokenizer in {directory} is a {type(loaded).__name__}, which only Python's slow code has; expected one that "
            "AutoTokenizer.from_pretrained(...).save_pretrained(...) writes as tokenizer.json"
        )
    return cast("Tokenizer", backend)


def _special(said: Mapping[str, Any], name: str, usual: str) -> str:
    token = said.get(f"{name}_token", usual)
    token = token.get("content") if isinstance(token, dict) else token
    return token if isinstance(token, str) else usual
