"""`checkpoint inspect|reshard` and `packet inspect`, for whoever looks after what was written."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import datetime as DateTime
from pathlib import Path
from typing import Any

import click
import msgspec

from persia.cli.failures import one_line_failures
from persia.cli.progress import progress_bars
from persia.storage import Place
from persia.storage.arguments import DIRECTORY, NEW_DIRECTORY

from .inspection import CheckpointReport, PacketReport, inspect_checkpoint_at, inspect_packets_at
from .resharding import reshard

_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
_workers = click.option("--workers", type=click.IntRange(1, 1024), default=4, show_default=True, help="Files at a time.")


@click.group()
def checkpoint() -> None:
    """Look into a sparse checkpoint, or convert it."""


@click.group()
def packet() -> None:
    """Look into incremental update packets."""


@checkpoint.command("inspect")
@click.argument("directory", type=DIRECTORY)
@_json
@_workers
def inspect_checkpoint_command(directory: Place, as_json: bool, workers: int) -> None:
    """Check every byte of the checkpoint in DIRECTORY, a path or a URL. Exits with 1 if a server could not load it."""
    with one_line_failures():
        report = inspect_checkpoint_at(directory, workers)
    _print(report, as_json, _checkpoint_lines)
    sys.exit(1 if report.problems else 0)


@checkpoint.command("reshard")
@click.argument("directory", type=DIRECTORY)
@click.argument("out", type=NEW_DIRECTORY)
@click.option("--shards", type=click.IntRange(1, 65_535), required=True, help="How many embedding servers it is for.")
@click.option("--files", type=click.IntRange(1, 65_535), help="Files per shard.  [default: as many as there are]")
@click.option("--overwrite", is_flag=True, help="Replace a finished checkpoint in OUT.")
@_workers
def reshard_command(directory: Place, out: Place, shards: int, files: int | None, overwrite: bool, workers: int) -> None:
    """Write the checkpoint in DIRECTORY to OUT, for another number of shards. Both are paths or URLs.

    Optimizer state is left out: training cannot go on from OUT. What does not fit into 256 MiB goes through a temporary
    file in OUT, or in the temporary directory if OUT is a URL: its disk needs room for the rows twice.
    """
    with one_line_failures(), progress_bars() as progress:
        done = reshard(
            directory, out, shards=shards, files_per_shard=files, workers=workers, overwrite=overwrite, progress=progress
        )
    click.echo(f"{out}: {done.rows} rows in {shards} shards, without optimizer state")
    if done.elsewhere:
        click.echo(f"left out: {done.elsewhere} rows that stood in another shard than their signs'")


@packet.command("inspect")
@click.argument("directory", type=DIRECTORY)
@_json
def inspect_packet_command(directory: Place, as_json: bool) -> None:
    """Check every byte of a packet, or of all packets in an incremental_dir, a path or a URL.

    Exits with 1 if one that has its marker is broken; one without may still be in the making.
    """
    with one_line_failures():
        reports = inspect_packets_at(directory)
    _print(reports, as_json, _packet_lines)
    sys.exit(1 if any(report.complete and report.error for report in reports) else 0)


def _checkpoint_lines(report: CheckpointReport) -> Iterator[str]:
    yield report.path
    if marker := report.marker:
        yield f"  complete, of {_moment(marker.seconds)}, {marker.num_shards} shards of {marker.num_internal_shards} files"
    yield f"  {report.shards} shards, {len(report.files)} files, {report.bytes} bytes"
    yield f"  {report.rows} rows{_by_dim(report.rows_by_dim)}"
    if elsewhere := sum(file.elsewhere for file in report.files):
        yield f"  {elsewhere} of them in another shard than their signs', where nobody asks for them"
    if report.non_finite:
        names = ", ".join(Path(file.path).name for file in report.files if file.non_finite)
        yield f"  {report.non_finite} of them with NaN or infinite numbers, in {names}"
    if ends := sum(file.ends for file in report.files):
        yield f"  {ends} of them with a time to live"
    for problem in report.problems:
        yield f"  broken: {problem}"


def _packet_lines(reports: list[PacketReport]) -> Iterator[str]:
    for report in reports:
        state = "complete" if report.complete else "no marker"
        if report.info is None:
            yield f"{report.path}: {state}, broken: {report.error}"
            continue
        info = report.info
        moment = _moment(info.unix_seconds) if info.files else "no files"
        manifest = f"manifest {info.manifest.sequence} agrees" if info.manifest else "no manifest"
        counts = [
            (info.deletions, "deletions"),
            (info.ends, "times to live"),
            (info.non_finite, "rows with NaN or infinite numbers"),
        ]
        more = "".join(f", {count} {what}" for count, what in counts if count)
        yield f"{report.path}: {state}, {moment}, {info.rows} rows{_by_dim(info.rows_by_dim)}{more}, {manifest}"


def _moment(unix_seconds: int) -> str:
    try:
        return DateTime.fromtimestamp(unix_seconds).astimezone().isoformat(sep=" ")
    except (OverflowError, OSError, ValueError):
        return f"{unix_seconds} s after 1970"  # beyond the year 9999


def _by_dim(rows_by_dim: dict[int, int]) -> str:
    return f" ({', '.join(f'{rows} of dim {dim}' for dim, rows in rows_by_dim.items())})" if rows_by_dim else ""


def _print(report: Any, as_json: bool, lines: Callable[[Any], Iterator[str]]) -> None:
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())
    else:
        for line in lines(report):
            click.echo(line)
