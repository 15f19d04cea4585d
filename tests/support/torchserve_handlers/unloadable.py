"""A handler whose worker dies when it is started."""

from typing import Any

raise RuntimeError("this handler cannot be loaded")


def handle(data: Any, context: Any) -> Any:
    """Never reached."""
