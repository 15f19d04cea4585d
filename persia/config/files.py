"""Which file is read, and the way from a file to a config."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from persia.config import legacy
from persia.config.embedding_config import EmbeddingConfig
from persia.config.global_config import GlobalConfig
from persia.config.legacy import ConfigWarning
from persia.config.nodes import Map
from persia.config.reader import read_struct
from persia.config.tree import MAX_BYTES, parse_tree
from persia.errors import ConfigError

GLOBAL_CONFIG_VARIABLE = "PERSIA_GLOBAL_CONFIG"
EMBEDDING_CONFIG_VARIABLE = "PERSIA_EMBEDDING_CONFIG"

_PathLike = str | os.PathLike[str]
_Config = TypeVar("_Config", GlobalConfig, EmbeddingConfig)


def load_global_config(path: _PathLike | None = None, *, environ: Mapping[str, str] = os.environ) -> GlobalConfig:
    """The config in `path` (a command line's), else in the file that $PERSIA_GLOBAL_CONFIG names.

    Raises:
        ConfigError: neither names a file, or the file is not a valid config.
        OSError: the file cannot be read; the message says how it was chosen.
    """
    data, file = _read(path, "global", GLOBAL_CONFIG_VARIABLE, environ)
    return _global_config(data, file)


def load_embedding_config(path: _PathLike | None = None, *, environ: Mapping[str, str] = os.environ) -> EmbeddingConfig:
    """As load_global_config, with $PERSIA_EMBEDDING_CONFIG."""
    data, file = _read(path, "embedding", EMBEDDING_CONFIG_VARIABLE, environ)
    return _embedding_config(data, file)


def parse_global_config(data: bytes | str, file: str | None = None) -> GlobalConfig:
    """The config that a YAML text describes. `file` is its name in errors and warnings."""
    return _global_config(data, file)


def parse_embedding_config(data: bytes | str, file: str | None = None) -> EmbeddingConfig:
    """As parse_global_config."""
    return _embedding_config(data, file)


def _global_config(data: bytes | str, file: str | None) -> GlobalConfig:
    root = parse_tree(data, file)
    _warn(legacy.modernise_global(root), file)
    return _read_struct(root, GlobalConfig, file)


def _embedding_config(data: bytes | str, file: str | None) -> EmbeddingConfig:
    root = parse_tree(data, file)
    _warn(legacy.modernise_embedding(root), file)
    return _read_struct(root, EmbeddingConfig, file)


def _read_struct(root: Map, struct: type[_Config], file: str | None) -> _Config:
    try:
        return read_struct(root, struct)
    except ConfigError as error:  # what keys do to each other is found by the structs, which know no file
        raise ConfigError(error.problem, error.path, file, error.line) from None


def _warn(notes: list[str], file: str | None) -> None:
    for note in notes:
        warnings.warn(f"{file}: {note}" if file else note, ConfigWarning, stacklevel=4)  # the caller of load_ or parse_


def _read(path: _PathLike | None, kind: str, variable: str, environ: Mapping[str, str]) -> tuple[bytes, str]:
    chosen = f"--{kind}-config" if path is not None else f"${variable}"
    path = path if path is not None else environ.get(variable)
    if not path:
        raise ConfigError(f"no {kind} config: name one with --{kind}-config or ${variable}")
    try:
        with Path(path).open("rb") as file:
            return file.read(MAX_BYTES + 1), os.fspath(path)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}: the {kind} config, chosen by {chosen}", os.fspath(path)) from None
