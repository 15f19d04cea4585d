"""The scores of `infer` in a file, each beside the keys of its sample."""

from __future__ import annotations

import csv
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from persia.errors import InvalidInput, Unavailable

__all__ = ["LONE", "Outputs", "check_names", "check_output", "joined", "named", "rows_of", "shapes_of", "write_scores"]

_Scores = npt.NDArray[Any]
# By name, each (samples, ...). A model with one output has it as LONE.
Outputs = Mapping[str, _Scores]
_Keys = Mapping[str, Sequence[Any]]

SUFFIXES = (".npy", ".csv", ".jsonl", ".parquet")
LONE = "score"


def check_output(path: Path, keys: Sequence[str]) -> None:
    """Before any call is made, whose scores would be lost. Raises InvalidInput."""
    if path.suffix not in SUFFIXES:
        raise InvalidInput(f"expected a file that ends in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}, got {path}")
    if keys and path.suffix == ".npy":
        raise InvalidInput(f"expected a .csv, .jsonl or .parquet for keys beside the scores, got {path}")
    check_names(path, keys, [LONE])
    if path.suffix == ".parquet":
        _pyarrow()
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InvalidInput(f"expected a file that can be written, got {path}")


def check_names(path: Path, keys: Sequence[str], outputs: Sequence[str]) -> None:
    """As soon as the names of the outputs are known. Raises InvalidInput."""
    if path.suffix == ".npy" and list(outputs) != [LONE]:
        raise InvalidInput(
            f"expected a .csv, .jsonl or .parquet for the {len(outputs)} outputs {', '.join(map(repr, outputs))} of the model, "
            f"as a .npy holds one, got {path}"
        )
    for name in keys:
        for output in outputs:
            if re.fullmatch(rf"{re.escape(output)}(_\d+)?", name):
                raise InvalidInput(f"expected a key of another name than the scores have, got {name!r} beside {output!r}")


def named(scores: Any) -> Outputs:
    """What a client gives: an array, or of several outputs a dict of them."""
    return scores if isinstance(scores, dict) else {LONE: scores}


def joined(answers: Sequence[Any]) -> Outputs:
    """Joins the scores of all batches, in their order. Raises InvalidInput if the batches have different outputs."""
    each = [named(answer) for answer in answers]
    names = list(each[0])
    if odd := next((list(other) for other in each if set(other) != set(names)), None):
        raise InvalidInput(f"expected the same outputs in all answers, got {', '.join(names)} and {', '.join(odd)}")
    return {name: _one_after_the_other([answer[name] for answer in each]) for name in names}


def _one_after_the_other(scores: list[_Scores]) -> _Scores:
    if odd := {str(array.dtype) for array in scores if array.dtype.kind not in "biufc"}:
        raise InvalidInput(f"expected scores that are numbers, got {', '.join(sorted(odd))}")
    try:
        return np.concatenate([np.atleast_1d(array) for array in scores])
    except ValueError as error:
        raise InvalidInput(f"expected scores that can be joined, got shapes {sorted({a.shape for a in scores})}") from error


def shapes_of(outputs: Outputs) -> str:
    """For people."""
    if list(outputs) == [LONE]:
        return f"scores {outputs[LONE].shape}"
    return ", ".join(f"{name} {scores.shape}" for name, scores in outputs.items())


def rows_of(scores: _Scores) -> _Scores:
    """(samples, scores of each). Of no scores reshape cannot tell how wide they are."""
    return scores.reshape(len(scores), math.prod(scores.shape[1:]))


def write_scores(path: Path, outputs: Outputs, keys: _Keys) -> None:
    """In the form that the file's name ends in. Raises InvalidInput, Unavailable.

    In a .csv with keys or of several outputs, the columns are the keys, and of each output NAME, or NAME_0, NAME_1, ... where a
    sample has several; in .jsonl and .parquet they are a list. The name of a lone output is score.
    """
    check_names(path, list(keys), list(outputs))
    rows = {name: rows_of(scores) for name, scores in outputs.items()}
    samples = {name: len(each) for name, each in rows.items()}
    if len(set(samples.values())) > 1:
        raise InvalidInput(f"expected as many samples in all outputs, got {samples}")
    for name, values in keys.items():
        if (count := next(iter(samples.values()))) != len(values):
            raise InvalidInput(f"expected a score for each of {len(values)} keys {name!r}, got {count}")
    try:
        if path.suffix == ".npy":
            np.save(path, outputs[LONE])
        elif path.suffix == ".csv" and not keys and list(outputs) == [LONE]:
            np.savetxt(path, rows[LONE], delimiter=",", fmt="%.9g")
        elif path.suffix == ".csv":
            _write_csv(path, rows, keys)
        elif path.suffix == ".jsonl":
            _write_jsonl(path, rows, keys)
        else:
            _write_parquet(path, rows, keys)
    except OSError as error:  # which names no file if the disk is full
        raise Unavailable(f"expected to write {path}, got: {error.strerror or error}") from error


def _write_csv(path: Path, outputs: Outputs, keys: _Keys) -> None:
    names = list(keys)
    for name, rows in outputs.items():
        names += [name] if rows.shape[1] == 1 else [f"{name}_{i}" for i in range(rows.shape[1])]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidInput(f"expected columns of different names, got {twice[0]!r} twice: try .jsonl")
    columns = [column for rows in outputs.values() for column in rows.T.tolist()]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        for line in zip(*keys.values(), *columns, strict=True):
            writer.writerow([*line[: len(keys)], *(f"{score:.9g}" for score in line[len(keys) :])])


def _write_jsonl(path: Path, outputs: Outputs, keys: _Keys) -> None:
    names = [*keys, *outputs]
    with path.open("w", encoding="utf-8") as file:
        for line in zip(*keys.values(), *(map(_json, rows.tolist()) for rows in outputs.values()), strict=True):
            file.write(json.dumps(dict(zip(names, line, strict=True)), ensure_ascii=False, default=str) + "\n")


def _json(row: list[Any]) -> Any:
    finite = [score if math.isfinite(score) else None for score in row]  # JSON has no other numbers
    return finite[0] if len(finite) == 1 else finite


def _write_parquet(path: Path, outputs: Outputs, keys: _Keys) -> None:
    pa, pq = _pyarrow()
    columns = {name: _arrow_column(pa, list(values)) for name, values in keys.items()}
    for name, rows in outputs.items():
        one = rows.shape[1] == 1
        columns[name] = pa.array(rows[:, 0]) if one else pa.FixedSizeListArray.from_arrays(rows.reshape(-1), rows.shape[1])
    pq.write_table(pa.table(columns), path)


def _arrow_column(pa: Any, keys: list[Any]) -> Any:
    try:
        return pa.array(keys)
    except OverflowError:
        return pa.array(keys, pa.uint64()) if min(keys) >= 0 else pa.array(list(map(str, keys)))
    except pa.ArrowException:  # of several types
        return pa.array(list(map(str, keys)))


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise InvalidInput("writing .parquet needs pyarrow: pip install 'persia-serve[parquet]'") from error
    return pa, pq
