"""Texts -> token ids, as the model was trained with. transformers is not imported where its `tokenizers` library will do."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from persia.errors import TooLarge

from .config_files import read_object_if_there
from .tokenizer_building import of_tokenizer_json
from .tokenizer_files import has_tokenizer, load_backend
from .tokens import Tokens, shortened

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["MAX_CHARACTERS", "Text", "TextTokenizer", "Tokens"]

log = logging.getLogger(__name__)

# Of a text, or of both of a pair: all of them are read before the tokens are cut, for a second or so.
MAX_CHARACTERS = 1_000_000


@dataclass(frozen=True)
class Text:
    """What a model is asked about: one text, or two, such as a question and its context."""

    first: str
    second: str | None = None


class TextTokenizer:
    """Not for several threads at a time."""

    def __init__(self, backend: Tokenizer, max_length: int, pad_token: str | None, cuts_left: bool = False) -> None:
        """cuts_left: whether too long a text loses its beginning instead of its end."""
        backend.no_padding()
        backend.no_truncation()
        self.backend = backend
        self.max_length = max_length
        self.pad_token = pad_token
        self.cuts_left = cuts_left
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
        if "tokenizer.json" in embedded and not has_tokenizer(directory):
            lower = do_lower_case if do_lower_case is not None else said.get("do_lower_case")
            backend = of_tokenizer_json(json.dumps(embedded["tokenizer.json"]), lower)
        else:
            backend = load_backend(directory, config, said, do_lower_case)
        longest = said.get("model_max_length")  # transformers writes 1e30 where there is no limit
        if isinstance(longest, int) and 0 < longest < max_length:
            log.warning("max_length is %d, as tokenizer_config.json has it, instead of %d", longest, max_length)
            max_length = longest
        side = said.get("truncation_side") or (backend.truncation or {}).get("direction")
        return cls(backend, max_length, _pad_token(said, backend), str(side).lower() == "left")

    def tokenize(self, text: Text, *, keep_first: bool = False) -> Tokens:
        """At most max_length tokens. Of a pair the longer text is cut, or always the second one if the first is to be kept.

        Raises TooLarge for more than MAX_CHARACTERS.
        """
        if (characters := len(text.first) + len(text.second or "")) > MAX_CHARACTERS:
            raise TooLarge(
                f"expected a text of at most {MAX_CHARACTERS} characters, of which the model takes {self.max_length} "
                f"tokens, got {characters}: send its parts"
            )
        found = self.backend.encode(text.first, text.second)
        tokens = Tokens(found.ids, found.type_ids, found.tokens, found.offsets, found.sequence_ids, 0)
        return tokens if len(tokens.ids) <= self.max_length else shortened(tokens, self.max_length, keep_first, self.cuts_left)

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


def _pad_token(said: Mapping[str, Any], backend: Tokenizer) -> str | None:
    """As tokenizer_config.json has it, as text or as an object of its content; else one that is usual."""
    named = said.get("pad_token")
    named = named.get("content") if isinstance(named, dict) else named
    candidates = [named, "[PAD]", "<pad>"]
    return next((token for token in candidates if token and backend.token_to_id(token) is not None), None)
