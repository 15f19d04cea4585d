"""Lets another environment see the packages of the one that runs this: torch alone has gigabytes.

usage: python share_packages.py ENVIRONMENT
"""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

if __name__ == "__main__":
    environment = Path(sys.argv[1])
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "shared.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
