"""Whether a tokenizer is what the files around it say: tokenizer_config.json, special_tokens_map.json, added_tokens.json."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config_files import read_object_if_there

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["contradictions", "tokens_agree"]

_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
_NAMED = ("unk_token", "sep_token", "pad_token", "cls_token", "mask_token", "bos_token", "eos_token")
_LISTS = ("additional_special_tokens", "extra_special_tokens")

# What the settings of a family are where tokenizer_config.json leaves them out.
_USUAL: dict[str | None, dict[str, Any]] = {
    "wordpiece": {
        "do_lower_case": True,
        "strip_accents": None,
        "tokenize_chinese_chars": True,
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
    },
    "byte_bpe": {"add_prefix_space": False, "cls_token": "<s>", "sep_token": "</s>"},
    None: {},
}
_OF_NORMALIZER = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}


def contradictions(backend: Tokenizer, said: Mapping[str, Any], family: str | None) -> list[str]:
    """The keys of tokenizer_config.json that say something else than tokenizer.json. family: wordpiece, byte_bpe or None."""
    wanted = {**_USUAL[family], **said}
    described = json.loads(backend.to_str())
    normalizer, pre_tokenizer = (described.get(part) or {} for part in ("normalizer", "pre_tokenizer"))
    found = []
    if normalizer.get("type") == "BertNormalizer":
        found += [key for key, name in _OF_NORMALIZER.items() if key in wanted and wanted[key] != normalizer.get(name)]
    if pre_tokenizer.get("type") == "ByteLevel" and "add_prefix_space" in wanted:
        found += ["add_prefix_space"] if bool(wanted["add_prefix_space"]) != pre_tokenizer.get("add_prefix_space") else []
    around = _special_around(backend)
    return found + [key for key in ("cls_token", "sep_token") if wanted.get(key) and _content(wanted[key]) not in around]


def tokens_agree(backend: Tokenizer, directory: Path, said: Mapping[str, Any]) -> bool:
    """Whether it has the tokens that were added to its vocabulary, with their ids, and no others where all are listed."""
    has = {
        i: (token.content, *(getattr(token, flag) for flag in _FLAGS))
        for i, token in backend.get_added_tokens_decoder().items()
    }
    ids = {token[0]: i for i, token in has.items()}
    listed = said.get("added_tokens_decoder")
    if listed and {int(i): _described(token, special=False) for i, token in listed.items()} != has:
        return False
    added = read_object_if_there(directory / "added_tokens.json")
    if any(ids.get(content) != i for content, i in added.items()):
        return False
    specials = [*_specials(said), *_specials(read_object_if_there(directory / "special_tokens_map.json"))]
    for token in specials:
        i = ids.get(_content(token))
        if i is None or (isinstance(token, Mapping) and _described(token, special=True) != has[i]):
            return False
    return True


def _specials(said: Mapping[str, Any]) -> Iterator[Any]:
    """The special tokens that a file lists, as texts or as objects of their content."""
    yield from (said[name] for name in _NAMED if said.get(name))
    for name in _LISTS:
        tokens = said.get(name) or ()
        yield from tokens.values() if isinstance(tokens, Mapping) else tokens


def _special_around(backend: Tokenizer) -> set[str]:
    """The special tokens that are put around a text."""
    encoding = backend.encode("a", "a")
    return {token for token, sequence in zip(encoding.tokens, encoding.sequence_ids, strict=True) if sequence is None}


def _content(token: Any) -> str:
    return str(token.get("content")) if isinstance(token, Mapping) else str(token)


def _described(token: Any, special: bool) -> tuple[Any, ...]:
    """As transformers reads an object: flags that are not said are off, except `normalized`, which is on for usual tokens."""
    said = token if isinstance(token, Mapping) else {}
    is_special = bool(said.get("special", special))
    usual = {"normalized": not is_special, "special": is_special}
    return (_content(token), *(bool(said.get(flag, usual.get(flag, False))) for flag in _FLAGS))
