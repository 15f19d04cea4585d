"""Weights in several files: save_pretrained writes an index beside them, which says in which file each tensor is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from persia.errors import ConfigError, NotFound

from .config_files import read_object

__all__ = ["INDEX_SUFFIX", "shards_of"]

INDEX_SUFFIX = ".index.json"


def shards_of(weights: Path) -> list[Path]:
    """The files that an index names, beside it; none for weights in one file. Raises ConfigError, NotFound, OSError."""
    if not weights.name.endswith(INDEX_SUFFIX):
        return []
    files = read_object(weights).get("weight_map")
    if not isinstance(files, Mapping) or not files:
        raise ConfigError("expected the file of each tensor, as save_pretrained writes it", "$.weight_map", weights.name)
    for name, file in files.items():
        if not isinstance(file, str) or file != Path(file).name:
            raise ConfigError(
                f"expected the name of a file beside the index, got {file!r}", f"$.weight_map.{name}", weights.name
            )
    shards = [weights.parent / file for file in sorted(set(files.values()))]
    if missing := [shard.name for shard in shards if not shard.is_file()]:
        raise NotFound(f"expected {', '.join(missing)} beside {weights.name}, which names {len(shards)} files of weights")
    return shards
