"""The names of a model's classes: index_to_name.json in each form that TorchServe's examples have, or config.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from persia.errors import ConfigError

from .config_files import read_json

__all__ = ["LABELS_FILE", "labels_of", "read_labels"]

LABELS_FILE = "index_to_name.json"


def read_labels(directory: Path, config: Mapping[str, Any]) -> list[str] | None:
    """The labels in the order of the classes: of index_to_name.json, else of config.json's id2label; None without both.

    config: what config.json says. Raises ConfigError, OSError.
    """
    path = directory / LABELS_FILE
    if path.exists():
        return labels_of(read_json(path), LABELS_FILE)
    named = config.get("id2label")
    return labels_of(named, "config.json") if isinstance(named, dict) and named else None


def labels_of(value: Any, file: str) -> list[str]:
    """Of `{"0": "a"}`, `{"0": ["n01", "a"]}`, `{"label_list": "[a, b]"}`, `{"object_type_names": [..]}` or `["a"]`."""
    if isinstance(value, Mapping) and "object_type_names" in value:
        return _names(value["object_type_names"], "$.object_type_names", file)
    if isinstance(value, Mapping) and "label_list" in value:
        listed = value["label_list"]
        if isinstance(listed, str):
            listed = [_unquoted(name.strip()) for name in listed.strip().strip("][").split(",")]
        return _names(listed, "$.label_list", file)
    if isinstance(value, list):
        return _names(value, "$", file)
    if not isinstance(value, Mapping) or not value:
        raise ConfigError(f'expected labels such as {{"0": "no", "1": "yes"}}, got {str(value)[:60]}', file=file)
    missing = [str(i) for i in range(len(value)) if str(i) not in {str(key) for key in value}]
    if missing:
        raise ConfigError(
            f"expected a label for each of 0 to {len(value) - 1}, got none for {', '.join(missing[:5])}", file=file
        )
    by_index = {int(key): name for key, name in value.items()}
    # Of a list of names, such as a number and a word, the last is the one to show.
    names = [by_index[i][-1] if isinstance(by_index[i], list) and by_index[i] else by_index[i] for i in range(len(by_index))]
    return _names(names, "$", file)


def _names(names: Any, path: str, file: str) -> list[str]:
    if (
        not isinstance(names, Sequence)
        or isinstance(names, str)
        or not all(isinstance(name, str) for name in names)
        or not names
    ):
        raise ConfigError(f"expected a list of labels, got {str(names)[:60]}", path, file)
    return list(names)


def _unquoted(name: str) -> str:
    """Without the quotes of a list as Python writes it."""
    return name[1:-1] if len(name) > 1 and name[0] == name[-1] and name[0] in "'\"" else name
