"""Says in the log, once for each feature, what makes scores wrong in silence: rows of another dim, ids that are never found."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from persia.feature_lookup import CoreTotals, FeatureLookup

__all__ = ["MissReporter", "MissWatcher"]

log = logging.getLogger(__name__)

_ENOUGH_IDS = 1000  # of which none has a row, until it is said
_LOOK_SECONDS = 1.0


class _Said(NamedTuple):
    wrong_dim: set[str]
    all_new: set[str]


class MissReporter:
    """Any thread may ask it to look."""

    def __init__(
        self,
        totals: Callable[[], Sequence[CoreTotals]],
        dims: Mapping[str, int],
        dims_there: Callable[[], Mapping[int, int]] = dict,
    ) -> None:
        """It says what `totals` tells.

        Args:
            totals: What was counted as yet.
            dims: Of each feature, by the embedding config.
            dims_there: Rows by their dim, where that is known.
        """
        self._totals, self._dims, self._dims_there = totals, dims, dims_there
        self._said = _Said(set(), set())
        self._lock = threading.Lock()

    def look(self) -> None:
        """Says what is to be said and has not been."""
        with self._lock:
            for name, ids, new_ids, wrong_dim, _ in map(FeatureLookup._make, self._totals()):
                if name not in self._dims:
                    continue
                if wrong_dim and name not in self._said.wrong_dim:
                    self._said.wrong_dim.add(name)
                    self._say_wrong_dim(name, wrong_dim)
                if ids >= _ENOUGH_IDS and new_ids == ids and name not in self._said.all_new:
                    self._said.all_new.add(name)
                    log.warning(
                        "feature '%s': none of the %d ids that were looked up has a row, so the model gets zeros for all of "
                        "them. Are its ids written as signs, or hashed in another way than training did?",
                        name,
                        ids,
                    )

    def _say_wrong_dim(self, name: str, wrong_dim: int) -> None:
        there = ", ".join(f"dim {dim} ({rows} rows)" for dim, rows in sorted(self._dims_there().items()))
        log.error(
            "feature '%s': expected rows of dim %d as the embedding config says, got rows of another dim for %d ids%s. They "
            "count as zeros: serve with the embedding config that the model was trained with",
            name,
            self._dims[name],
            wrong_dim,
            f"; the table holds rows of {there}" if there else "",
        )


class MissWatcher:
    """Has a reporter look about every second, in a thread, from start() to stop()."""

    def __init__(self, reporter: MissReporter) -> None:
        self._reporter = reporter
        self._stopping = threading.Event()

    def start(self) -> None:
        """Returns at once."""
        threading.Thread(target=self._run, name="misses", daemon=True).start()

    def stop(self) -> None:
        """After a last look."""
        self._stopping.set()
        self._reporter.look()

    def _run(self) -> None:
        while not self._stopping.wait(_LOOK_SECONDS):
            self._reporter.look()
