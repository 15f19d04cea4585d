"""What the names of a model's tensors tell about them, for proposals."""

from __future__ import annotations

import re
from collections.abc import Container

__all__ = ["looks_like_a_table"]

_TABLE = re.compile(r"(^|[._])(embedding(_bag)?s?|emb(_l)?|embed\w*|tables?)([._]|\d|$)", re.IGNORECASE)


def looks_like_a_table(name: str, names: Container[str]) -> bool:
    """Whether a tensor (n, dim) of that name is probably an embedding table. A linear layer has a bias beside its weight."""
    stem, _, last = name.rpartition(".")
    return last != "bias" and f"{stem}.bias" not in names and _TABLE.search(name) is not None
