"""Where the golden files are: made by the last release of Persia, which trained, dumped and served them on CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.support.places import DATA

GOLDEN = DATA / "golden"


def golden(pattern: str) -> list[Path]:
    """The golden files of a pattern such as ``*.emb``, in a fixed order. A pattern without files is an error."""
    paths = sorted(GOLDEN.rglob(pattern))
    if not paths:
        raise FileNotFoundError(f"no {pattern} under {GOLDEN}")
    return paths


def arrays_of(npz: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a file of numpy's. It is closed, as one that is left to the collector of garbage ends in a warning."""
    with np.load(npz) as arrays:
        return dict(arrays)
