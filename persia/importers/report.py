"""What an import says of itself, in a file beside the checkpoint: enough to prove it again later."""

from __future__ import annotations

from pathlib import Path

import msgspec

from persia.errors import CorruptFile
from persia.system.durable import write_file

__all__ = ["REPORT", "ImportReport", "ImportedTable", "SourceFile", "read_report", "write_report"]

REPORT = "import_report.json"  # in the checkpoint's directory, where servers pass it by


class SourceFile(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    bytes: int


class ImportedTable(msgspec.Struct, frozen=True, kw_only=True):
    """`digest` is that of the rows as they were read, and as they stand in the checkpoint.

    `folded` keys are so large that their upper bits were taken together with the lower ones; none met another key.
    `beyond_half` rows have numbers that float16 does not hold, in which a slot of the table is served. `beyond_uint8` rows of a
    quantised table are not kept exactly by `row_storage: uint8`; None: the table was not quantised.
    """

    table: str
    slots: tuple[str, ...]
    prefix: int
    rows: int
    dim: int
    ids: str
    digest: str
    left_out: int = 0
    folded: int = 0
    beyond_half: int = 0
    beyond_uint8: int | None = None
    conversion: str = ""


class ImportReport(msgspec.Struct, frozen=True, kw_only=True):
    format: str
    source: str
    files: tuple[SourceFile, ...]
    shards: int
    prefix_bits: int
    tables: tuple[ImportedTable, ...]


def write_report(path: Path, report: ImportReport) -> None:
    """Raises OSError."""
    write_file(path, msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")


_DECODER = msgspec.json.Decoder(ImportReport)


def read_report(path: Path) -> ImportReport:
    """Raises CorruptFile, OSError."""
    try:
        return _DECODER.decode(path.read_bytes())
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CorruptFile(str(path), "the report of an import", str(error), 0) from error
