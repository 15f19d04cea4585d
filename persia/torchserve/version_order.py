"""Which version of a model is newer, by its number."""

from __future__ import annotations

import re

__all__ = ["version_key"]

# In the order in which they make a version newer.
_WORD, _END, _NUMBER = range(3)


def version_key(version: str) -> list[tuple[int, int, str]]:
    """To compare by: 10.0 comes after 9.0, 2.0.1 after 2.0, and that after 2.0-rc1."""
    parts = re.findall(r"\d+|[^\W\d]+", version, re.ASCII)
    return [*((_NUMBER, int(part), "") if part.isdigit() else (_WORD, 0, part) for part in parts), (_END, 0, "")]
