"""What an import that was stopped leaves in its checkpoint's directory, by which the next one goes on from there."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from persia.errors import CorruptFile, InvalidInput, Unavailable
from persia.system.durable import write_file
from persia.system.lock import lock_file
from persia.writers.growing import Saved

from .report import ImportedTable, ImportReport

__all__ = ["WORK", "Identity", "SourceStamp", "TableFacts", "Taken", "Unfinished", "begun", "empty", "opened_work", "stamps_of"]

WORK = ".import_unfinished"  # below the checkpoint's directory, and hidden: no server looks there

_STATE = "progress.json"
_LOCK = "lock"


class SourceStamp(msgspec.Struct, frozen=True):
    """A file of the source, and what changes when somebody writes it. `path` is relative to the source."""

    path: str
    bytes: int
    modified: int  # in nanoseconds since 1970


class TableFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A table that is imported, and for what."""

    table: str
    slots: tuple[str, ...]
    prefix: int
    rows: int
    dim: int
    padding: int | None
    conversion: str
    modulo: int = 0
    keeps_padding: bool = False
    defaults: tuple[tuple[int, int], ...] = ()  # rows without a key, by their ids
    default_keys: tuple[int, ...] = ()  # keys that have to have rows, for they are default rows


class Taken(msgspec.Struct, frozen=True):
    """How far the rows of a table were read: how many it gave, and what was found of them."""

    seen: int = 0
    rows: int = 0
    sums: tuple[int, int] = (0, 0)
    folded: int = 0
    beyond_half: int = 0
    beyond_uint8: int = 0


class Identity(msgspec.Struct, frozen=True):
    """What has to be the same for an import to go on: the files that it reads, and what it makes of them."""

    format: str
    files: tuple[SourceStamp, ...]
    tables: tuple[TableFacts, ...]
    shards: int
    files_per_shard: int
    prefix_bits: int
    allow_non_finite: bool


class Unfinished(msgspec.Struct, kw_only=True):
    """How far an import came. `tables` are read to their ends, and of the next one as much as `taken` says.

    `report` is there once all rows are in files and proved, and `cleared` is true once the earlier checkpoint is gone.
    """

    identity: Identity
    seconds: int
    nanos: int
    checkpoint_id: str
    tables: tuple[ImportedTable, ...] = ()
    taken: Taken = Taken()
    saved: Saved | None = None
    report: ImportReport | None = None
    cleared: bool = False

    def write(self, work: Path) -> None:
        """Raises OSError."""
        write_file(work / _STATE, msgspec.json.encode(self))


def begun(identity: Identity) -> Unfinished:
    """An import of which nothing is done. What is trained from now on is not in the checkpoint."""
    seconds, nanos = divmod(time.time_ns(), 1_000_000_000)
    return Unfinished(identity=identity, seconds=seconds, nanos=nanos, checkpoint_id=secrets.token_hex(16))


def stamps_of(files: Iterable[Path], origin: Path) -> tuple[SourceStamp, ...]:
    """Of the files of a source that lies at `origin`. Raises OSError."""
    return tuple(
        SourceStamp(os.path.relpath(path, origin), status.st_size, status.st_mtime_ns)
        for path, status in ((path, path.stat()) for path in files)
    )


@contextmanager
def opened_work(out: Path, identity: Identity, *, restart: bool) -> Iterator[tuple[Path, Unfinished | None]]:
    """The directory for an import's own files, which nobody else has meanwhile, and how far an earlier one came.

    The directory goes when the block ends, unless the block has written how far it came and was stopped then: the next import
    goes on from there.

    Raises InvalidInput if an import of something else was stopped there, Unavailable if one is running; CorruptFile, OSError.
    """
    work = out / WORK
    work.mkdir(parents=True, exist_ok=True)
    lock = lock_file(work / _LOCK)
    if lock is None:
        raise Unavailable(f"another import is writing to {out}: wait until it ends")
    try:
        before = None if restart else _read(work, identity)
        if before is None:
            empty(work)
        yield work, before
        empty(work)
    finally:
        if not (work / _STATE).exists():
            shutil.rmtree(work, ignore_errors=True)
        os.close(lock)


_DECODER = msgspec.json.Decoder(Unfinished)


def _read(work: Path, identity: Identity) -> Unfinished | None:
    path = work / _STATE
    try:
        found = _DECODER.decode(path.read_bytes())
    except FileNotFoundError:
        return None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CorruptFile(str(path), "how far an import came", f"{error}; `--restart` drops it", 0) from error
    if (difference := _difference(found.identity, identity)) is not None:
        raise InvalidInput(
            f"{work} has an import that was stopped, and {difference}: give it what it had to go on with it, or `--restart` to "
            "drop it and begin anew"
        )
    return found


def _difference(before: Identity, now: Identity) -> str | None:
    """What is another one, in words; None if all is the same."""
    stamps = {file.path: file for file in before.files}
    for file in now.files:
        if (was := stamps.pop(file.path, None)) != file:
            return f"the file {file.path} of its source has {'come' if was is None else 'changed'} since"
    if stamps:
        return f"the file {min(stamps)} of its source is gone"
    for had, has in zip(before.tables, now.tables, strict=False):
        for name in TableFacts.__struct_fields__:
            if (was := getattr(had, name)) != (is_now := getattr(has, name)):
                return f"the `{name}` of its table `{had.table}` was {was}, and is {is_now} now"
    if len(before.tables) != len(now.tables):
        return f"its tables were {len(before.tables)}, and are {len(now.tables)} now"
    for name in Identity.__struct_fields__:
        if (was := getattr(before, name)) != (is_now := getattr(now, name)):
            return f"its {name.replace('_', ' ')} were {was}, and are {is_now} now"
    return None


def empty(work: Path) -> None:
    """Drops an import that was stopped. Raises OSError."""
    (work / _STATE).unlink(missing_ok=True)  # first: without it the rest is nothing to go on with
    for path in work.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != _LOCK:
            path.unlink()
