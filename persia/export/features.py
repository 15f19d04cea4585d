"""How a model uses its id features: which table each has, and what becomes of the rows of a sample's ids."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch

from persia.config.embedding_config import Pooling
from persia.config.table_groups import config_of_tables
from persia.errors import ExportError

from .tables import Table, table_of_arrays, table_of_mapping, table_of_module, table_of_parquet

__all__ = ["Feature", "UsedFeature", "embedding_config", "resolve"]


# A sign has 8 bits for the number of its group unless there are more groups.


@dataclass(frozen=True)
class Feature:
    """How a model uses an id feature.

    Attributes:
        table: The path of a module in the model, such as "user_table"; an nn.Embedding or nn.EmbeddingBag; an array or tensor
            of rows; a mapping of id to row; a pair of arrays (ids, rows); or the path of a .parquet file of ids and vectors.
            Features with the same table share its rows.
        ids: The raw id of each row of a module or an array, as callers will send it: integers or strings. By default the
            number of the row. Of features that share a table, it is enough that one has them.
        pooling: "sum", "mean", "sqrtn", or "raw" for one row for each id. By default the `mode` of an nn.EmbeddingBag, "raw"
            where there is a length, and otherwise the row of a sample's only id. Then requests with more ids, or with none
            unless the sample or a padding has that, are refused.
        length: Of "raw": how many ids of a sample count; shorter samples are filled with zeros.
        keep: Of "raw": which ids count where a sample has more, the "first" or the "last".
        weighted: Whether each id comes with a weight.
    """

    table: Any
    ids: Any = None
    pooling: Pooling | None = None
    length: int | None = None
    keep: Literal["first", "last"] = "first"
    weighted: bool = False


@dataclass(frozen=True, eq=False)
class UsedFeature:
    """A Feature with everything decided.

    `chosen`: whether the author chose the pooling, by word or by the module. `padded`: whether the table has a row for no id.
    """

    name: str
    table: Table
    pooling: Pooling
    chosen: bool
    length: int | None
    keep: Literal["first", "last"]
    weighted: bool
    module: torch.nn.Module | None
    padded: bool


def resolve(model: torch.nn.Module, features: Mapping[str, Any]) -> list[UsedFeature]:
    """The features in the order of the mapping, which is the model's. Raises ExportError."""
    if not features:
        raise ExportError("`features` is empty: name each id feature of the model, and its table")
    given = {name: value if isinstance(value, Feature) else Feature(value) for name, value in features.items()}
    sources = {name: _source(name, feature.table, model) for name, feature in given.items()}
    tables: dict[Any, Table] = {}
    for name, feature in given.items():
        key = _identity(sources[name])
        if key not in tables:
            sharing = [other for other in given if _identity(sources[other]) == key]
            tables[key] = _table(name, sources[name], _ids_of_rows(sharing, given))
        _check(name, feature)
    return [_used(name, feature, sources[name], tables[_identity(sources[name])]) for name, feature in given.items()]


def embedding_config(features: list[UsedFeature]) -> dict[str, Any]:
    """What stands in embedding_config.yml."""
    return config_of_tables(
        {feature.name: _slot(feature) for feature in features}, {feature.name: feature.table for feature in features}
    )


def _slot(feature: UsedFeature) -> dict[str, Any]:
    slot: dict[str, Any] = {"dim": feature.table.dim, "pooling": feature.pooling}
    if feature.pooling == "raw":
        slot |= {"sample_fixed_size": feature.length, "keep": feature.keep}
    if feature.weighted:
        slot["weighted"] = True
    return slot


def _source(name: str, table: Any, model: torch.nn.Module) -> Any:
    """A module for the path of one, a Path for a file; anything else as it is."""
    if isinstance(table, os.PathLike) or (isinstance(table, str) and table.endswith(".parquet")):
        return Path(table).resolve()
    if not isinstance(table, str):
        return table
    try:
        return model.get_submodule(table)
    except AttributeError:
        known = [path for path, module in model.named_modules() if isinstance(module, _TABLES)]
        near = get_close_matches(table, known, 1)
        hint = f"did you mean `{near[0]}`?" if near else f"its tables are {', '.join(known) or 'none'}"
        raise ExportError(f"feature `{name}`: the model has no module `{table}`: {hint}") from None


