"""The tables in a TensorFlow checkpoint: variables by row number, and the hash tables of TFRA and DeepRec by key."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from persia.errors import CorruptFile

from .arrays import keyed_table, numbered_table
from .numbers import INTEGERS, is_float
from .source import Source, SourceTable
from .table_names import looks_like_a_table
from .tensor_bundles import Tensor, find_index, read_bundle

__all__ = ["open_source"]

KEYS, VALUES = "-keys", "-values"
# The names of a hash table's parts, without these ends: as DeepRec has them, and TFRA in graphs and in objects.
_PARTS = [
    re.compile(r"(?P<name>.+)/part_(?P<part>\d+)"),
    re.compile(r"(?P<name>.+)_mht_(?P<part>\d+)of(?P<parts>\d+)"),
    re.compile(r"(?P<name>.+)/(?P<part>\d+)/\.ATTRIBUTES/table"),
]
_OPTIMIZER = re.compile(
    r"(^|/)(optimizer|\.OPTIMIZER_SLOT)(/|$)|_DynamicEmbedding_|/(Adam|Adagrad|Ftrl|Momentum|RMSProp)\w*($|/|-)"
)


def open_source(path: Path) -> Source:
    """`path` is an index, or a directory with one, such as a SavedModel. Raises CorruptFile, InvalidInput, OSError."""
    index = find_index(path)
    bundle = read_bundle(index)
    plain = {_plain(name) for name in bundle.tensors}
    tables: dict[str, SourceTable] = {}
    others: dict[str, str] = {}
    hashed: dict[str, list[str]] = defaultdict(list)
    for name, tensor in bundle.tensors.items():
        stem = name.removesuffix(KEYS).removesuffix(VALUES)
        if _OPTIMIZER.search(name):
            others[name] = "it is the state of an optimizer"
        elif stem != name and stem + KEYS in bundle.tensors and stem + VALUES in bundle.tensors:
            if name.endswith(KEYS):
                hashed[_name_of_parts(stem)].append(stem)
        elif len(tensor.shape) == 2 and is_float(tensor.dtype) and tensor.parts and tensor.shape[1]:
            tables[name] = numbered_table(name, *tensor.parts, guess=looks_like_a_table(_plain(name), plain))
        else:
            others[name] = f"it is {tensor.shape} of {tensor.dtype}, and a table is (rows, dim) of floats"
    for name, stems in hashed.items():
        _check_parts(index, name, stems)
        parts = {stem: (bundle.tensors[stem + KEYS], bundle.tensors[stem + VALUES]) for stem in stems}
        if reason := _unfit(parts):
            others[name] = reason
        else:
            tables[name] = _hash_table(index, name, parts)
    return Source(bundle.files, tables, others)


def _plain(name: str) -> str:
    """The name as layers have it, with dots."""
    return name.replace("/.ATTRIBUTES/VARIABLE_VALUE", "").replace("/", ".")


def _part_of(stem: str) -> re.Match[str] | None:
    return next((form for pattern in _PARTS if (form := pattern.fullmatch(stem))), None)


def _name_of_parts(stem: str) -> str:
    """What the parts of a hash table have in common; a table without parts has only its name."""
    form = _part_of(stem)
    return form["name"] if form else stem


def _check_parts(index: Path, name: str, stems: list[str]) -> None:
    """Raises CorruptFile if one is missing: by the count that TFRA's names tell, else where the numbers have a hole."""
    forms = [form for stem in stems if (form := _part_of(stem))]
    if not forms:
        return
    numbers = sorted(int(form["part"]) for form in forms)
    wanted = int(forms[0].groupdict().get("parts") or numbers[-1] + 1)
    if len(numbers) != wanted:
        raise CorruptFile(str(index), f"{wanted} parts of `{name}`", f"those of the numbers {numbers}", 0)


def _unfit(parts: dict[str, tuple[Tensor, Tensor]]) -> str:
    """Why tensors of keys and rows are no table of ours; empty if they are."""
    for keys, values in parts.values():
        if keys.dtype not in INTEGERS or not is_float(values.dtype) or len(values.shape) != 2 or not values.shape[1]:
            return f"its keys are {keys.shape} of {keys.dtype}, and its rows {values.shape} of {values.dtype}"
    return "" if any(keys.shape[0] for keys, _ in parts.values()) else "it has no rows"


def _hash_table(index: Path, name: str, parts: dict[str, tuple[Tensor, Tensor]]) -> SourceTable:
    pairs = []
    for stem, (keys, values) in parts.items():
        assert keys.parts and values.parts
        if keys.shape != values.shape[:1]:
            expected = f"a row for each of the {keys.shape[0]} keys of `{stem}`"
            raise CorruptFile(str(index), expected, f"{values.shape[0]}: others may lie in a storage beside it", 0)
        if keys.shape[0]:
            pairs.append((keys.parts[0], values.parts[0]))
    return keyed_table(name, pairs)
