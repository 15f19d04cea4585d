"""Where the golden files are: made by the last release of Persia, which trained, dumped and served them on CPU."""

from __future__ import annotations

from pathlib import Path

GOLDEN = Path(__file__).parent / "data" / "golden"


def golden(pattern: str) -> list[Path]:
    """The golden files of a pattern such as ``*.emb``, in a fixed order. A pattern without files is an error."""
    paths = sorted(GOLDEN.rglob(pattern))
    if not paths:
        raise FileNotFoundError(f"no {pattern} under {GOLDEN}")
    return paths
