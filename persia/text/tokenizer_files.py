"""The files that a tokenizer is made of: tokenizer.json, a BERT vocab.txt, RoBERTa's vocab.json and merges.txt, or others."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persia.errors import NotFound

from .tokenizer_agreement import contradictions, tokens_agree
from .tokenizer_building import built_by_transformers, byte_bpe_of, of_tokenizer_json, wordpiece_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["TOKENIZER_FILES", "has_tokenizer", "load_backend"]

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

# Classes of transformers, without their ending Fast, whose vocab.txt is BERT's, and whose vocab.json and merges.txt are
# RoBERTa's; and the kinds of models that have them where no class is named.
_WORDPIECE_CLASSES = (
    *("BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer", "MobileBertTokenizer", "SqueezeBertTokenizer"),
    *("LxmertTokenizer", "LayoutLMTokenizer", "ConvBertTokenizer"),
)
_BYTE_BPE_CLASSES = ("RobertaTokenizer", "LongformerTokenizer", "BartTokenizer", "LEDTokenizer", "MvpTokenizer")
_WORDPIECE_KINDS = ("bert", "convbert", "distilbert", "electra", "layoutlm", "lxmert", "mobilebert", "squeezebert")
_BYTE_BPE_KINDS = ("roberta", "longformer", "bart", "led", "mvp")
# Classes that say nothing of what is in tokenizer.json.
_ANY_CLASSES = ("PreTrainedTokenizer", "TokenizersBackend")


def load_backend(directory: Path, config: Mapping[str, Any], said: Mapping[str, Any], do_lower_case: Any = None) -> Tokenizer:
    """As AutoTokenizer of transformers has it, which is not imported where the files are of a known kind and agree.

    config, said: what config.json and tokenizer_config.json say. do_lower_case: what a setting says, if one does.

    Raises NotFound, ConfigError, OSError.
    """
    _check_there(directory)
    named = said.get("tokenizer_class") or config.get("tokenizer_class")
    family = _family(named, config.get("model_type"))
    if (directory / "tokenizer.json").exists():
        return _of_json(directory, config, said, do_lower_case)
    made = None
    if (directory / "vocab.txt").exists() and family == "wordpiece":
        lower = do_lower_case if do_lower_case is not None else said.get("do_lower_case")
        made = wordpiece_of(directory / "vocab.txt", said, lower is not False)
    elif (directory / "merges.txt").exists() and family == "byte_bpe":
        made = byte_bpe_of(directory, bool(said.get("add_prefix_space")))
    if made is not None and tokens_agree(made, directory, said):
        return made
    return built_by_transformers(directory, config, do_lower_case)


def _of_json(directory: Path, config: Mapping[str, Any], said: Mapping[str, Any], do_lower_case: Any) -> Tokenizer:
    """tokenizer.json, unless another file says otherwise: of that, transformers decides."""
    text = (directory / "tokenizer.json").read_text(encoding="utf-8")
    made = of_tokenizer_json(text)
    named, kind = said.get("tokenizer_class") or config.get("tokenizer_class"), config.get("model_type")
    family = _family(named, kind) if named or kind else None
    is_known = not named or family is not None or _without_fast(named) in _ANY_CLASSES
    keys = contradictions(made, said, family)
    if is_known and not keys and tokens_agree(made, directory, said):
        return of_tokenizer_json(text, do_lower_case)
    try:
        built = built_by_transformers(directory, config, do_lower_case)
    except NotFound as error:
        log.warning("tokenizer.json is followed, whatever tokenizer_config.json says: %s", error)
        return of_tokenizer_json(text, do_lower_case)
    if keys:
        log.warning(
            "tokenizer_config.json says otherwise than tokenizer.json of %s: the tokenizer is the one that AutoTokenizer of "
            "transformers makes of both",
            ", ".join(keys),
        )
    return built


def _family(named: Any, kind: Any) -> str | None:
    """Of the class that is named, or else of the kind of model; of no kind, BERT's."""
    if named:
        name = _without_fast(named)
        return "wordpiece" if name in _WORDPIECE_CLASSES else "byte_bpe" if name in _BYTE_BPE_CLASSES else None
    return "wordpiece" if kind is None or kind in _WORDPIECE_KINDS else "byte_bpe" if kind in _BYTE_BPE_KINDS else None


def _without_fast(named: Any) -> str:
    return str(named).removesuffix("Fast")


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
