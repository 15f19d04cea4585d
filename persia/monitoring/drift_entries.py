"""What the watch for drift has found, as plain values for the console."""

from __future__ import annotations

from typing import Any

from persia.drift.overview import Asked, overview
from persia.drift.verdict import State
from persia.errors import NotFound

__all__ = ["drift_entries"]


def drift_entries(asked: Asked) -> list[dict[str, Any]]:
    """Each version of a model with its signals, the worst first. Raises PersiaError, OSError."""
    try:
        watched = overview(asked)
    except NotFound:
        if not asked.state.is_dir():
            raise NotFound(f"there is no directory {asked.state}, to which the watch for drift would write") from None
        return []
    return [
        {
            "model": one.model,
            "version": one.version,
            "state": one.state.name.lower(),
            "signals": [
                {
                    "what": what,
                    "signal": signal,
                    "state": readings[-1].state.name.lower(),
                    "value": readings[-1].value,
                    "limit": readings[-1].limit,
                }
                for (what, signal), readings in sorted(
                    (one.verdict.history if one.verdict is not None else {}).items(),
                    key=lambda item: (item[1][-1].state is State.TOO_FEW, -item[1][-1].state),
                )
            ],
        }
        for one in watched
    ]
