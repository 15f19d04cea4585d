"""`persia-launcher replay`: kept answers made again, from files alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from persia.cli.failures import one_line_failures
from persia.config import (
    EMBEDDING_CONFIG_VARIABLE,
    GLOBAL_CONFIG_VARIABLE,
    GlobalConfig,
    load_embedding_config,
    load_global_config,
)
from persia.errors import InvalidInput
from persia.receipts.kept import KEPT, kept_files
from persia.receipts.receipt import KeptAnswer, read_receipt
from persia.storage import Place, place_of
from persia.variant import NO_VARIANT

__all__ = ["replay"]

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_DIRECTORY = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(context_settings={"show_default": True})
@click.argument("answers", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--batch", type=_FILE, help="The request, if ANSWERS is a receipt in a file of its own.")
@click.option("--global-config", envvar=GLOBAL_CONFIG_VARIABLE, show_envvar=True, type=_FILE)
@click.option("--embedding-config", envvar=EMBEDDING_CONFIG_VARIABLE, show_envvar=True, type=_FILE, required=True)
@click.option(
    "--checkpoint",
    "checkpoints",
    type=_DIRECTORY,
    multiple=True,
    help="Any number of times; answers find theirs.  [default: the global config's]",
)
@click.option("--packets", type=_DIRECTORY, help="The incremental_dir.  [default: the global config's]")
@click.option("--model-store", type=_DIRECTORY, help="A directory with the archives that answered.")
@click.option("--archive", "archives", type=_FILE, multiple=True, help="One more archive; any number of times.")
@click.option("--against", type=_FILE, help="An archive that is asked instead of the one that answered.")
@click.option("--against-epoch", type=click.IntRange(0), help="An epoch whose rows are taken instead of the answers' own.")
@click.option("--against-variant", help="A variant whose rows are taken; `none`: the shared ones.")
@click.option("--at-most", type=click.FloatRange(0), help="With --against...: exit with 1 if a score differs by more.")
@click.option("--worst", type=click.IntRange(0), default=10, help="How many of the answers that differ to print.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def replay(
    answers: tuple[Path, ...],
    batch: Path | None,
    global_config: Path | None,
    embedding_config: Path,
    checkpoints: tuple[Path, ...],
    packets: Path | None,
    model_store: Path | None,
    archives: tuple[Path, ...],
    against: Path | None,
    against_epoch: int | None,
    against_variant: str | None,
    at_most: float | None,
    worst: int,
    as_json: bool,
) -> None:
    """Make kept answers again, from checkpoint, packets and archives, and compare every byte.

    ANSWERS are files of kept answers (.kept), directories of these, such as a handler's keep_answers, or one receipt with
    --batch. Exits with 1 if an answer differs or cannot be made, and with --against..., which compares candidates, only if one
    cannot be made, or differs by more than --at-most.
    """
    with one_line_failures():
        try:
            from .differences import Summary
            from .replaying import Candidate, replayed
            from .sources import Sources
        except ModuleNotFoundError as error:
            raise click.ClickException(f"replaying needs {error.name}: pip install 'persia-serve[torchserve]'") from error
        settings = load_global_config(global_config) if global_config is not None else GlobalConfig()
        shard = settings.embedding_parameter_server_config
        if not checkpoints and (configured := settings.common_config.infer_config.embedding_checkpoint):
            checkpoints = (_local(place_of(configured, shard.storage), "--checkpoint"),)
        if packets is None and global_config is not None and shard.enable_incremental_update:
            packets = _local(place_of(shard.incremental_dir, shard.storage), "--packets")
        kept = list(_read(answers, batch))
        sources = Sources(load_embedding_config(embedding_config), checkpoints, packets, model_store, archives)
        candidate = Candidate(against, against_epoch, "" if against_variant == NO_VARIANT else against_variant)
        summary = Summary()
        for outcome in replayed(kept, sources, shard.row_storage, candidate):
            summary.add(outcome)
    _print(summary, worst, as_json)
    is_replay = candidate == Candidate()
    is_other = bool(summary.different) if is_replay else at_most is not None and summary.largest > at_most
    sys.exit(1 if summary.failed or is_other else 0)


def _local(place: Place, option: str) -> Path:
    """Raises InvalidInput for what lies in a store."""
    if place.path is None:
        raise InvalidInput(f"{place} is in a store, and a replay reads local files: copy it, and give the copy as {option}")
    return place.path


def _read(paths: Sequence[Path], batch: Path | None) -> Iterator[KeptAnswer]:
    """Raises CorruptFile, InvalidInput, OSError."""
    if batch is not None:
        if len(paths) != 1:
            raise InvalidInput(f"expected one receipt with --batch, got {len(paths)} paths")
        yield read_receipt(paths[0], batch)
        return
    for path in paths:
        if path.is_file() and path.suffix != KEPT:
            raise InvalidInput(f"expected a name that ends with {KEPT}, or a receipt together with --batch, got {path}")
        files = kept_files(path)
        if not files:
            raise InvalidInput(f"there are no files of kept answers ({KEPT}) in {path}")
        for file in files:
            yield from file
            if file.torn_at is not None:
                click.echo(f"{file.path} ends within an answer, at byte {file.torn_at}; that one is left out", err=True)


def _print(summary: Any, worst: int, as_json: bool) -> None:
    shown = summary.worst(worst)
    if as_json:
        told = {
            "answers": summary.answers,
            "same": summary.same,
            "different": len(summary.different),
            "failed": len(summary.failed),
            "largest": summary.largest,
            "mean": summary.mean,
            "worst": [{"place": one.place, "model": one.model, "difference": one.difference} for one in shown],
            "problems": [{"place": one.place, "model": one.model, "problem": str(one.problem)} for one in summary.failed],
        }
        click.echo(msgspec.json.format(msgspec.json.encode(told), indent=2).decode())
        return
    for one in shown:
        click.echo(f"{one.place}: {one.difference}")
    for one in summary.failed[:worst]:
        click.echo(f"{one.place}: {one.problem}")
    click.echo(
        f"{summary.answers} answers: {summary.same} are the same to the byte, {len(summary.different)} differ, "
        f"{len(summary.failed)} cannot be made"
    )
    if summary.different:
        click.echo(f"scores differ by {summary.largest:.6g} at most, and by {summary.mean:.6g} in the mean of all answers")
