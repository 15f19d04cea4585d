"""Pairs of files that several processes wrote, each its part of a table: TFRA's savers, and NVIDIA's dynamicemb."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from persia.errors import CorruptFile, InvalidInput

from .raw_pairs import paired_table
from .source import Source

__all__ = ["open_dynamicemb", "open_tfra"]

_TFRA = re.compile(r"(?P<name>.+)_mht_(?P<part>\d+)of(?P<parts>\d+)_rank(?P<rank>\d+)_size(?P<ranks>\d+)-keys")
_DYNAMICEMB = re.compile(r"(?P<name>.+)_emb_keys\.rank_(?P<rank>\d+)\.world_size_(?P<ranks>\d+)")
OPTIMIZER = "_DynamicEmbedding_"  # TFRA keeps what its optimizers know of a table in tables beside it


def open_tfra(path: Path) -> Source:
    """A directory of TFRA's FileSystemSaver. Raises CorruptFile, InvalidInput, OSError."""
    form = "TABLE_mht_IofN_rankR_sizeS-keys"
    return _open(path, _TFRA, form, lambda keys: keys.with_name(keys.name.removesuffix("-keys") + "-values"))


def open_dynamicemb(path: Path) -> Source:
    """A directory of dynamicemb's dump, with one for each module. Raises CorruptFile, InvalidInput, OSError."""
    form = "TABLE_emb_keys.rank_R.world_size_W"
    return _open(path, _DYNAMICEMB, form, lambda keys: keys.with_name(keys.name.replace("_emb_keys.", "_emb_values.")))


def _open(path: Path, pattern: re.Pattern[str], form: str, values_of: Callable[[Path], Path]) -> Source:
    found: dict[str, dict[tuple[int, int], Path]] = defaultdict(dict)
    sizes: dict[str, tuple[int, int]] = {}
    others: dict[str, str] = {}
    for file in sorted(path.rglob("*")):
        if (parts_of_name := pattern.fullmatch(file.name)) is None:
            continue
        name = ".".join((*file.parent.relative_to(path).parts, parts_of_name["name"]))
        if OPTIMIZER in name:
            others[name] = "it is the state of an optimizer"
            continue
        numbers = {key: int(value) for key, value in parts_of_name.groupdict().items() if key != "name"}
        size = (numbers.get("parts", 1), numbers["ranks"])
        if sizes.setdefault(name, size) != size:
            raise CorruptFile(str(file), f"one of {_count(sizes[name])} of `{name}`", f"one of {_count(size)}", 0)
        found[name][numbers.get("part", 0), numbers["rank"]] = file
    if not found:
        raise InvalidInput(f"expected files of keys in {path}, named {form}; there are none")
    for name, parts in found.items():
        _check_all_there(path, name, set(parts), sizes[name])
    pairs = {name: [(keys, _there(values_of(keys))) for keys in parts.values()] for name, parts in found.items()}
    files = tuple(file for of_table in pairs.values() for pair in of_table for file in pair)
    return Source(files, {name: paired_table(name, of_table) for name, of_table in pairs.items()}, others)


def _check_all_there(path: Path, name: str, found: set[tuple[int, int]], size: tuple[int, int]) -> None:
    parts, ranks = size
    first = min(part for part, _ in found)  # parts count from 1 in some versions
    expected = {(part, rank) for part in range(first, first + parts) for rank in range(ranks)}
    if found != expected:
        part, rank = min(expected - found, default=min(found))
        raise CorruptFile(str(path), f"{_count(size)} of `{name}`", f"{len(found)}: part {part} of rank {rank} is not there", 0)


def _there(path: Path) -> Path:
    if not path.exists():
        raise CorruptFile(str(path.parent), f"a file {path.name} beside its keys", "none: the dump is not complete", 0)
    return path


def _count(size: tuple[int, int]) -> str:
    return f"{size[0] * size[1]} files"
