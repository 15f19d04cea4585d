"""`persia-launcher import` as a process that saves how far it came after each 64 KiB of rows: what others do after a GiB.

python -m tests.support.import_saving_often FORMAT SOURCE OUT ...
"""

from __future__ import annotations

import functools
import sys

from persia.importers import command, import_tables

if __name__ == "__main__":
    vars(command)["import_tables"] = functools.partial(import_tables, save_every=1 << 16)
    command.import_command(sys.argv[1:], prog_name="persia-launcher import")
