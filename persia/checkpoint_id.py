"""How the identity of a checkpoint is written: in logs, metrics and messages."""

from __future__ import annotations

from datetime import datetime, timezone

__all__ = ["checkpoint_name", "checkpoint_text"]


def checkpoint_name(identity: int) -> str:
    """16 hex digits."""
    return f"{identity:016x}"


def checkpoint_text(identity: int, seconds: int) -> str:
    """Its name, and when training wrote it, in UTC."""
    if not identity:
        return "none"
    try:
        when = datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):  # a marker may say any number
        when = f"second {seconds}"
    return f"{checkpoint_name(identity)} ({when})"
