"""`persia-launcher infer`: scores from a model on TorchServe."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from persia.cli.failures import one_line_failures
from persia.cli.option_groups import GroupedCommand
from persia.cli.progress import progress_bar
from persia.cli.security_options import SecurityOptions, security_options
from persia.errors import InvalidInput, PersiaError

from .id_counts import IdCounts
from .infer_options import Calls, Files, RandomData, Scores, call_options, file_options, random_options, score_options
from .infer_split import Request, asking, keyed_requests
from .inputs import TABLES, Reading, random_batches, read_inputs
from .load import Outcome, send_all
from .outputs import LONE, Outputs, check_names, check_output, joined, named, rows_of, shapes_of, write_scores
from .predict import Prediction


@click.command(cls=GroupedCommand, context_settings={"show_default": True})
@call_options
@file_options
@random_options
@score_options
@security_options
def infer(calls: Calls, files: Files, random: RandomData, scores: Scores, security: SecurityOptions) -> None:
    """Ask a model for scores, of random data or of files.

    Scores go to stdout, all else to stderr. Exits with 1 if any call failed, and if the files have a feature with ten ids or
    more of which none has a row in the table.
    """
    with one_line_failures():
        keys = _all_keys(calls, files)
        if scores.output is not None:
            check_output(scores.output, keys)
        requests, found = _requests(calls, files, random, keys)
        outcome = _send(calls, security, requests, lambda answer: _checked(answer, scores.output, keys))
        if outcome.first_error is not None:
            raise _with_advice(outcome.first_error, files.inputs)
        answers = [answer for answer in outcome.answers if answer is not None]
        outputs = joined([answer.scores for answer in answers])
        if scores.output is not None:
            write_scores(scores.output, outputs, found)
            click.echo(f"{scores.output}: {shapes_of(outputs)}", err=True)
        _show(outputs, scores.show, found)
        # Random ids are nobody's, and may well all be new.
        _tell_of_ids(answers, may_be_new=files.allow_new_ids or not files.inputs)


def _all_keys(calls: Calls, files: Files) -> tuple[str, ...]:
    """The column of --split-by is a key, too."""
    if calls.split_by is None:
        return files.keys
    if calls.split is None or not files.inputs:
        raise InvalidInput("expected --split and --input beside --split-by")
    return tuple(dict.fromkeys([*files.keys, calls.split_by]))


def _requests(
    calls: Calls, files: Files, random: RandomData, keys: tuple[str, ...]
) -> tuple[list[Request], dict[str, list[Any]]]:
    """The requests, and the values of each key column."""
    if files.inputs:
        return _requests_of_files(files.inputs, calls.batch_size, files.reading(keys), calls.split_by)
    batches = random_batches(random.shape(calls.batch_size, files), random.batches, random.seed)
    return keyed_requests(list(batches), 0, None, calls.batch_size), {}


def _send(
    calls: Calls, security: SecurityOptions, requests: Sequence[Request], checked: Callable[[Prediction], Prediction]
) -> Outcome[Prediction]:
    """What came of all calls, which is told on stderr, too."""
    options = {"token_file": calls.token_file, "timeout": calls.timeout, "security": security.security()}
    with (
        asking(calls.model_name, calls.address, calls.version, calls.split, **options) as (ask, table),
        progress_bar(len(requests) * calls.repeat, "requests") as progress,
    ):
        outcome = send_all(lambda request: checked(ask(request)), requests, calls.repeat, calls.concurrency, progress)
    for line in (*outcome.summary(), *filter(None, [table()])):
        click.echo(line, err=True)
    return outcome


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
