"""What a folder of sentence-transformers says of its embeddings: modules.json, and the files that it names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from persia.errors import ConfigError
from persia.text.config_files import read_json, read_object, read_object_if_there

__all__ = ["MODULES_FILE", "SentenceSettings"]

MODULES_FILE = "modules.json"
_TRANSFORMER_FILE = "sentence_bert_config.json"
# As its file of the pooling names them, and as we do. Newer files have the last part alone, as `pooling_mode`.
_FLAG = "pooling_mode_"
_POOLINGS = {"mean_tokens": "mean", "mean": "mean", "cls_token": "cls", "cls": "cls"}
_KINDS = ("Transformer", "Pooling", "Normalize")
_ALONE = f"others are not served here. To pack the transformer by itself, take {MODULES_FILE} out of the folder"


@dataclass(frozen=True)
class SentenceSettings:
    """max_length: None where its file says none. lower_case: texts are lower-cased, whatever the tokenizer does."""

    pooling: str
    normalize: bool
    max_length: int | None
    lower_case: bool

    @classmethod
    def read(cls, directory: Path) -> SentenceSettings | None:
        """None if the folder is not one of sentence-transformers. Raises ConfigError for what is not served, OSError."""
        if not (directory / MODULES_FILE).exists():
            return None
        modules = _modules_of(read_json(directory / MODULES_FILE))
        if [kind for kind, _ in modules] not in ([*_KINDS], [*_KINDS[:2]]):
            got = ", ".join(kind for kind, _ in modules) or "none"
            expected = f"expected the modules {', '.join(_KINDS[:2])} and perhaps {_KINDS[2]}, got {got}"
            raise ConfigError(f"{expected}: {_ALONE}", file=str(directory / MODULES_FILE))
        (_, transformer), (_, pooling), *others = modules
        if transformer not in ("", "."):
            raise ConfigError(
                f"expected the transformer's own files beside it, got them in {transformer}: move them up, and empty its path",
                file=str(directory / MODULES_FILE),
            )
        said = read_object_if_there(directory / _TRANSFORMER_FILE)
        longest = said.get("max_seq_length")
        if longest is not None and (type(longest) is not int or longest < 1):
            raise ConfigError(
                f"expected a positive number, got {longest!r}", "$.max_seq_length", str(directory / _TRANSFORMER_FILE)
            )
        return cls(_pooling_of(directory / pooling / "config.json"), bool(others), longest, said.get("do_lower_case") is True)

    def __str__(self) -> str:
        """What was taken from the folder."""
        said = [f"pooling {self.pooling}", "normalized" if self.normalize else "not normalized"]
        if self.max_length is not None:
            said.append(f"max_seq_length {self.max_length}")
        if self.lower_case:
            said.append("do_lower_case")
        return ", ".join(said)


def _modules_of(value: Any) -> list[tuple[str, str]]:
    """The kind of each module, and the folder in which it lies."""
    if not isinstance(value, list) or not all(isinstance(module, Mapping) for module in value):
        raise ConfigError(f"expected a list of modules, got {str(value)[:60]}", file=MODULES_FILE)
    return [(str(module.get("type")).rpartition(".")[2], str(module.get("path") or "")) for module in value]


def _pooling_of(path: Path) -> str:
    said = read_object(path)
    named = [key.removeprefix(_FLAG) for key, value in said.items() if key.startswith(_FLAG) and value is True]
    if said.get("pooling_mode") is not None:
        named = [str(said["pooling_mode"])]
    if len(named) != 1 or named[0] not in _POOLINGS:
        got = " and ".join(named) or "none"
        raise ConfigError(f"expected the pooling mode mean or cls, got {got}: {_ALONE}", file=str(path))
    return _POOLINGS[named[0]]
