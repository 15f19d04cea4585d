"""`epochs log|revert|hold|release|void|dense|variant|checkpoint`, for whoever looks after what is served."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime as DateTime
from pathlib import PurePosixPath

import click

from persia.checkpoint_id import checkpoint_text
from persia.cli.failures import one_line_failures
from persia.errors import InvalidInput, NotFound
from persia.formats.committing import committed_checkpoint, packets_of_variant
from persia.formats.epoch import CommittedCheckpoint, Draft, EpochRecord, VariantChange
from persia.formats.epoch_log import EpochLog, open_epoch_log
from persia.formats.layout import PACKET_LIKE, PACKET_MARKER, shard_directories, variant_directory
from persia.storage import Place, place_of
from persia.storage.arguments import DIRECTORY
from persia.variant import variant_key

_directory = click.argument("directory", type=DIRECTORY)
_why = click.option("--why", default="", help="A few words for those who read the log.")


@click.group()
def epochs() -> None:
    """Look into the epochs of an incremental_dir, and go back to an earlier one."""


@epochs.command("log")
@_directory
@click.option("--last", type=click.IntRange(1), default=20, show_default=True, help="How many epochs to print.")
def log_command(directory: Place, last: int) -> None:
    """Print the newest epochs in DIRECTORY, and what waits to be committed."""
    with one_line_failures():
        log = _read(directory)
        waiting = [name for name in _complete_packets(directory) if not log.history.is_named(name)]
        foreign = log.foreign_files()
    for record in log.history.records[-last:]:
        click.echo(_line(record))
    dense = _dense_text(log.history.dense_at(log.newest))
    base = log.history.base_at(log.newest)
    if base is not None:
        click.echo(f"based on {_base_text(base)}")
    state = "held: packets wait for somebody to commit them" if log.history.held else "servers commit packets as they come"
    click.echo(f"epoch {log.newest} with {len(log.history.packets)} packets, {dense}; {state}")
    for name, variant in log.history.variants.packets_at(log.newest).items():
        own = log.history.variants.at(log.newest)[name].dense
        click.echo(f"variant {name} with {len(variant.packets)} packets of its own{', ' + _dense_text(own) if own else ''}")
    if waiting:
        click.echo(f"{len(waiting)} packets are in no epoch, {waiting[0]} first")
    for name in foreign:
        click.echo(f"{log.records.place()}/{name} is no record")


@epochs.command("revert")
@_directory
@click.option("--to", "epoch", type=click.IntRange(0), required=True, help="The epoch whose rows are wanted back.")
@click.option("--hold", is_flag=True, help="Also hold the log, so that newer packets wait.")
@_why
def revert_command(directory: Place, epoch: int, hold: bool, why: str) -> None:
    """Commit an epoch in DIRECTORY that has the packets of an earlier one.

    The packets since then stay on disk and out of all later epochs. A trainer that commits epochs is told.
    """
    with one_line_failures():
        log = _read(directory)
        if epoch >= log.newest:
            raise InvalidInput(f"expected an epoch before the newest one, which is {log.newest}, got {epoch}")
        record = log.commit_after(log.newest, Draft(revert_to=epoch, hold=hold or None), "operator", why)
    click.echo(_line(record))


@epochs.command("hold")
@_directory
@_why
def hold_command(directory: Place, why: str) -> None:
    """From now on packets in DIRECTORY wait to be committed."""
    _commit(directory, Draft(hold=True), why)


@epochs.command("release")
@_directory
@_why
def release_command(directory: Place, why: str) -> None:
    """From now on servers commit packets in DIRECTORY as they come, those that wait first."""
    _commit(directory, Draft(hold=False), why)


@epochs.command("void")
@_directory
@click.argument("packets", nargs=-1, required=True)
@_why
def void_command(directory: Place, packets: tuple[str, ...], why: str) -> None:
    """Take PACKETS, such as s0/inc_20261120070757, out of the epochs in DIRECTORY from now on."""
    _commit(directory, Draft(void=packets), why)


@epochs.command("dense")
@_directory
@click.argument("versions", nargs=-1, required=True, metavar="MODEL=VERSION...")
@_why
def dense_command(directory: Place, versions: tuple[str, ...], why: str) -> None:
    """Commit an epoch in DIRECTORY whose rows belong to these versions of dense models.

    Such as ctr=8.0; with ctr= any version of the model goes with the rows.
    """
    with one_line_failures():
        log = _read(directory)
        dense = log.history.dense_with(dict(map(_named_version, versions)))
        record = log.commit_after(log.newest, Draft(dense=dense), "operator", why)
    click.echo(_line(record))


@epochs.command("checkpoint")
@_directory
@click.argument("checkpoint")
@click.option(
    "--dense", "versions", multiple=True, metavar="MODEL=VERSION", help="As `epochs dense`; may be given several times."
)
@click.option("--relative", is_flag=True, help="Note the way from DIRECTORY, for servers to which both lie elsewhere.")
@_why
def checkpoint_command(directory: Place, checkpoint: str, versions: tuple[str, ...], relative: bool, why: str) -> None:
    """Commit an epoch in DIRECTORY whose rows are those of CHECKPOINT and of the packets that are newer.

    CHECKPOINT is a directory, or the URL of a store. All its files are read first. Servers take it over while they serve, and
    those that start load it.
    """
    with one_line_failures():
        named = dict(map(_named_version, versions))
        if relative and directory.path is None:
            raise InvalidInput(f"expected --relative with a DIRECTORY on a mounted file system, got {directory}")
        base = committed_checkpoint(checkpoint, directory.path if relative else None)
        record = None
        while record is None:  # servers that commit packets meanwhile are in nobody's way
            log = _read(directory)
            dense = log.history.dense_with(named) if named else None
            record = log.commit(Draft(base=base, dense=dense), "operator", why)
    click.echo(_line(record))


@epochs.command("variant")
@_directory
@click.argument("name")
@click.argument("packets", nargs=-1)
@click.option(
    "--dense", multiple=True, metavar="MODEL=VERSION", help="A version that belongs to the variant alone; MODEL=: none."
)
@click.option("--end", is_flag=True, help="End the variant.")
@_why
def variant_command(directory: Place, name: str, packets: tuple[str, ...], dense: tuple[str, ...], end: bool, why: str) -> None:
    """Commit an epoch in DIRECTORY in which the variant NAME has PACKETS of its own, such as s0/inc_20261120070757.

    They lie in DIRECTORY/.variants/NAME. Without PACKETS: all that are complete there, and that no record has named for NAME
    yet. With --dense and without PACKETS: no packet is added.
    """
    with one_line_failures():
        variant_key(name)
        if end and (packets or dense):
            raise InvalidInput("expected --end alone, got packets or versions beside it")
        log = _read(directory)
        there = log.history.variants.packets_at(log.newest)
        if name not in there and (end or (dense and not packets)):
            raise NotFound(f"expected a variant of epoch {log.newest}, {', '.join(there) or 'which has none'}, got {name}")
        change = None if end else _variant_change(log, directory, name, packets, dense)
        record = log.commit_after(log.newest, Draft(variants={name: change}), "operator", why)
    click.echo(_line(record))
    if end:
        click.echo(
            f"requests for {name} fail from now on, also the share that an archive's `variants` gives to it: "
            f"serve archives without {name}, if that is not done",
            err=True,
        )


def _variant_change(log: EpochLog, directory: Place, name: str, packets: Iterable[str], dense: Iterable[str]) -> VariantChange:
    """Raises InvalidInput, CorruptFile, OSError."""
    if directory.path is None:
        raise InvalidInput(f"expected a directory of a mounted file system for variants, got {directory}")
    variants, root = log.history.variants, variant_directory(directory.path, name)
    named = dict(map(_named_version, dense))
    if not packets and not named:
        there = _complete_packets(place_of(root)) if root.is_dir() else []
        packets = [packet for packet in there if not variants.was_named(name, packet)]
        if not packets:
            raise InvalidInput(
                f"expected packets of variant {name} in {root} that no record has named yet, got none: "
                "a packet that was taken out comes back by its name"
            )
    add = packets_of_variant(directory.path, name, [root / packet for packet in packets])
    return VariantChange(add=add, dense=variants.dense_with(name, named) if named else None)


def _named_version(text: str) -> tuple[str, str | None]:
    model, equals, version = text.partition("=")
    if not model or not equals:
        raise InvalidInput(f"expected MODEL=VERSION, such as ctr=8.0, got {text!r}")
    return model, version or None


def _complete_packets(directory: Place) -> list[str]:
    """In the order of their names."""
    if directory.path is None:
        there = [entry.name.rpartition("/") for entry in directory.open().list_files()]
        labels = [label for label, _, file in there if file == PACKET_MARKER]
        found = [path for path in map(PurePosixPath, labels) if PACKET_LIKE.fullmatch(path.name)]
    else:
        shards = shard_directories(directory.path).values()
        paths = [path for shard in shards for path in shard.iterdir() if PACKET_LIKE.fullmatch(path.name)]
        found = [PurePosixPath(path.parent.name, path.name) for path in paths if (path / PACKET_MARKER).exists()]
    return [path.as_posix() for path in sorted(found, key=lambda path: (path.name, path.parent.name))]


def _read(directory: Place) -> EpochLog:
    log = open_epoch_log(directory)
    log.read()
    return log


def _commit(directory: Place, draft: Draft, why: str) -> None:
    with one_line_failures():
        log = _read(directory)
        record = log.commit_after(log.newest, draft, "operator", why)
    click.echo(_line(record))


def _line(record: EpochRecord) -> str:
    when = DateTime.fromtimestamp(record.unix_ms / 1000).strftime("%Y-%m-%d %H:%M:%S")
    said = [
        f"returns to epoch {record.revert_to}" if record.revert_to is not None else "",
        f"adds {len(record.add)} packets, {record.add[0].packet} first" if record.add else "",
        f"voids {', '.join(record.void)}" if record.void else "",
        "" if record.base is None else f"takes over {_base_text(record.base)}",
        "" if record.dense is None else _dense_text(record.dense),
        {True: "held", False: "released", None: ""}[record.hold],
        *(_variant_text(name, change) for name, change in (record.variants or {}).items()),
        record.why,
    ]
    return f"{record.epoch}  {when}  {record.by}  {'; '.join(filter(None, said)) or 'begins'}"


def _base_text(base: CommittedCheckpoint) -> str:
    return f"checkpoint {checkpoint_text(base.identity, base.unix_seconds)} in {base.checkpoint}"


def _variant_text(name: str, change: VariantChange | None) -> str:
    if change is None:
        return f"ends variant {name}"
    dense = "" if change.dense is None else f", {_dense_text(change.dense)}"
    return f"variant {name}: adds {len(change.add)} packets{dense}"


def _dense_text(dense: Mapping[str, str]) -> str:
    """Which versions of dense models its rows belong to, in words."""
    named = ", ".join(f"{model} {version}" for model, version in sorted(dense.items()))
    return f"for {named}" if named else "for any dense model"
