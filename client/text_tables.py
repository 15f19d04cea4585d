"""Tables in text: .csv and .jsonl. What is wrong with them is said with line and column."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from persia import strict_json
from persia.columns import Column, column_of
from persia.errors import FeatureError, InvalidInput
from persia.frames import Choice, Columns

__all__ = ["Reading", "Table", "choice_of", "dense_of_options", "read_csv", "read_jsonl"]

# Without zeros in front: 007 is a name, and not the number 7.
_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)?(\.[0-9]*)?([eE][-+]?[0-9]+)?")
_NO_NUMBER = re.compile(r"-?(nan|inf|infinity)", re.IGNORECASE)  # that stands for one, among others that are


@dataclass(frozen=True)
class Reading:
    """How columns are understood, where a file leaves it open."""

    features: Sequence[str] = ()  # columns of ids, whatever their type says
    dense: Sequence[str] = ()  # columns of dense inputs
    keys: Sequence[str] = ()  # columns that are no input: written beside the scores
    texts: Sequence[str] = ()  # columns of a .csv whose cells are strings, also those that look like numbers
    separator: str = "|"  # of the ids in a cell of a .csv
    tensors: Mapping[str, Sequence[str]] = field(default_factory=dict)  # of a dense tensor its columns


@dataclass(frozen=True)
class Table:
    """columns: without the keys, and read when they are needed."""

    columns: Columns
    choice: Choice
    keys: Mapping[str, Sequence[Any]]


def choice_of(reading: Reading) -> Choice:
    """The types decide on what the reading leaves open."""
    return Choice(
        tuple(reading.features),
        tuple(reading.dense),
        others=tuple(reading.keys),
        others_by_type=True,
        tensors=reading.tensors,
    )


def dense_of_options(options: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """From `--dense` of a command: columns of dense inputs, and of each named tensor its columns. Raises InvalidInput."""
    columns: list[str] = []
    tensors: dict[str, list[str]] = {}
    for option in options:
        tensor, named_columns, inner = option.partition("=")
        if not named_columns:
            columns.append(option)
            continue
        if not tensor or not all(inner.split(",")):
            raise InvalidInput(f"expected --dense COLUMN or TENSOR=COLUMN[,COLUMN...], got {option!r}")
        if tensor in tensors:
            raise InvalidInput(f"expected all columns of a dense tensor in one --dense, got {tensor!r} twice")
        tensors[tensor] = inner.split(",")
    return columns, tensors


@dataclass(frozen=True)
class _Cells:
    """A column of a text, and on which lines its cells stand."""

    name: str
    cells: Sequence[Any]
    lines: Sequence[int]

    def wrong(self, i: int, problem: str) -> InvalidInput:
        return InvalidInput(f"line {self.lines[i]}, column {self.name!r}: {problem}")


# .csv


def read_csv(path: Path, reading: Reading) -> Table:
    """A file with a header. A column of which some cell has the separator is one of lists. Raises InvalidInput, OSError."""
    header, rows, lines = _rows(path)
    columns = {name: _Cells(name, [row[i] for row in rows], lines) for i, name in enumerate(header)}
    keys = {name: columns[name].cells for name in reading.keys if name in columns}

    def reader(cells: _Cells) -> Callable[[], Column]:
        return lambda: _csv_column(cells, reading)

    return Table({name: reader(cells) for name, cells in columns.items()}, choice_of(reading), keys)


def _rows(path: Path) -> tuple[list[str], list[list[str]], list[int]]:
    """The header, and the other rows with their lines."""
    rows, lines = [], []
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = next(reader, [])
            for row in reader:
                if not row and len(header) > 1:
                    continue
                rows.append(row or [""])
                lines.append(reader.line_num)
        except (csv.Error, UnicodeDecodeError) as error:
            raise InvalidInput(f"line {reader.line_num + 1}: expected a .csv file in UTF-8, got: {error}") from None
    if not header:
        raise InvalidInput("line 1: expected the names of the columns, got nothing")
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise InvalidInput(f"line 1: expected each column once, got {twice[0]!r} twice")
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(header):
            raise InvalidInput(f"line {line}: expected {len(header)} cells, as the header has names, got {len(row)}")
    return header, rows, lines


def _csv_column(column: _Cells, reading: Reading) -> Column:
    name = column.name
    empty = next((i for i, cell in enumerate(column.cells) if cell == ""), None)
    is_feature = name in reading.features or name in reading.texts
    if any(reading.separator in cell for cell in column.cells) or (empty is not None and is_feature):
        lists = [cell.split(reading.separator) if cell else [] for cell in column.cells]
        places = [i for i, items in enumerate(lists) for _ in items]
        values = _typed(column, [item for items in lists for item in items], places, reading)
        items = iter(values)
        return _column(column, [[next(items) for _ in each] for each in lists])
    if empty is not None:
        hint = f": --feature {name}, if it may be without ids"
        raise column.wrong(empty, f"expected no empty cell, got one{hint}")
    return _column(column, _typed(column, column.cells, range(len(column.cells)), reading))


def _typed(column: _Cells, items: Sequence[str], places: Sequence[int], reading: Reading) -> list[Any]:
    """All as integers, floats or strings. places: of each item its cell."""
    if column.name in reading.texts:
        return list(items)
    if all(_INTEGER.fullmatch(item) for item in items):
        return [int(item) for item in items]
    numbers = [bool(item) and bool(_NUMBER.fullmatch(item)) and any(c.isdigit() for c in item) for item in items]
    if any(numbers):
        for i, (item, is_number) in enumerate(zip(items, numbers, strict=True)):
            if not is_number and not _NO_NUMBER.fullmatch(item):
                other = numbers.index(True)
                raise column.wrong(
                    places[i],
                    f"expected numbers or strings, got {item!r} here and {items[other]!r} on line "
                    f"{column.lines[places[other]]}: --text {column.name}, if all are strings",
                )
        return [float(item) for item in items]
    return list(items)


# .jsonl


def read_jsonl(path: Path, reading: Reading) -> Table:
    """Of each line an object. Raises InvalidInput, OSError.

    Either {"user": 5, "tags": [1, 2], "age": 0.5}, or {"features": {...}, "dense": {...}}, the latter also with
    "weights": {...}; keys then stand beside these.
    """
    objects, lines = _objects(path)
    if not objects:
        raise InvalidInput("expected at least one sample, got none")
    nested = _is_nested(objects[0])
    cells: dict[str, list[Any]] = {}
    choice = choice_of(reading)
    if nested:
        first = objects[0]
        if reading.tensors:
            tensor = next(iter(reading.tensors))
            raise InvalidInput(f'line {lines[0]}: expected the tensor {tensor!r} as a list within "dense", got columns for it')
        _flat(first, lines[0])
        choice = Choice(
            tuple(first["features"]),
            tuple(first.get("dense", {})),
            weights={name: f"{name}.weights" for name in first.get("weights", {})},
        )
    for i, (sample, line) in enumerate(zip(objects, lines, strict=True)):
        if _is_nested(sample) != nested:
            raise InvalidInput(f"line {line}: expected an object of the form of line {lines[0]}, got another form")
        flat = _flat(sample, line) if nested else sample
        if i == 0:
            cells = {name: [] for name in flat}
        if odd := sorted(set(flat) ^ set(cells)):
            what = "got none" if odd[0] in cells else f"which line {lines[0]} has not"
            raise InvalidInput(f"line {line}, column {odd[0]!r}: expected the columns of line {lines[0]}, {what}")
        for name, cell in flat.items():
            cells[name].append(cell)
    keys = {name: cells.pop(name) if nested else cells[name] for name in reading.keys if name in cells}
    columns = {name: _Cells(name, column, lines) for name, column in cells.items()}

    def reader(column: _Cells) -> Callable[[], Column]:
        return lambda: _json_column(column)

    return Table({name: reader(column) for name, column in columns.items()}, choice, keys)


def _is_nested(sample: Mapping[str, Any]) -> bool:
    return isinstance(sample.get("features"), dict)


def _flat(sample: Mapping[str, Any], line: int) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, cell in sample.items():
        if name not in ("features", "dense", "weights"):
            flat[name] = cell
            continue
        if not isinstance(cell, dict):
            raise InvalidInput(f"line {line}, column {name!r}: expected an object, got {json.dumps(cell)[:40]}")
        for inner, value in cell.items():
            key = f"{inner}.weights" if name == "weights" else inner
            if key in flat:
                raise InvalidInput(f"line {line}, column {key!r}: the table has this column twice")
            flat[key] = value
    return flat


def _objects(path: Path) -> tuple[list[dict[str, Any]], list[int]]:
    objects, lines = [], []
    for line, text in enumerate(path.read_bytes().split(b"\n"), 1):
        if not text.strip():
            continue
        try:
            sample = strict_json.loads(text.decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"line {line}: expected a JSON object, got: {error}") from None
        if not isinstance(sample, dict):
            raise InvalidInput(f"line {line}: expected a JSON object, got {json.dumps(sample)[:40]}")
        objects.append(sample)
        lines.append(line)
    return objects, lines


def _json_column(column: _Cells) -> Column:
    lists = isinstance(column.cells[0], list)
    kinds: dict[type, int] = {}  # and the first cell that has it
    for i, cell in enumerate(column.cells):
        if isinstance(cell, list) != lists:
            raise column.wrong(
                i, f"expected {'a list' if lists else 'one value'} as on line {column.lines[0]}, got {_shown(cell)}"
            )
        for item in cell if lists else [cell]:
            if type(item) not in (int, float, str):
                raise column.wrong(i, f"expected integers, numbers or strings, got {_shown(item)}")
            kinds.setdefault(type(item), i)
    if str in kinds and len(kinds) > 1:
        i = max(kinds.values())
        raise column.wrong(
            i, f"expected numbers or strings, got both: the other one on line {column.lines[min(kinds.values())]}"
        )
    return _column(column, column.cells)


def _shown(cell: Any) -> str:
    return json.dumps(cell)[:40]


def _column(column: _Cells, cells: Iterable[Any]) -> Column:
    items = list(cells)
    try:
        return column_of(column.name, items)
    except FeatureError:
        # Looked for where it went wrong for the whole: an integer beyond 64 bits, or half a surrogate pair.
        for i, item in enumerate(items):
            try:
                column_of(column.name, [item])
            except FeatureError as error:
                raise column.wrong(i, error.problem) from None
        raise
