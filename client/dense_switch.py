"""Switching a dense model together with the rows that it goes with: one commit record says both."""

from __future__ import annotations

from pathlib import Path

from persia.errors import Superseded
from persia.formats.epoch import Draft
from persia.formats.epoch_log import EpochLog

__all__ = ["DenseSwitch"]

_TRIES = 10  # servers commit packets at any moment


class DenseSwitch:
    """For one switch of one model, where embedding servers follow epochs. For one thread."""

    def __init__(self, incremental_dir: Path) -> None:
        """Raises CorruptFile, OSError."""
        self._log = EpochLog(incremental_dir)
        self._log.read()
        self._model: str | None = None  # that was switched here
        self._before: str | None = None
        self._version = ""

    def commit(self, model: str, version: str) -> int:
        """From the epoch that it returns on, rows belong to this version of the model.

        If a trainer has committed that already, nothing is committed. Raises CorruptFile, OSError, Superseded.
        """
        self._log.read()
        before = self._log.history.dense_at(self._log.newest).get(model)
        if before != version:
            self._commit(model, version, "swap")
            self._model, self._before, self._version = model, before, version
        return self._log.newest

    def undo(self) -> None:
        """Rows belong to the version before again, unless nothing was committed here, or somebody has since named another one.

        Raises as commit().
        """
        self._log.read()
        model, self._model = self._model, None
        if model is not None and self._log.history.dense_at(self._log.newest).get(model) == self._version:
            self._commit(model, self._before, "swap failed")

    def _commit(self, model: str, version: str | None, why: str) -> None:
        for _ in range(_TRIES):
            dense = self._log.history.dense_with({model: version})
            if self._log.commit(Draft(dense=dense), "operator", why):
                return
            self._log.read()
        raise Superseded(f"expected to commit an epoch for {model} {version}, got {_TRIES} others that came between")
