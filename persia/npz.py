"""The arrays of an .npz file, which a user gave."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from persia.errors import InvalidInput

__all__ = ["read_npz"]


def read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    """By name, in the file's order. Raises InvalidInput if it is broken or something else, OSError."""
    try:
        # Opened as what it has to be: np.load would also take other files, and answer with other things.
        with path.open("rb") as file, np.lib.npyio.NpzFile(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, RuntimeError) as error:  # zipfile's, of all kinds
        raise InvalidInput(f"expected an .npz file, as numpy.savez writes it, got {path}: {error}") from error
