"""Texts to try a model on: a user's, or some that are made of the model's own vocabulary."""

from __future__ import annotations

import random
from pathlib import Path

from persia.errors import InvalidInput
from persia.strict_json import loads
from persia.text.tokenizer import Text, TextTokenizer

__all__ = ["made_texts", "read_texts"]

_COUNT = 32
_LONGEST = 48  # tokens of a text that is made, as most texts that are sent are short


def read_texts(path: Path, mode: str) -> list[Text]:
    """One text a line. A line may be JSON: a string, a pair, or an object. Raises InvalidInput, OSError.

    mode: a question needs its context, as `{"question": "...", "context": "..."}` or as a pair.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"expected texts as UTF-8, one a line, got {path}: {error}") from error
    texts = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        text = _text_of(line.strip())
        if mode == "question_answering" and text.second is None:
            raise InvalidInput(
                f'{path}, line {number}: expected {{"question": "...", "context": "..."}}, got a text without a context'
            )
        texts.append(text)
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


def _text_of(line: str) -> Text:
    """What is no JSON that means a text is the text itself."""
    try:
        value = loads(line) if line[0] in '"[{' else line
    except ValueError:
        value = line
    if isinstance(value, str):
        return Text(value)
    if isinstance(value, list) and len(value) == 2 and all(isinstance(part, str) for part in value):
        return Text(*value)
    if isinstance(value, dict):
        if isinstance(value.get("question"), str) and isinstance(value.get("context"), str):
            return Text(value["question"], value["context"])
        for key in ("text", "data", "inputs"):
            if isinstance(value.get(key), str):
                return Text(value[key])
    return Text(line)
