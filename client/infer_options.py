"""The options of `persia-launcher infer`, in groups: which model is asked, with what, and what becomes of the answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from persia.cli.local_paths import LocalPath
from persia.cli.option_groups import option_group
from persia.errors import InvalidInput

from .inputs import RandomShape, Reading
from .predict import DEFAULT_ADDRESS, DEFAULT_TIMEOUT, checked_timeout
from .text_tables import dense_of_options

__all__ = [
    "Calls",
    "Files",
    "RandomData",
    "Scores",
    "call_options",
    "file_options",
    "random_options",
    "score_options",
]

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_COUNT = click.IntRange(1)
_SHAPE = RandomShape()


@dataclass(frozen=True)
class Calls:
    """Which model is asked, and how. `batch_size`: the samples of a request."""

    model_name: str
    address: str
    version: str | None
    split: str | None
    split_by: str | None
    token_file: str | None
    timeout: float
    batch_size: int
    concurrency: int
    repeat: int


@dataclass(frozen=True)
class Files:
    """Where the requests come from, and how the columns are understood. Without `inputs` the requests are random."""

    inputs: tuple[Path, ...]
    keys: tuple[str, ...]
    feature_columns: tuple[str, ...]
    texts: tuple[str, ...]
    list_separator: str
    dense_columns: tuple[str, ...]
    allow_new_ids: bool

    def reading(self, keys: tuple[str, ...]) -> Reading:
        """How the columns are understood, with these as keys. Raises InvalidInput."""
        dense, tensors = dense_of_options(self.dense_columns)
        return Reading(self.feature_columns, dense, keys, self.texts, self.list_separator, tensors=tensors)


@dataclass(frozen=True)
class RandomData:
    """What random requests look like."""

    batches: int
    features: int
    feature_prefix: str
    ids: int
    rows: int
    seed: int | None

    def shape(self, batch_size: int, files: Files) -> RandomShape:
        """Raises InvalidInput if an option says how a file is read, as there is none."""
        if files.keys or files.feature_columns or files.texts:
            raise InvalidInput("expected --input beside --key, --feature and --text")
        return RandomShape(batch_size, self.features, self.ids, self.rows, _width(files.dense_columns), self.feature_prefix)


@dataclass(frozen=True)
class Scores:
    """What becomes of the scores."""

    output: Path | None
    show: int


def _width(dense: tuple[str, ...]) -> int:
    """Of the dense tensor of random data."""
    if not dense:
        return _SHAPE.dense
    if len(dense) > 1 or not dense[0].isdecimal():
        raise InvalidInput(f"expected a number as --dense of random data, got {' '.join(dense)}: a column needs --input")
    return int(dense[0])


def _timeout(context: click.Context, option: click.Parameter, seconds: float) -> float:
    try:
        return checked_timeout(seconds)
    except InvalidInput as error:
        raise click.BadParameter(str(error)) from error


call_options = option_group(
    "calls",
    Calls,
    "The model and the calls",
    model_name={"required": True},
    address={"default": DEFAULT_ADDRESS, "help": "Of TorchServe's inference over gRPC."},
    version={"help": "Of the model.  [default: its default version]"},
    split={
        "metavar": "VERSION=WEIGHT,...",
        "help": "Ask versions of the model by these weights, such as 1.0=90,2.0=10, and show what came of each.",
    },
    split_by={
        "metavar": "COLUMN",
        "help": "With --split: requests with the same value go to one version; also a --key.  "
        "[default: the number of the request]",
    },
    token_file={"envvar": "PERSIA_TOKEN_FILE", "show_envvar": True, "help": "TorchServe's key_file.json."},
    timeout={"type": float, "callback": _timeout, "default": DEFAULT_TIMEOUT, "help": "Seconds for each call."},
    batch_size={"type": _COUNT, "default": _SHAPE.batch_size, "help": "Samples in a request."},
    concurrency={"type": _COUNT, "default": 1, "help": "Calls at a time."},
    repeat={"type": _COUNT, "default": 1, "help": "How often each batch is sent."},
)

file_options = option_group(
    "files",
    Files,
    "Requests from files",
    inputs={
        "flag": "--input",
        "type": _FILE,
        "multiple": True,
        "help": ".bin, .npz, .parquet, .csv or .jsonl; repeatable.  [default: random data]",
    },
    keys={
        "flag": "--key",
        "multiple": True,
        "metavar": "COLUMN",
        "help": "No input: stands beside the scores. Repeatable.",
    },
    feature_columns={
        "flag": "--feature",
        "multiple": True,
        "metavar": "COLUMN",
        "help": "Of ids, whatever its type. Repeatable.",
    },
    texts={
        "flag": "--text",
        "multiple": True,
        "metavar": "COLUMN",
        "help": "Of a .csv: strings, also those of digits. Repeatable.",
    },
    list_separator={"default": "|", "help": "Of the ids in a cell of a .csv."},
    dense_columns={
        "flag": "--dense",
        "multiple": True,
        "metavar": "COLUMN",
        "help": "Of dense inputs, whatever its type; or TENSOR=COLUMN[,COLUMN...]: a tensor of this name of these columns, in "
        "their order. Repeatable. A .jsonl can hold any form. Of random data: width of the dense tensor.  [default: 13]",
    },
    allow_new_ids={"is_flag": True, "help": "Exit with 0 even if no id of a feature of the --input has a row."},
)

random_options = option_group(
    "random",
    RandomData,
    "Random requests",
    batches={"type": _COUNT, "default": 1, "help": "How many."},
    features={"type": _COUNT, "default": _SHAPE.features, "help": "How many in a request: feature1, feature2, ..."},
    feature_prefix={"default": _SHAPE.prefix, "help": "What the names of the features begin with."},
    ids={"type": click.IntRange(0), "default": _SHAPE.ids, "help": "For each sample and feature."},
    rows={"type": click.IntRange(1, 1 << 64), "default": _SHAPE.rows, "help": "All ids are below this."},
    seed={"type": click.IntRange(0), "help": "The same batches again."},
)

score_options = option_group(
    "scores",
    Scores,
    "The scores",
    output={
        "type": LocalPath(dir_okay=False, path_type=Path),
        "help": "Write all scores to this .npy, .csv, .jsonl or .parquet.",
    },
    show={"type": click.IntRange(0), "default": 10, "help": "How many scores to print."},
)
