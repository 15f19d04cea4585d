"""The ids of requests in the lines that a worker logs: both ends of the pipe."""

from __future__ import annotations

import logging

__all__ = ["LINE_FORMAT", "RequestIds", "ids_and_words"]

LINE_FORMAT = "%(request_ids)s%(message)s"
# Around the ids, as no header of a request may have it, and no handler prints it by chance.
_MARK = "\x1e"


class RequestIds(logging.Filter):
    """Puts the ids of the requests that are worked on before each line of the log."""

    def __init__(self) -> None:
        super().__init__()
        self.current: list[str] = []

    def filter(self, record: logging.LogRecord) -> bool:
        """Takes every line."""
        record.request_ids = f"{_MARK}{','.join(self.current)}{_MARK}" if self.current else ""
        return True


def ids_and_words(line: str) -> tuple[list[str], str]:
    """The ids that a line begins with, and the rest of it."""
    if not line.startswith(_MARK):
        return [], line
    ids, _, words = line[len(_MARK) :].partition(_MARK)
    return ids.split(","), words
