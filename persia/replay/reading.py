"""What files of kept answers have, and what is wrong with them: a file that is damaged does not hinder the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from persia.errors import CorruptFile, InvalidInput, PersiaError
from persia.receipts.kept import KEPT, KeptFile, kept_files
from persia.receipts.receipt import KeptAnswer, read_receipt
from persia.receipts.ring import may_be_torn

__all__ = ["Found", "Torn", "read_answers"]


@dataclass(frozen=True)
class Torn:
    """A file that ends within an answer, as a writer leaves it that is killed."""

    path: Path
    byte: int


@dataclass
class Found:
    """`damaged`: files of which nothing, or not all, could be read."""

    answers: list[KeptAnswer] = field(default_factory=list)
    torn: list[Torn] = field(default_factory=list)
    damaged: list[tuple[Path, PersiaError | OSError]] = field(default_factory=list)


def read_answers(paths: Sequence[Path], batch: Path | None = None, torn_tail_ok: bool = False) -> Found:
    """All answers of files and directories, or that of a receipt and its batch.

    torn_tail_ok: any file may be torn, and not only the one that a handler wrote last. Raises InvalidInput for paths that make
    no sense.
    """
    found = Found()
    if batch is not None:
        if len(paths) != 1:
            raise InvalidInput(f"expected one receipt with --batch, got {len(paths)} paths")
        if paths[0].suffix == KEPT or paths[0].is_dir():
            raise InvalidInput(
                f"expected a receipt with --batch, got {paths[0]}: kept answers have their batches, so leave --batch out"
            )
        try:
            found.answers.append(read_receipt(paths[0], batch))
        except (PersiaError, OSError) as error:
            found.damaged.append((paths[0], error))
        return found
    for path in paths:
        if path.is_file() and path.suffix != KEPT:
            raise InvalidInput(f"expected a name that ends with {KEPT}, or a receipt together with --batch, got {path}")
        files = kept_files(path)
        if not files:
            raise InvalidInput(f"there are no files of kept answers ({KEPT}) in {path}")
        for file in files:
            _take(file, found, torn_tail_ok)
    return found


def _take(file: KeptFile, found: Found, torn_tail_ok: bool) -> None:
    try:
        for answer in file:
            found.answers.append(answer)
    except (PersiaError, OSError) as error:
        found.damaged.append((file.path, error))
        return
    if file.torn_at is None:
        return
    if torn_tail_ok or may_be_torn(file.path):
        found.torn.append(Torn(file.path, file.torn_at))
    else:
        got = "a part of one at the end, as if its writer had been killed, or the file cut (--torn-tail-ok takes it)"
        found.damaged.append((file.path, CorruptFile(str(file.path), "whole answers", got, file.torn_at)))
