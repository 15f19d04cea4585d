"""`persia-launcher infer`: scores from a model on TorchServe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from persia.cli.failures import one_line_failures
from persia.cli.progress import progress_bar
from persia.errors import InvalidInput, PersiaError

from .id_counts import IdCounts
from .infer_split import Request, asking, keyed_requests
from .inputs import TABLES, RandomShape, Reading, random_batches, read_inputs
from .load import send_all
from .outputs import LONE, Outputs, check_names, check_output, joined, named, rows_of, shapes_of, write_scores
from .predict import DEFAULT_ADDRESS, DEFAULT_TIMEOUT, Prediction, checked_timeout
from .text_tables import dense_of_options

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_COUNT = click.IntRange(1)
_RANDOM = RandomShape()


def _timeout(context: click.Context, option: click.Parameter, seconds: float) -> float:
    try:
        return checked_timeout(seconds)
    except InvalidInput as error:
        raise click.BadParameter(str(error)) from error


@click.command(context_settings={"show_default": True})
@click.option("--model-name", required=True)
@click.option("--address", default=DEFAULT_ADDRESS, help="Of TorchServe's inference over gRPC.")
@click.option("--version", help="Of the model.  [default: its default version]")
@click.option(
    "--split",
    metavar="VERSION=WEIGHT,...",
    help="Ask versions of the model by these weights, such as 1.0=90,2.0=10, and show what came of each.",
)
@click.option(
    "--split-by",
    metavar="COLUMN",
    help="With --split: requests with the same value go to one version; also a --key.  [default: the number of the request]",
)
@click.option("--token-file", envvar="PERSIA_TOKEN_FILE", show_envvar=True, help="TorchServe's key_file.json.")
@click.option(
    "--input",
    "inputs",
    type=_FILE,
    multiple=True,
    help=".bin, .npz, .parquet, .csv or .jsonl; repeatable.  [default: random data]",
)
@click.option("--key", "keys", multiple=True, metavar="COLUMN", help="No input: stands beside the scores. Repeatable.")
@click.option("--feature", "feature_columns", multiple=True, metavar="COLUMN", help="Of ids, whatever its type. Repeatable.")
@click.option("--text", "texts", multiple=True, metavar="COLUMN", help="Of a .csv: strings, also those of digits. Repeatable.")
@click.option("--list-separator", default="|", help="Of the ids in a cell of a .csv.")
@click.option("--batch-size", type=_COUNT, default=_RANDOM.batch_size, help="Samples in a request.")
@click.option("--batches", type=_COUNT, default=1, help="How many random batches.")
@click.option("--features", type=_COUNT, default=_RANDOM.features, help="Of random data: feature1, feature2, ...")
@click.option("--feature-prefix", default=_RANDOM.prefix, help="Of random data: what their names begin with.")
@click.option("--ids", type=click.IntRange(0), default=_RANDOM.ids, help="Of random data: per sample and feature.")
@click.option("--rows", type=click.IntRange(1, 1 << 64), default=_RANDOM.rows, help="Of random data: ids are below this.")
@click.option(
    "--dense",
    "dense_columns",
    multiple=True,
    metavar="COLUMN",
    help="Of dense inputs, whatever its type; or TENSOR=COLUMN[,COLUMN...]: a tensor of this name of these columns, in their "
    "order. Repeatable. A .jsonl can hold any form. Of random data: width of the dense tensor.  [default: 13]",
)
@click.option("--allow-new-ids", is_flag=True, help="Exit with 0 even if no id of a feature of the --input has a row.")
@click.option("--seed", type=click.IntRange(0), help="Of random data: the same batches again.")
@click.option("--concurrency", type=_COUNT, default=1, help="Calls at a time.")
@click.option("--repeat", type=_COUNT, default=1, help="How often each batch is sent.")
@click.option("--timeout", type=float, callback=_timeout, default=DEFAULT_TIMEOUT, help="Seconds for each call.")
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write all scores to this .npy, .csv, .jsonl or .parquet."
)
@click.option("--show", type=click.IntRange(0), default=10, help="How many scores to print.")
def infer(
    model_name: str,
    address: str,
    version: str | None,
    split: str | None,
    split_by: str | None,
    token_file: str | None,
    inputs: tuple[Path, ...],
    keys: tuple[str, ...],
    feature_columns: tuple[str, ...],
    texts: tuple[str, ...],
    list_separator: str,
    batch_size: int,
    batches: int,
    features: int,
    feature_prefix: str,
    ids: int,
    rows: int,
    dense_columns: tuple[str, ...],
    allow_new_ids: bool,
    seed: int | None,
    concurrency: int,
    repeat: int,
    timeout: float,
    output: Path | None,
    show: int,
) -> None:
    """Ask a model for scores, of random data or of files.

    Scores go to stdout, all else to stderr. Exits with 1 if any call failed, and if the files have a feature with ten ids or
    more of which none has a row in the table.
    """
    with one_line_failures():
        if split_by is not None:
            keys = _with_split_key(keys, split_by, split, inputs)
        if output is not None:
            check_output(output, keys)
        if inputs:
            dense, tensors = dense_of_options(dense_columns)
            reading = Reading(feature_columns, dense, keys, texts, list_separator, tensors=tensors)
            requests, found = _requests_of_files(inputs, batch_size, reading, split_by)
        else:
            if keys or feature_columns or texts:
                raise InvalidInput("expected --input beside --key, --feature and --text")
            shape = RandomShape(batch_size, features, ids, rows, _width(dense_columns), feature_prefix)
            requests, found = keyed_requests(list(random_batches(shape, batches, seed)), 0, None, batch_size), {}
        with (
            asking(model_name, address, version, split, token_file=token_file, timeout=timeout) as (ask, table),
            progress_bar(len(requests) * repeat, "requests") as progress,
        ):
            outcome = send_all(lambda request: _checked(ask(request), output, keys), requests, repeat, concurrency, progress)
        for line in (*outcome.summary(), *filter(None, [table()])):
            click.echo(line, err=True)
        if outcome.first_error is not None:
            raise _with_advice(outcome.first_error, inputs)
        answers = [answer for answer in outcome.answers if answer is not None]
        outputs = joined([answer.scores for answer in answers])
        if output is not None:
            write_scores(output, outputs, found)
            click.echo(f"{output}: {shapes_of(outputs)}", err=True)
        _show(outputs, show, found)
        # Random ids are nobody's, and may well all be new.
        _tell_of_ids(answers, may_be_new=allow_new_ids or not inputs)


def _with_split_key(keys: Sequence[str], split_by: str, split: str | None, inputs: Sequence[Path]) -> tuple[str, ...]:
    if split is None or not inputs:
        raise InvalidInput("expected --split and --input beside --split-by")
    return tuple(dict.fromkeys([*keys, split_by]))


def _tell_of_ids(answers: Sequence[Prediction], may_be_new: bool) -> None:
    """Says how the ids of each feature fared. Raises InvalidInput if those of a feature are all new, and may not be."""
    counts = IdCounts(answer.details for answer in answers)
    for line in counts.lines():
        click.echo(line, err=True)
    if not may_be_new and (problem := counts.problem()):
        raise InvalidInput(problem)


def _requests_of_files(
    inputs: Sequence[Path], batch_size: int, reading: Reading, split_by: str | None
) -> tuple[list[Request], dict[str, list[Any]]]:
    """The requests, and the values of each key column."""
    found: dict[str, list[Any]] = {name: [] for name in reading.keys}
    requests: list[Request] = []
    for source in (read_inputs(path, batch_size, reading) for path in inputs):
        values = source.keys[split_by] if split_by is not None else None
        requests += keyed_requests(list(source.batches), len(requests), values, batch_size)
        for name in reading.keys:
            found[name] += source.keys[name]
    return requests, found


def _checked(answer: Prediction, output: Path | None, keys: Sequence[str]) -> Prediction:
    """The answer; what no file of this kind can hold ends the whole run here, and not once it is done."""
    if output is not None:
        with one_line_failures():
            check_names(output, keys, list(named(answer.scores)))
    return answer


def _with_advice(error: PersiaError, inputs: Sequence[Path]) -> PersiaError:
    """With what a table's owner can do about a column that was taken for a feature."""
    unknown = "takes no such feature" in str(error) or "the embedding config has no slot of this name" in str(error)
    if not unknown or not any(path.suffix in TABLES for path in inputs):
        return error
    advice = "--key COLUMN keeps it out, --dense COLUMN (or TENSOR=COLUMN) makes it a dense input"
    return InvalidInput(f"{error}\na column that is no feature: {advice}")


def _width(dense: Sequence[str]) -> int:
    """Of the dense tensor of random data."""
    if not dense:
        return _RANDOM.dense
    if len(dense) > 1 or not dense[0].isdecimal():
        raise InvalidInput(f"expected a number as --dense of random data, got {' '.join(dense)}: a column needs --input")
    return int(dense[0])


def _show(outputs: Outputs, count: int, keys: Mapping[str, Sequence[Any]]) -> None:
    samples = max(map(len, outputs.values()))
    if samples == 0:
        click.echo("no scores", err=True)
    shown = {name: rows_of(scores)[:count] for name, scores in outputs.items()}
    for i in range(min(samples, count)):
        parts = [str(values[i]) for values in keys.values() if i < len(values)]
        for name, rows in shown.items():
            scores = [f"{score:.6g}" for score in rows[i]] if i < len(rows) else []
            parts += scores if list(outputs) == [LONE] else [f"{name}={','.join(scores)}"]
        click.echo(" ".join(parts))
    if 0 < count < samples:
        click.echo(f"... and {samples - count} more", err=True)
