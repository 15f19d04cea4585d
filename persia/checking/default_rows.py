"""Whether the rows are there that ids without a row count as."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from persia.checking.report import Report
from persia.checking.scan import Scan
from persia.config import EmbeddingConfig
from persia.signs import signs_of

__all__ = ["check_default_rows", "default_signs"]


def default_signs(config: EmbeddingConfig) -> dict[str, int]:
    """By slot, the sign of the row of `default_row: {id: ...}`."""
    return {
        name: int(signs_of(np.array([slot.default_id], np.uint64), slot)[0, 0])
        for name, slot in config.slots.items()
        if slot.default_id is not None
    }


def check_default_rows(report: Report, config: EmbeddingConfig, scan: Scan) -> None:
    """A warning for each that is not in the table. Of a table that was read in part nothing is said."""
    if not scan.whole:
        return
    for name, sign in default_signs(config).items():
        wanted: npt.NDArray[np.uint64] = np.array([sign], np.uint64)
        if not scan.found.have(wanted)[0]:
            id = config.slots[name].default_id
            text = f"the default row, that of the id {id}, is not in the table: ids without a row are zeros"
            report.warn("rows", name, text, "write the row, or name the id of the row that the other system has for them")
