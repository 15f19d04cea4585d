"""Other systems' embedding tables as a checkpoint of ours, with proof that no row was lost or changed.

`import_tables` reads a source, writes a checkpoint, and compares what stands in it with what was read. A module for each format
has one function, `open_source`, which says which tables a source has, and how their rows come in blocks. All that is done with
the rows afterwards is the same for every format. No format needs the system that wrote it, so torch's files are read without
torch.
"""

from .importing import import_tables
from .report import REPORT, ImportedTable, ImportReport, read_report
from .source import Source, SourceTable
from .table_map import MappedSlot, TableMap, load_table_map
from .verifying import verify_import

__all__ = [
    "REPORT",
    "ImportReport",
    "ImportedTable",
    "MappedSlot",
    "Source",
    "SourceTable",
    "TableMap",
    "import_tables",
    "load_table_map",
    "read_report",
    "verify_import",
]
