"""A file of torch.save with a state_dict in it, or with mappings that hold one: plain torch, TorchRec, and others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from persia.errors import InvalidInput

from .keyed_tensors import ids_beside, reason_against, table_of
from .managed_collisions import with_raw_ids
from .numbers import is_float
from .quantized import unpacked_table
from .source import Source, SourceTable
from .table_names import looks_like_a_table
from .torch_archives import OUT_OF_ORDER, TorchArchive, in_order
from .torch_pickles import Record, TensorView

__all__ = ["open_source"]


def open_source(path: Path) -> Source:
    """A table is a tensor (rows, dim) of floats, by its name in the state_dict. Raises CorruptFile, InvalidInput, OSError."""
    if path.is_dir():
        raise InvalidInput(
            f"expected a file of torch.save, got the directory {path}: for a distributed checkpoint, say `torch-dcp`"
        )
    archive = TorchArchive(path)
    if isinstance(archive.content, Record):
        raise InvalidInput(
            f"{path} has an object of {archive.content.name}, whose class is not imported: save its tensors, as "
            "torch.save(model.state_dict(), ...) does"
        )
    found = {name: _bytes_of(value) for name, value in _flat(archive.content)}
    tensors = {name: value for name, value in found.items() if isinstance(value, TensorView)}
    described = {name: (view.shape, view.storage.dtype) for name, view in tensors.items()}
    tables: dict[str, SourceTable] = {}
    others: dict[str, str] = {}
    packed: dict[str, Callable[[Any, int], SourceTable]] = {}
    for name, value in found.items():
        if not isinstance(value, TensorView):
            others[name] = _reason(value)
        elif len(value.shape) == 2 and value.storage.dtype == "uint8" and in_order(value):
            packed[name] = partial(unpacked_table, name, archive.array(name, value))
        elif len(value.shape) != 2 or not is_float(value.storage.dtype) or not value.shape[1]:
            others[name] = f"it is {value.shape} of {value.storage.dtype}, and a table is (rows, dim) of floats"
        elif not in_order(value):
            others[name] = f"it is {OUT_OF_ORDER}"
        elif (ids := ids_beside(name, described)) is None:
            guess = looks_like_a_table(name, tensors)
            tables[name] = table_of(name, archive.array(name, value), None, guess=guess)
        elif reason := reason_against(ids, described, value.shape[0]):
            others[name] = reason
        else:
            tables[name] = table_of(name, archive.array(name, value), archive.array(ids, tensors[ids]), guess=True)
    keyed = with_raw_ids(tables, tensors, lambda name: [archive.array(name, tensors[name]).whole()])
    return Source((path,), keyed, others, packed)


def _bytes_of(value: Any) -> Any:
    """The bytes of a quantised tensor, where that is a class of TorchRec's around them."""
    if isinstance(value, Record) and "_rebuild_from_type" in value.name:
        for fields in value.made_with:
            if isinstance(fields, dict) and isinstance(fields.get("elem"), TensorView):
                return fields["elem"]
    return value


def _flat(content: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """All that is not a mapping, or one of ids to rows, by the names of the mappings around it."""
    if isinstance(content, Mapping) and not _has_rows_by_id(content):
        for name, value in content.items():
            yield from _flat(value, f"{prefix}.{name}" if prefix else str(name))
    else:
        yield prefix, content


def _has_rows_by_id(content: Mapping[Any, Any]) -> bool:
    return bool(content) and all(type(id) is int and isinstance(row, TensorView) for id, row in content.items())


_SAVED_AS = {
    "_rebuild_sparse_tensor": "a sparse tensor: save its to_dense()",
    "_rebuild_qtensor": "a quantised tensor of torch: save its dequantize()",
}


def _reason(value: Any) -> str:
    if isinstance(value, Mapping):
        return (
            f"it is a mapping of {len(value)} ids to tensors: save a mapping of two tensors in its place, "
            "{'ids': torch.tensor(list(table)), 'rows': torch.stack(list(table.values()))}"
        )
    if not isinstance(value, Record):
        return f"it is a {type(value).__name__}"
    if value.name.endswith(("ShardedTensor", "DTensor")) or "_rebuild_from_type" in value.name:
        return (
            f"it is a {value.name}: a tensor of which each process has a part, and this file has the part of one process. Save "
            "all of it with torch.distributed.checkpoint, and import that as `torch-dcp`"
        )
    return f"it is {_SAVED_AS.get(value.name.rpartition('.')[2], f'a {value.name}')}"
