"""Texts to try a model on: a user's, or some that are made of the model's own vocabulary."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from persia.errors import InvalidInput
from persia.strict_json import loads
from persia.text.requests import RequestReader
from persia.text.tokenizer import Text, TextTokenizer

__all__ = ["made_texts", "read_texts"]

_COUNT = 32
_LONGEST = 48  # tokens of a text that is made, as most texts that are sent are short


def read_texts(path: Path, mode: str) -> list[Text]:
    """On each line what the body of a request may be: a text, or JSON. Raises InvalidInput, OSError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"expected texts as UTF-8, one a line, got {path}: {error}") from error
    reader = RequestReader(mode)
    texts: list[Text] = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                texts += reader.read({"body": _value_of(line.strip())}).texts
            except InvalidInput as error:
                raise InvalidInput(f"{path}, line {number}: {error}") from error
    if not texts:
        raise InvalidInput(f"expected texts, one a line, got none in {path}")
    return texts


def made_texts(tokenizer: TextTokenizer, mode: str) -> list[Text]:
    """Some of random pieces, always the same, of 4 tokens up; the last one has as many as the model takes."""
    chosen = random.Random(0)
    backend = tokenizer.backend
    special = {id for id, token in backend.get_added_tokens_decoder().items() if token.special}
    ids = [id for id in range(backend.get_vocab_size()) if id not in special]

    def words(count: int) -> str:
        return str(backend.decode(chosen.choices(ids, k=max(1, count))))

    longest = min(_LONGEST, tokenizer.max_length)
    lengths = [4 + i * max(0, longest - 4) // (_COUNT - 1) for i in range(_COUNT)] + [tokenizer.max_length]
    if mode == "question_answering":
        return [Text(words(6), words(count)) for count in lengths]
    return [Text(words(count)) for count in lengths]


def _value_of(line: str) -> Any:
    """JSON where it is some, and else the text itself."""
    try:
        return loads(line) if line[0] in '"[{' else line
    except (ValueError, RecursionError):
        return line