_TABLES = (torch.nn.Embedding, torch.nn.EmbeddingBag)


def _identity(source: Any) -> Any:
    return source if isinstance(source, Path) else id(source)


def _ids_of_rows(sharing: list[str], given: Mapping[str, Feature]) -> Any:
    """The ids that one of the features which share a table has. Raises ExportError where two have different ones."""
    named = [name for name in sharing if given[name].ids is not None]
    for name in named[1:]:
        if given[name].ids is not given[named[0]].ids:
            raise ExportError(f"features `{named[0]}` and `{name}` share a table, and give its rows different `ids`: give one")
    return given[named[0]].ids if named else None


def _table(name: str, source: Any, ids: Any) -> Table:
    if isinstance(source, _TABLES):
        return table_of_module(name, source, ids)
    if len(getattr(source, "shape", ())) == 2:
        return table_of_arrays(name, np.arange(len(source)) if ids is None else ids, source)
    if ids is not None:
        raise ExportError(f"feature `{name}`: `ids` belongs to a module or an array; this table has ids of its own")
    if isinstance(source, Path):
        return table_of_parquet(name, source)
    if isinstance(source, Mapping):
        return table_of_mapping(name, source)
    if isinstance(source, tuple) and len(source) == 2:
        return table_of_arrays(name, *source)
    raise ExportError(
        f"feature `{name}`: expected a module's path, an nn.Embedding or nn.EmbeddingBag, rows (n, dim), a mapping of id "
        f"to row, a pair of arrays (ids, rows) or a .parquet file, got {type(source).__name__}"
    )


def _check(name: str, feature: Feature) -> None:
    if feature.pooling not in (None, *get_args(Pooling)):
        raise ExportError(f"feature `{name}`: expected a pooling of sum, mean, sqrtn or raw, got {feature.pooling!r}")
    if feature.pooling == "raw" and feature.length is None:
        raise ExportError(f"feature `{name}`: a raw feature needs a `length`, which is how many ids of a sample count")
    if feature.length is not None and feature.pooling not in (None, "raw"):
        raise ExportError(f"feature `{name}`: a `length` belongs to pooling raw, got pooling {feature.pooling}")
    if feature.weighted and (feature.length is not None or feature.pooling == "raw"):
        raise ExportError(f"feature `{name}`: rows that stay apart have no weights: send the weights as a dense input")
    if feature.length is not None and feature.length < 1:
        raise ExportError(f"feature `{name}`: expected a length of at least 1, got {feature.length}")
    if feature.keep not in ("first", "last"):
        raise ExportError(f"feature `{name}`: expected to keep `first` or `last`, got {feature.keep!r}")


def _used(name: str, feature: Feature, source: Any, table: Table) -> UsedFeature:
    bag = isinstance(source, torch.nn.EmbeddingBag)
    pooling = feature.pooling or ("raw" if feature.length is not None else None)
    if pooling is None and bag:
        if source.mode == "max":
            raise ExportError(
                f"feature `{name}`: the nn.EmbeddingBag takes the maximum, which is not served: give it "
                "pooling='raw' and a length, and take the maximum in the dense half"
            )
        pooling = source.mode
    if pooling in ("mean", "sqrtn") and bag and source.padding_idx is not None:
        raise ExportError(
            f"feature `{name}`: the nn.EmbeddingBag leaves its padding out of the number of ids, and serving counts every id "
            "that is sent: send no paddings and make the bag without `padding_idx`, or say pooling='sum' if the model sums"
        )
    return UsedFeature(
        name=name,
        table=table,
        pooling=pooling or "sum",
        chosen=pooling is not None,
        length=feature.length,
        keep=feature.keep,
        weighted=feature.weighted,
        module=source if isinstance(source, torch.nn.Module) else None,
        padded=isinstance(source, _TABLES) and source.padding_idx is not None,
    )
