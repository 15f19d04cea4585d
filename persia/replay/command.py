"""`persia-launcher replay`: kept answers made again, from files alone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from persia.cli.failures import one_line_failures
from persia.cli.local_paths import LocalPath
from persia.config import (
    EMBEDDING_CONFIG_VARIABLE,
    GLOBAL_CONFIG_VARIABLE,
    GlobalConfig,
    load_embedding_config,
    load_global_config,
)
from persia.errors import InvalidInput
from persia.storage import Place, place_of
from persia.variant import NO_VARIANT

__all__ = ["replay"]

_FILE = LocalPath(exists=True, dir_okay=False, path_type=Path)
_DIRECTORY = LocalPath(exists=True, file_okay=False, path_type=Path)


@click.command(context_settings={"show_default": True})
@click.argument("answers", nargs=-1, required=True, type=LocalPath(exists=True, path_type=Path))
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
@click.option("--torn-tail-ok", is_flag=True, help="Take files that end within an answer, without that one.")
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
    torn_tail_ok: bool,
    as_json: bool,
) -> None:
    """Make kept answers again, from checkpoint, packets and archives, and compare every byte.

    ANSWERS are files of kept answers (.kept), directories of these, such as a handler's kept_answers, or one receipt with
    --batch. Exits with 1 if an answer differs or cannot be made, if a file is damaged, and if there is no answer. With
    --against..., which compares candidates, an answer may differ, unless by more than --at-most.
    """
    with one_line_failures():
        try:
            from .differences import Summary
            from .reading import read_answers
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
        found = read_answers(answers, batch, torn_tail_ok)
        sources = Sources(load_embedding_config(embedding_config), checkpoints, packets, model_store, archives)
        candidate = Candidate(against, against_epoch, "" if against_variant == NO_VARIANT else against_variant)
        summary = Summary()
        for outcome in replayed(found.answers, sources, shard.row_storage, candidate):
            summary.add(outcome)
    _print(summary, found, worst, as_json)
    is_replay = candidate == Candidate()
    is_other = bool(summary.different) if is_replay else at_most is not None and summary.largest > at_most
    if not found.answers:
        click.echo(f"no answer was read from {', '.join(map(str, answers))}: there is nothing to replay", err=True)
    sys.exit(1 if summary.failed or found.damaged or is_other or not found.answers else 0)


def _local(place: Place, option: str) -> Path:
    """Raises InvalidInput for what lies in a store."""
    if place.path is None:
        raise InvalidInput(f"{place} is in a store, and a replay reads local files: copy it, and give the copy as {option}")
    return place.path


def _print(summary: Any, found: Any, worst: int, as_json: bool) -> None:
    shown = summary.worst(worst)
    for torn in found.torn:
        click.echo(f"{torn.path} ends within an answer, at byte {torn.byte}; that one is left out", err=True)
    if as_json:
        told = {
            "answers": summary.answers,
            "same": summary.same,
            "different": len(summary.different),
            "failed": len(summary.failed),
            "damaged_files": len(found.damaged),
            "torn_files": len(found.torn),
            "largest": summary.largest,
            "mean": summary.mean,
            "worst": [{"place": one.place, "model": one.model, "difference": one.difference} for one in shown],
            "remarked": len(summary.remarked),
            "remarks": [{"place": one.place, "model": one.model, "remarks": one.remarks} for one in summary.remarked[:worst]],
            "problems": [
                *({"place": one.place, "model": one.model, "problem": str(one.problem)} for one in summary.failed),
                *({"place": str(path), "model": "", "problem": str(error)} for path, error in found.damaged),
            ],
        }
        click.echo(msgspec.json.format(msgspec.json.encode(told), indent=2).decode())
        return
    for one in shown:
        click.echo(f"{one.place}: {one.difference}")
    for one in summary.remarked[:worst]:
        click.echo(f"{one.place}: its receipt is not confirmed: {'; '.join(one.remarks)}")
    for one in summary.failed[:worst]:
        click.echo(f"{one.place}: {one.problem}")
    for _, error in found.damaged:
        click.echo(str(error))
    click.echo(
        f"{summary.answers} answers: {summary.same} are the same to the byte, {len(summary.different)} differ, "
        f"{len(summary.failed)} cannot be made"
    )
    if summary.remarked:
        click.echo(f"{len(summary.remarked)} receipts say what the replay does not confirm, whatever the scores are")
    if found.damaged:
        click.echo(f"{len(found.damaged)} files are damaged: what they have from there on is not among these answers")
    if summary.different:
        click.echo(f"scores differ by {summary.largest:.6g} at most, and by {summary.mean:.6g} in the mean of all answers")
