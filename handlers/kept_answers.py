"""Which answers a handler keeps, by the settings of its archive: docs/replay.md."""

from __future__ import annotations

import atexit
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from persia.receipts.ring import Ring

__all__ = ["ring_of"]


def ring_of(settings: Mapping[str, Any]) -> Ring | None:
    """None without the setting `kept_answers`; nothing is imported then."""
    if settings["kept_answers"] is None:
        return None
    from persia.receipts.ring import Ring

    ring = Ring(Path(settings["kept_answers"]), settings["kept_share"], settings["kept_mib"] << 20)
    atexit.register(ring.close)
    return ring
