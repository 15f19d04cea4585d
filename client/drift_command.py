"""`persia-launcher drift COMMAND`: whether what models are asked, and answer, is still what it was."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import click

from persia.cli.local_paths import LocalPath
from persia.drift.baseline import LEAST_SAMPLES, baseline_of_windows, write_baseline
from persia.drift.overview import Asked, overview
from persia.drift.report import html_report
from persia.drift.samples import read_samples
from persia.drift.scoring import quality_of, read_labels
from persia.drift.state import StateDirectory, models_of, windows_of
from persia.drift.tables import as_json_value, quality_table, table
from persia.drift.verdict import IN_A_ROW, State
from persia.errors import InvalidInput, PersiaError

from .drift_samples import Answers, windows_of_files
from .drift_texts import windows_of_texts
from .predict import DEFAULT_ADDRESS, Client
from .text_tables import Reading, dense_of_options

__all__ = ["drift"]

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_DIRECTORY = click.Path(exists=True, file_okay=False, path_type=Path)
_PATH = click.Path(exists=True, path_type=Path)
_OUT = LocalPath(dir_okay=False, path_type=Path)
_COUNT = click.IntRange(1)
_ERROR, _DRIFT = 2, 1  # exit codes
F = TypeVar("F", bound=Callable[..., Any])


class _Problem(click.ClickException):
    exit_code = _ERROR


class _Commands(click.Group):
    """What is expected to go wrong is one line on stderr and exit code 2, as 1 says that there is drift."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except (PersiaError, OSError) as error:
            raise _Problem(str(error)) from error


def _asking(command: F) -> F:
    """The options with which a command says which windows it is about."""
    for option in (
        click.option("--in-a-row", type=_COUNT, default=IN_A_ROW, help="Windows beyond a limit that make drift."),
        click.option("--windows", type=_COUNT, default=50, help="How many of the last ones to look at."),
        click.option("--baseline", type=_FILE, help="Instead of the one in the state directory."),
        click.option("--version", help="Of the model.  [default: all]"),
        click.option("--model", help="Its name.  [default: all]"),
        click.option("--state", type=_DIRECTORY, required=True, help="The setting drift_state of the archives."),
    ):
        command = option(command)
    return command


@click.group(cls=_Commands, context_settings={"show_default": True})
def drift() -> None:
    """Compare what models are asked, and answer, with what was usual."""


@drift.command()
@click.option("--input", "inputs", type=_FILE, multiple=True, help="As for `infer`; of texts, one on each line. Repeatable.")
@click.option("--text-model", type=_PATH, help="The files have texts: the archive of their model, or its folder.")
@click.option("--feature", "features", multiple=True, metavar="COLUMN", help="Of ids, whatever its type. Repeatable.")
@click.option("--text", "texts", multiple=True, metavar="COLUMN", help="Of a .csv: strings, also those of digits. Repeatable.")
@click.option("--key", "keys", multiple=True, metavar="COLUMN", help="No input, so it is left out. Repeatable.")
@click.option("--dense", multiple=True, metavar="COLUMN", help="As for `infer`. Repeatable.")
@click.option("--list-separator", default="|", help="Of the ids in a cell of a .csv.")
@click.option("--batch-size", type=_COUNT, default=128, help="Samples in a request.")
@click.option("--ask", metavar="MODEL", help="Ask this model for the scores of the files, and for which ids it has no rows.")
@click.option("--address", default=DEFAULT_ADDRESS, help="With --ask: of TorchServe's inference over gRPC.")
@click.option("--token-file", envvar="PERSIA_TOKEN_FILE", show_envvar=True, help="With --ask: TorchServe's key_file.json.")
@click.option("--window-samples", type=_COUNT, default=1000, help="How many samples of the files make a window.")
@click.option("--state", type=_DIRECTORY, help="Instead of files: live windows, of the setting drift_state.")
@click.option("--model", help="With --state: its name.")
@click.option("--version", help="With --state: of the model.")
@click.option("--windows", type=_COUNT, help="With --state: how many of the last ones.  [default: all]")
@click.option("--least-samples", type=_COUNT, default=LEAST_SAMPLES, help="Below so many a window is said to have too few.")
@click.option("--out", type=_OUT, help="The file to write.  [default with --state: beside the windows]")
def baseline(
    inputs: tuple[Path, ...],
    text_model: Path | None,
    features: tuple[str, ...],
    texts: tuple[str, ...],
    keys: tuple[str, ...],
    dense: tuple[str, ...],
    list_separator: str,
    batch_size: int,
    ask: str | None,
    address: str,
    token_file: str | None,
    window_samples: int,
    state: Path | None,
    model: str | None,
    version: str | None,
    windows: int | None,
    least_samples: int,
    out: Path | None,
) -> None:
    """Write down what is usual, of files or of live windows.

    The limits of each signal come from how much the windows differ from each other, so files stand in the order in which
    requests came, and windows are about as large as live ones.
    """
    if bool(inputs) == (state is not None):
        raise InvalidInput("expected --input FILE, or --state with --model and --version")
    if state is not None:
        if model is None or version is None:
            raise InvalidInput("expected --model and --version beside --state")
        directory = StateDirectory(state, model, version)
        read = directory.read()
        for problem in read.problems:
            click.echo(f"left out: {problem}", err=True)
        found = windows_of(read.pieces)[-windows if windows else 0 :]
        out = out or directory.baseline_path
    else:
        if out is None:
            raise InvalidInput("expected --out FILE beside --input")
        columns, tensors = dense_of_options(dense)
        reading = Reading(features, columns, keys, texts, list_separator, tensors=tensors)
        if text_model is not None:
            found = windows_of_texts(inputs, text_model, window_samples)
        elif ask is None:
            found = windows_of_files(inputs, batch_size, reading, window_samples, None)
        else:
            with Client(ask, address, token_file=token_file) as client:
                found = windows_of_files(inputs, batch_size, reading, window_samples, Answers(client))
    made = baseline_of_windows(found, least_samples)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_baseline(out, made)
    samples = made.reference.samples
    click.echo(f"{out}: {len(made.limits)} signals of {samples} samples in {made.windows} windows, {out.stat().st_size} bytes")


