"""The model and the tokenizer of a folder, if they are what they claim to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from persia.errors import ConfigError, InvalidInput
from persia.text.config_files import read_object_if_there
from persia.text.extras import extra
from persia.text.positions import positions_of
from persia.text.pretrained import load_pretrained
from persia.text.quiet import transformers_quiet
from persia.text.settings import DEFAULT_MAX_LENGTH
from persia.text.tokenizer import Text, TextTokenizer
from persia.torchserve.archive.text.folder import TextFolder

__all__ = ["check_tokenizer", "load_model", "load_tokenizer"]

# Characters from which on the library takes minutes to cut a pair.
_LONG_TO_CUT = 50_000


def load_model(folder: TextFolder, allow_random_head: bool) -> tuple[Any, bool]:
    """A model of transformers, and whether all its weights are the folder's: others would be random.

    Raises InvalidInput for a model with random weights unless these are allowed, ConfigError, OSError.
    """
    model, missing = load_pretrained(folder.weights, folder.mode, folder.config)
    if folder.mode == "text_embedding":  # which is made of the last layer's vectors, and not by the pooler
        missing = [name for name in missing if not name.startswith("pooler.")]
    if missing and not allow_random_head:
        raise InvalidInput(
            f"expected a model that was trained for {folder.mode}, got weights without {_listed(missing)} in "
            f"{folder.weights}: these would be random, and so would the answers. Pack the fine-tuned model, or give "
            "--allow-random-head"
        )
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model, not missing


def load_tokenizer(folder: TextFolder, max_length: int | None) -> TextTokenizer:
    """max_length: the tokens that it is to give at most; None: as sentence-transformers has it, or 512, if these fit.

    Raises NotFound without a tokenizer, InvalidInput if it gives more tokens or other ids than the model takes, ConfigError.
    """
    said = read_object_if_there(folder.directory / "tokenizer_config.json").get("model_max_length")
    of_tokenizer = said if isinstance(said, int) and 0 < said < 1 << 30 else None  # transformers has 1e30 for "no limit"
    limits = [(positions_of(folder.config), "the model has positions for"), (of_tokenizer, "tokenizer_config.json allows")]
    for most, whose in limits:
        if max_length is not None and most is not None and max_length > most:
            raise InvalidInput(f"expected a --max-length of at most {most} tokens, which {whose}, got {max_length}")
    known = [most for most, _ in limits if most is not None]
    sentences = folder.sentences
    usual = sentences.max_length if sentences is not None and sentences.max_length is not None else DEFAULT_MAX_LENGTH
    lower = True if sentences is not None and sentences.lower_case else None
    tokenizer = TextTokenizer.load(folder.directory, folder.config, max_length or min([usual, *known]), lower)
    pieces, embeddings = tokenizer.backend.get_vocab_size(), folder.config.get("vocab_size")
    if isinstance(embeddings, int) and pieces > embeddings:
        raise ConfigError(
            f"expected a tokenizer of at most {embeddings} pieces, for which the model has embeddings, got one of {pieces}: it "
            "is another model's, or tokens were added without model.resize_token_embeddings(...)",
            "$.vocab_size",
            str(folder.directory / "config.json"),
        )
    return tokenizer


def check_tokenizer(folder: TextFolder, tokenizer: TextTokenizer, texts: Sequence[Text]) -> None:
    """Raises InvalidInput unless transformers' own tokenizer, with which the model was trained, gives the same ids."""
    transformers = extra("transformers")
    with transformers_quiet():
        theirs = transformers.AutoTokenizer.from_pretrained(str(folder.directory), local_files_only=True)
    keep_first = folder.mode == "question_answering"
    lower = folder.sentences is not None and folder.sentences.lower_case
    added = [] if lower else _added(theirs, keep_first)  # which a lower-cased text does not have
    for text in [*texts, *added, *_too_long(texts, tokenizer.max_length)]:
        tokens = tokenizer.tokenize(text, keep_first=keep_first)
        if tokens.left_out and len(text.first) + len(text.second or "") > _LONG_TO_CUT:
            continue
        first, second = text.first.lower() if lower else text.first, text.second
        cuts_second = keep_first and len(tokenizer.backend.encode(second or "", add_special_tokens=False)) > tokens.left_out
        strategy = "only_second" if cuts_second else "longest_first"
        given = (first,) if second is None else (first, second)
        ids = theirs(*given, truncation=strategy, max_length=tokenizer.max_length)["input_ids"]
        if list(ids) != tokens.ids:
            raise InvalidInput(
                f"expected the ids of transformers' {type(theirs).__name__} for {text.first[:60]!r}, {ids[:8]}..., got "
                f"{tokens.ids[:8]}...: save the tokenizer again with AutoTokenizer.from_pretrained(...).save_pretrained(...)"
            )


def _added(theirs: Any, is_pair: bool) -> list[Text]:
    """Texts of the tokens that were added to the vocabulary, of which made and given ones know nothing."""
    texts = [f"a {token} b {token}" for token in theirs.get_added_vocab()]
    return [Text(text, text if is_pair else None) for text in texts]


def _too_long(texts: Sequence[Text], max_length: int) -> list[Text]:
    """The first text so often that it is cut."""
    return [
        replace(text, first=f"{text.first} " * max_length)
        if text.second is None
        else replace(text, second=f"{text.second} " * max_length)
        for text in texts[:1]
    ]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
