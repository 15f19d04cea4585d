"""Whether a checkpoint still has the rows that were imported: every row is read, and the digests are compared."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from persia._core import digest_emb
from persia.errors import CorruptFile
from persia.formats.checkpoint import open_checkpoint
from persia.formats.layout import emb_files, shard_directory
from persia.signs import shard_of
from persia.writers.checkpoint import check_each_once

from .digest import RowDigest
from .report import REPORT, ImportReport, read_report

__all__ = ["Progress", "difference", "digests_of_checkpoint", "digests_of_files", "verify_import"]

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
    files = [
        (shard, path)
        for shard in range(marker.num_shards)
        for path in emb_files(shard_directory(directory, shard), shard, marker.num_internal_shards)
    ]
    total = sum(table.rows for table in report.tables)
    return digests_of_files(files, marker.num_shards, report.prefix_bits, lambda rows: progress("verify", rows, total))


def digests_of_files(
    files: list[tuple[int, Path]], shards: int, prefix_bits: int, progress: Callable[[int], None], workers: int = 1
) -> Digests:
    """Of all rows of files, each with the shard to which its rows belong. So many workers read a file each.

    Raises CorruptFile, also for a row in a wrong shard; DuplicateSign for a sign that has two rows; OSError.
    """

    def read(file: tuple[int, Path]) -> tuple[int, dict[int, tuple[int, int, int]]]:
        shard, path = file
        signs, groups = digest_emb(path, prefix_bits)
        if not (shard_of(signs, shards) == shard).all():
            raise CorruptFile(str(path), f"rows of shard {shard}", "rows of another shard", 0)
        if not (signs[1:] > signs[:-1]).all():  # those of row numbers come in their order
            signs.sort()
            check_each_once(signs, path)
        return len(signs), groups

    digests: Digests = {}
    with ThreadPoolExecutor(workers) as pool:
        for rows, groups in pool.map(read, files):
            for prefix, found in groups.items():
                digests.setdefault(prefix, RowDigest()).take(*found)
            progress(rows)
    return digests


def _without_prefix(found: Digests, known: set[int]) -> Digests:
    """Where keys are signs, their tables have the prefix 0 in the report, and their rows whatever prefix no other table has."""
    if 0 not in known:
        return found
    joined: Digests = {}
    for prefix, digest in found.items():
        joined.setdefault(prefix if prefix in known else 0, RowDigest()).take(digest.rows, *digest.sums)
    return joined


def difference(report: ImportReport, found: Digests) -> str:
    """In which table the checkpoint is not what was read, in words; empty if it is."""
    found = _without_prefix(found, {table.prefix for table in report.tables})
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
