"""What hinders a server from following packets: in the log once, and in its status for as long as it lasts."""

from __future__ import annotations

import logging

__all__ = ["Problems"]


class Problems:
    """One thread notes; any may read."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._texts: dict[str, str] = {}

    def note(self, what: str, text: str | None, error: BaseException | None = None) -> None:
        """text: None once it is over. error: its traceback is logged."""
        if text is None:
            self._texts.pop(what, None)
            return
        # A file's name may be any bytes; the status, which is UTF-8, must not break on it.
        text = text.encode(errors="backslashreplace").decode()
        if self._texts.get(what) != text:
            self._log.error("%s", text, exc_info=error)
        self._texts[what] = text

    def texts(self) -> list[str]:
        return [text for _, text in sorted(self._texts.copy().items())]
