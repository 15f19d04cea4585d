"""Whether a checkpoint still has the rows that were imported: every row is read, and the digests are compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from persia._core import EmbReader
from persia.errors import CorruptFile
from persia.formats.checkpoint import open_checkpoint
from persia.formats.layout import emb_files, shard_directory
from persia.signs import shard_of

from .digest import RowDigest, hash_rows
from .report import REPORT, ImportReport, read_report
from .source import U64

__all__ = ["Progress", "difference", "digests_of_checkpoint", "verify_import"]

Progress = Callable[[str, int, int], None]  # a step, how many rows more are done, of how many
Digests = dict[int, RowDigest]  # by the prefix of the group


def verify_import(checkpoint: Path, progress: Progress = lambda step, done, total: None) -> ImportReport:
    """Reads all rows of a checkpoint that import_tables wrote.

    Raises:
        CorruptFile: a file is broken, or the rows are not those that the report tells.
        OSError: a file cannot be read; also if there is no report.
    """
    report = read_report(checkpoint / REPORT)
    if problem := difference(report, digests_of_checkpoint(checkpoint, report, progress)):
        raise CorruptFile(str(checkpoint), f"the rows that {REPORT} tells", problem, 0)
    return report


def digests_of_checkpoint(directory: Path, report: ImportReport, progress: Progress) -> Digests:
    """A digest of the rows of each group, found anew. Raises CorruptFile, also for a row in a wrong shard; OSError."""
    marker = open_checkpoint(directory).marker
    shift = 64 - report.prefix_bits
    total = sum(table.rows for table in report.tables)
    known = np.array([table.prefix for table in report.tables], np.uint64)
    digests: Digests = {}
    for shard in range(marker.num_shards):
        for path in emb_files(shard_directory(directory, shard), shard, marker.num_internal_shards):
            reader = EmbReader(path)
            for signs, dims, values, _ in reader:
                if not (shard_of(signs, marker.num_shards) == shard).all():
                    raise CorruptFile(str(path), f"rows of shard {shard}", "rows of another shard", 0)
                prefixes = signs >> np.uint64(shift) << np.uint64(shift)
                if (known == 0).any():  # keys that are signs have whatever prefix no other table has
                    prefixes[~np.isin(prefixes, known)] = 0
                _add(digests, prefixes, hash_rows(signs, dims, values))
                progress("verify", len(signs), total)
    return digests


def _add(digests: Digests, prefixes: U64, hashes: U64) -> None:
    for prefix in np.unique(prefixes):
        digests.setdefault(int(prefix), RowDigest()).add(hashes[prefixes == prefix])


def difference(report: ImportReport, found: Digests) -> str:
    """In which table the checkpoint is not what was read, in words; empty if it is."""
    for prefix in dict.fromkeys(table.prefix for table in report.tables):
        tables = [table for table in report.tables if table.prefix == prefix]  # several, where keys are signs
        digest, expected = found.get(prefix, RowDigest()), RowDigest()
        for table in tables:
            expected.add_digest(table.rows, table.digest)
        if (digest.rows, str(digest)) != (expected.rows, str(expected)):
            names = ", ".join(f"`{table.table}`" for table in tables)
            found_ones = f"{digest.rows} rows of table {names} with the digest {digest}"
            return f"{found_ones}, where {expected.rows} with {expected} were read"
    if extra := found.keys() - {table.prefix for table in report.tables}:
        return f"{found[min(extra)].rows} rows with the prefix {min(extra):#x}, which no table has"
    return ""
