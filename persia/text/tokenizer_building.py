"""Tokenizers, made of tokenizer.json, of BERT's vocab.txt, of RoBERTa's vocab.json and merges.txt, or by transformers."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from persia.errors import ConfigError, NotFound

from .extras import extra
from .quiet import transformers_quiet

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["built_by_transformers", "byte_bpe_of", "of_tokenizer_json", "wordpiece_of"]

log = logging.getLogger(__name__)


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


def wordpiece_of(path: Path, said: Mapping[str, Any], lower: bool) -> Tokenizer:
    """BERT's. said: what tokenizer_config.json says. Raises ConfigError, OSError."""
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


def byte_bpe_of(directory: Path, add_prefix_space: bool) -> Tokenizer:
    """RoBERTa's. Raises ConfigError, OSError."""
    tokenizers = extra("tokenizers")
    model = tokenizers.models.BPE.from_file(str(directory / "vocab.json"), str(directory / "merges.txt"))
    made = tokenizers.Tokenizer(model)
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    made.decoder = tokenizers.decoders.ByteLevel()
    specials = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
    made.add_special_tokens([token for token in specials if made.token_to_id(token) is not None])
    if made.token_to_id("</s>") is None or made.token_to_id("<s>") is None:
        raise ConfigError("expected RoBERTa's pieces, got no <s> or no </s>", file="vocab.json")
    ends = [(token, made.token_to_id(token)) for token in ("</s>", "<s>")]
    made.post_processor = tokenizers.processors.RobertaProcessing(*ends, trim_offsets=True, add_prefix_space=add_prefix_space)
    return cast("Tokenizer", made)


def built_by_transformers(directory: Path, config: Mapping[str, Any], do_lower_case: Any = None) -> Tokenizer:
    """config: what config.json says, which may be elsewhere. do_lower_case: what a setting says. Raises NotFound."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    transformers = extra("transformers")
    try:
        with _beside_config(directory, config) as folder, transformers_quiet():
            loaded = transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
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
    if isinstance(do_lower_case, bool):
        return of_tokenizer_json(backend.to_str(), do_lower_case)
    return cast("Tokenizer", backend)


@contextmanager
def _beside_config(directory: Path, config: Mapping[str, Any]) -> Iterator[Path]:
    """A folder with the tokenizer's files and a config.json, without which AutoTokenizer reads none."""
    if (directory / "config.json").exists():
        yield directory
        return
    with tempfile.TemporaryDirectory(prefix="persia-tokenizer-") as name:
        for pattern in (
            "token*",
            "vocab*",
            "merges.txt",
            "special_tokens_map.json",
            "added_tokens.json",
            "*.model",
            "bpe.codes",
        ):
            for path in directory.glob(pattern):
                shutil.copy(path, name)
        Path(name, "config.json").write_text(json.dumps(dict(config)), encoding="utf-8")
        yield Path(name)


def _special(said: Mapping[str, Any], name: str, usual: str) -> str:
    token = said.get(f"{name}_token", usual)
    token = token.get("content") if isinstance(token, dict) else token
    return token if isinstance(token, str) else usual
