"""transformers draws progress bars and writes reports while it loads: in a server's log they are noise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .extras import extra

__all__ = ["transformers_quiet"]


@contextmanager
def transformers_quiet() -> Iterator[None]:
    """For as long as a model is loaded."""
    words = extra("transformers").utils.logging
    level, bars = words.get_verbosity(), words.is_progress_bar_enabled()
    words.set_verbosity_error()
    words.disable_progress_bar()
    try:
        yield
    finally:
        words.set_verbosity(level)
        if bars:
            words.enable_progress_bar()
