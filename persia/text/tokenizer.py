"""Texts -> token ids, as the model was trained with. transformers is not imported where its `tokenizers` library will do."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .config_files import read_object_if_there
from .tokenizer_files import has_tokenizer, load_backend, of_tokenizer_json

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

__all__ = ["Text", "TextTokenizer", "Tokens"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Text:
    """What a model is asked about: one text, or two, such as a question and its context."""

    first: str
    second: str | None = None


@dataclass(frozen=True)
class Tokens:
    """A text as the model takes it, special tokens included.

    type_ids: 0 for the first text of a pair, 1 for the second. offsets: the characters of its text that a token stands for.
    sequences: which of a pair's texts a token is of; None for a special token. left_out: how many tokens were cut off.
    """

    ids: list[int]
    type_ids: list[int]
    words: list[str]
    offsets: list[tuple[int, int]]
    sequences: list[int | None]
    left_out: int

    @property
    def key(self) -> bytes:
        """Equal for texts that the model cannot tell apart."""
        return repr((self.ids, self.type_ids)).encode()


class TextTokenizer:
    """Not for several threads at a time."""

    def __init__(self, backend: Tokenizer, max_length: int, pad_token: str | None) -> None:
        backend.no_padding()
        backend.no_truncation()
        self.backend = backend
        self.max_length = max_length
        self.pad_token = pad_token
        pad_id = backend.token_to_id(pad_token) if pad_token else None
        self.pad_id = pad_id if pad_id is not None else 0

    @classmethod
    def load(
        cls,
        directory: Path,
        config: Mapping[str, Any],
        max_length: int,
        do_lower_case: bool | None = None,
        embedded: Mapping[str, Any] = MappingProxyType({}),
    ) -> TextTokenizer:
        """From the files of a folder, or from such as travel inside the model's.

        config: what config.json says. embedded: what files of other places say, by their names.

        Raises NotFound, ConfigError, OSError.
        """
        said = read_object_if_there(directory / "tokenizer_config.json") or embedded.get("tokenizer_config.json", {})
        lower = do_lower_case if do_lower_case is not None else said.get("do_lower_case")
        if "tokenizer.json" in embedded and not has_tokenizer(directory):
            backend = of_tokenizer_json(json.dumps(embedded["tokenizer.json"]), lower)
        else:
            backend = load_backend(directory, config, said, lower)
        longest = said.get("model_max_length")  # transformers writes 1e30 where there is no limit
        if isinstance(longest, int) and 0 < longest < max_length:
            log.warning("max_length is %d, as tokenizer_config.json has it, instead of %d", longest, max_length)
            max_length = longest
        return cls(backend, max_length, _pad_token(said, backend))

    def tokenize(self, text: Text, *, keep_first: bool = False) -> Tokens:
        """At most max_length tokens. Of a pair the longer text is cut, or always the second one if the first is to be kept."""
        encoding = self._encode(text)
        if (over := len(encoding) - self.max_length) > 0:
            second = sum(sequence == 1 for sequence in encoding.sequence_ids)
            strategy = "only_second" if keep_first and second > over else "longest_first"
            self.backend.enable_truncation(self.max_length, strategy=strategy)
            try:
                encoding = self._encode(text)
            finally:
                self.backend.no_truncation()
        return Tokens(encoding.ids, encoding.type_ids, encoding.tokens, encoding.offsets, encoding.sequence_ids, max(0, over))

    def padded(self, tokens: Tokens) -> tuple[Tokens, list[int]]:
        """The tokens filled up to max_length, and the attention mask of that."""
        missing = self.max_length - len(tokens.ids)
        mask = [1] * len(tokens.ids) + [0] * missing
        return Tokens(
            tokens.ids + [self.pad_id] * missing,
            tokens.type_ids + [0] * missing,
            tokens.words + [self.pad_token or "[PAD]"] * missing,
            tokens.offsets + [(0, 0)] * missing,
            tokens.sequences + [None] * missing,
            tokens.left_out,
        ), mask

    def text_of(self, words: list[str]) -> str:
        """Tokens as text again, with the blanks that they stood between."""
        return str(self.backend.decoder.decode(words)) if self.backend.decoder else " ".join(words)

    def _encode(self, text: Text) -> Encoding:
        return self.backend.encode(text.first, text.second)


def _pad_token(said: Mapping[str, Any], backend: Tokenizer) -> str | None:
    """As tokenizer_config.json has it, as text or as an object of its content; else one that is usual."""
    named = said.get("pad_token")
    named = named.get("content") if isinstance(named, dict) else named
    candidates = [named, "[PAD]", "<pad>"]
    return next((token for token in candidates if token and backend.token_to_id(token) is not None), None)