@drift.command()
@_asking
@click.option("--all", "everything", is_flag=True, help="Also the signals that are as usual.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--metrics-port", type=click.IntRange(0, 65535), help="Serve metrics for Prometheus instead, until Ctrl-C.")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Where to serve them; 0.0.0.0: to everybody, in plain text."
)
def status(
    state: Path,
    model: str | None,
    version: str | None,
    baseline: Path | None,
    windows: int,
    in_a_row: int,
    everything: bool,
    as_json: bool,
    metrics_port: int | None,
    host: str,
) -> None:
    """Show what has drifted. Exits with 1 if something has, and with 2 if nothing can be said."""
    asked = Asked(state, model, version, baseline, windows, in_a_row)
    if metrics_port is not None:
        _serve_metrics(asked, metrics_port, host)
    found = overview(asked)
    if as_json:
        click.echo(json.dumps([as_json_value(each) for each in found], indent=2))
    else:
        click.echo("\n\n".join(table(each, everything) for each in found))
    if any(each.state is State.DRIFT for each in found):
        raise SystemExit(_DRIFT)


@drift.command()
@_asking
@click.option("--out", type=_OUT, default="drift.html", help="The file to write.")
def report(
    state: Path, model: str | None, version: str | None, baseline: Path | None, windows: int, in_a_row: int, out: Path
) -> None:
    """Write one HTML file: each distribution beside its reference, and the history of each signal."""
    found = overview(Asked(state, model, version, baseline, windows, in_a_row))
    out.write_text(html_report(found))
    click.echo(f"{out}: {', '.join(f'{each.model} {each.version}' for each in found)}")


@drift.command()
@click.argument("labels", type=_FILE)
@click.option("--state", type=_DIRECTORY, required=True, help="The setting drift_state of the archives.")
@click.option("--model", required=True, help="Its name.")
@click.option("--version", help="Of the model.  [default: all]")
@click.option("--output", help="Of a model with several outputs: the name of the one that LABELS are of.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def score(labels: Path, state: Path, model: str, version: str | None, output: str | None, as_json: bool) -> None:
    """Compare LABELS, a .csv with the columns request, sample and label, with the answers that were put aside."""
    directories = [each for each in models_of(state) if each.model == model and version in (None, each.version)]
    samples = [sample for directory in directories for sample in read_samples(directory.path)]
    found = quality_of(samples, read_labels(labels), output)
    click.echo(json.dumps([asdict(each) for each in found], indent=2) if as_json else quality_table(found))


def _serve_metrics(asked: Asked, port: int, host: str) -> None:
    """Never returns."""
    from persia.drift.metrics import serve_metrics

    server = serve_metrics(asked, port, host)
    click.echo(f"metrics on port {server.port}", err=True)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        server.close()
        raise SystemExit(0) from None
