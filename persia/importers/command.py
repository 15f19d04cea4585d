"""`persia-launcher import FORMAT SOURCE OUT`, `import FORMAT SOURCE OUT --propose` and `import verify OUT`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec

from persia.cli.failures import ending_unwinds, one_line_failures
from persia.cli.local_paths import LocalPath
from persia.cli.progress import progress_bar
from persia.config import load_embedding_config

from .formats import FORMATS, open_source
from .importing import import_tables
from .proposing import CONFIG, MAP, propose
from .recorded import compare_recorded
from .report import REPORT, ImportReport
from .source import Source
from .table_map import load_table_map
from .verifying import Progress, verify_import

__all__ = ["import_command"]

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_DIRECTORY = LocalPath(file_okay=False, path_type=Path)
MOST_UNITS = 1  # two systems may add up the rows of a bag in different orders

_json = click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")


@click.group("import")
def import_command() -> None:
    """Make a checkpoint of another system's embedding tables, and prove that no row was lost.

    FORMAT is one of the commands below.
    """


@import_command.command("verify")
@click.argument("checkpoint", type=LocalPath(exists=True, file_okay=False, path_type=Path))
@click.option("--against", type=_FILE, help="An .npz file of vectors that the other system looked up; compares them, too.")
@click.option("--embedding-config", type=_FILE, help="Of the servers, for --against.  [default: $PERSIA_EMBEDDING_CONFIG]")
@_json
def verify(checkpoint: Path, against: Path | None, embedding_config: Path | None, as_json: bool) -> None:
    """Read all rows of an imported CHECKPOINT, and compare them with what its report says. Exits with 1 if they differ."""
    with one_line_failures(), _progress() as progress:
        compared = compare_recorded(checkpoint, load_embedding_config(embedding_config), against) if against else []
        report = verify_import(checkpoint, progress)
    _print(report, checkpoint, as_json, "are those that were imported")
    for slot in compared:
        facts = f"{slot.different} of {slot.numbers} numbers differ, by {slot.units} units of {slot.type} at most"
        click.echo(f"{slot.slot}: {facts}", err=as_json)
    sys.exit(1 if any(slot.units > MOST_UNITS for slot in compared) else 0)


def _command(format: str) -> click.Command:
    """The command of one format."""

    def run(source: Path, out: Path, **options: Any) -> None:
        with one_line_failures(), ending_unwinds():
            opened = open_source(format, source)
            if options["proposing"]:
                _propose(opened, out)
            else:
                _import(format, source, opened, out, options)

    parameters: list[click.Parameter] = [
        click.Argument(["source"], type=LocalPath(exists=True, path_type=Path)),
        click.Argument(["out"], type=_DIRECTORY),
        click.Option(["--embedding-config"], type=_FILE, help="Of the servers.  [default: $PERSIA_EMBEDDING_CONFIG]"),
        click.Option(["--map", "table_map"], type=_FILE, help="tables.yml: which table has the rows of which slot."),
        click.Option(["--shards"], type=click.IntRange(1, 65_535), help="How many embedding servers the checkpoint is for."),
        click.Option(["--files"], type=click.IntRange(1, 65_535), default=8, show_default=True, help="Files per shard."),
        click.Option(["--overwrite"], is_flag=True, help="Replace a finished checkpoint in OUT."),
        click.Option(["--restart"], is_flag=True, help="Drop an import that was stopped in OUT, rather than going on with it."),
        click.Option(["--allow-non-finite"], is_flag=True, help="Import rows with NaN or infinite numbers, too."),
        click.Option(
            ["--workers"],
            type=click.IntRange(1, 1024),
            default=4,
            show_default=True,
            help="How many files the proof reads at a time.",
        ),
        click.Option(
            ["--propose", "proposing"], is_flag=True, help=f"Only write a {MAP} and an {CONFIG} to begin with into OUT."
        ),
        click.Option(["--json", "as_json"], is_flag=True, help="Print the report as one JSON object."),
    ]
    text = f"SOURCE: {FORMATS[format].help}\n\nWrites the checkpoint OUT, whose marker comes last, and {REPORT} in it."
    return click.Command(format, callback=run, params=parameters, help=text, short_help=FORMATS[format].help)


for _name in FORMATS:
    import_command.add_command(_command(_name))


def _propose(source: Source, out: Path) -> None:
    names = propose(source, out)
    click.echo(f"{out / CONFIG} and {out / MAP}: {len(names)} of {len(source.tables)} tables have a slot; look through both")


def _import(format: str, origin: Path, source: Source, out: Path, options: dict[str, Any]) -> None:
    for name, flag in (("table_map", "--map"), ("shards", "--shards")):
        if options[name] is None:
            raise click.UsageError(f"Missing option '{flag}' (or --propose, which writes a map to begin with).")
    with _progress() as progress:
        report = import_tables(
            source,
            out,
            format=format,
            origin=origin,
            config=load_embedding_config(options["embedding_config"]),
            table_map=load_table_map(options["table_map"]),
            shards=options["shards"],
            files_per_shard=options["files"],
            overwrite=options["overwrite"],
            restart=options["restart"],
            allow_non_finite=options["allow_non_finite"],
            workers=options["workers"],
            progress=progress,
        )
    _print(report, out, options["as_json"], "stand in the checkpoint as they were read")


def _print(report: ImportReport, checkpoint: Path, as_json: bool, proved: str) -> None:
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())
        return
    for table in report.tables:
        facts = [f"{table.rows} rows of dim {table.dim}", f"for {', '.join(table.slots)}"]
        facts += [table.conversion] if table.conversion else []
        if table.beyond_uint8 is not None:
            rounded = f"{table.beyond_uint8} rows of which `row_storage: uint8` rounds"
            facts += [rounded if table.beyond_uint8 else "all of which `row_storage: uint8` keeps as they are"]
        facts += [f"{table.left_out} rows left out"] if table.left_out else []
        facts += [f"{table.folded} keys folded, none met another"] if table.folded else []
        facts += [f"{table.beyond_half} rows beyond float16, in which they are served"] if table.beyond_half else []
        click.echo(f"{table.table}: {', '.join(facts)}; digest {table.digest}")
    click.echo(f"{checkpoint}: {sum(table.rows for table in report.tables)} rows {proved}")


@contextmanager
def _progress() -> Iterator[Progress]:
    """A bar for each step: rows of an import that was stopped, rows that are read, and rows that are read again."""
    with ExitStack() as bars:
        steps: dict[str, Callable[[int], None]] = {}

        def advance(step: str, done: int, total: int) -> None:
            if step not in steps:
                steps[step] = bars.enter_context(progress_bar(total, f"{step} rows"))
            steps[step](done)

        yield advance
