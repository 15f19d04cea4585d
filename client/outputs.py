"""The scores of `infer` in a file, each beside the keys of its sample."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from persia.errors import InvalidInput, Unavailable

__all__ = ["check_output", "rows_of", "write_scores"]

_Scores = npt.NDArray[Any]
_Keys = Mapping[str, Sequence[Any]]

SUFFIXES = (".npy", ".csv", ".jsonl", ".parquet")
SCORE = "score"


def check_output(path: Path, keys: Sequence[str]) -> None:
    """Before any call is made, whose scores would be lost. Raises InvalidInput."""
    if path.suffix not in SUFFIXES:
        raise InvalidInput(f"expected a file that ends in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}, got {path}")
    if keys and path.suffix == ".npy":
        raise InvalidInput(f"expected a .csv, .jsonl or .parquet for keys beside the scores, got {path}")
    for name in keys:
        if name == SCORE or name.startswith(f"{SCORE}_"):
            raise InvalidInput(f"expected a key of another name than the scores have, got {name!r}")
    if path.suffix == ".parquet":
        _pyarrow()
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InvalidInput(f"expected a file that can be written, got {path}")


def rows_of(scores: _Scores) -> _Scores:
    """(samples, scores of each). Of no scores reshape cannot tell how wide they are."""
    return scores.reshape(len(scores), math.prod(scores.shape[1:]))


def write_scores(path: Path, scores: _Scores, keys: _Keys) -> None:
    """Of (samples, ...), in the form that the file's name ends in. Raises InvalidInput, Unavailable.

    In a .csv with keys, the columns are these and score, or score_0, score_1, ... where a sample has several; in .jsonl and
    .parquet they are a list.
    """
    for name, values in keys.items():
        if len(values) != len(scores):
            raise InvalidInput(f"expected a score for each of {len(values)} keys {name!r}, got {len(scores)}")
    try:
        if path.suffix == ".npy":
            np.save(path, scores)
        elif path.suffix == ".csv" and not keys:
            np.savetxt(path, rows_of(scores), delimiter=",", fmt="%.9g")
        elif path.suffix == ".csv":
            _write_csv(path, rows_of(scores), keys)
        elif path.suffix == ".jsonl":
            _write_jsonl(path, rows_of(scores), keys)
        else:
            _write_parquet(path, rows_of(scores), keys)
    except OSError as error:  # which names no file if the disk is full
        raise Unavailable(f"expected to write {path}, got: {error.strerror or error}") from error


def _write_csv(path: Path, rows: _Scores, keys: _Keys) -> None:
    names = [SCORE] if rows.shape[1] == 1 else [f"{SCORE}_{i}" for i in range(rows.shape[1])]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*keys, *names])
        for *key, row in zip(*keys.values(), rows.tolist(), strict=True):
            writer.writerow([*key, *(f"{score:.9g}" for score in row)])


def _write_jsonl(path: Path, rows: _Scores, keys: _Keys) -> None:
    with path.open("w", encoding="utf-8") as file:
        for *key, row in zip(*keys.values(), rows.tolist(), strict=True):
            finite = [score if math.isfinite(score) else None for score in row]  # JSON has no other numbers
            line = {**dict(zip(keys, key, strict=True)), SCORE: finite[0] if len(finite) == 1 else finite}
            file.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")


def _write_parquet(path: Path, rows: _Scores, keys: _Keys) -> None:
    pa, pq = _pyarrow()
    scores = pa.array(rows[:, 0]) if rows.shape[1] == 1 else pa.FixedSizeListArray.from_arrays(rows.reshape(-1), rows.shape[1])
    columns = {name: _arrow_column(pa, list(values)) for name, values in keys.items()}
    pq.write_table(pa.table({**columns, SCORE: scores}), path)


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
