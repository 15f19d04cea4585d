"""How the ids of a whole run of `infer` fared: features with ids that have no row, which count as zeros."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from persia.torchserve.details import Details

__all__ = ["IdCounts"]

# Of fewer ids all may well be new.
FEWEST_IDS = 10


class IdCounts:
    """Of the details of all answers together; those that have none say nothing."""

    def __init__(self, details: Iterable[Details | None]) -> None:
        self._ids: Counter[str] = Counter()
        self._new: Counter[str] = Counter()
        self._wrong_dim: Counter[str] = Counter()
        for answer in details:
            for name, counts in (answer.features if answer is not None else {}).items():
                self._ids[name] += counts.ids
                self._new[name] += counts.new_ids
                self._wrong_dim[name] += counts.wrong_dim

    def lines(self) -> Iterator[str]:
        """One for each feature with ids that count as zeros."""
        for name, ids in self._ids.items():
            if new := self._new[name]:
                yield f"feature {name!r}: {new} of {ids} ids have no row in the table"
            if wrong := self._wrong_dim[name]:
                yield f"feature {name!r}: {wrong} of {ids} ids have a row of another dim, and count as zeros"

    def all_new(self) -> list[str]:
        """The features that have ids enough, and no row for any of them."""
        return [name for name, ids in self._ids.items() if ids >= FEWEST_IDS and self._new[name] == ids]

    def problem(self) -> str | None:
        """What is to be said of them, if there are any."""
        names = self.all_new()
        if not names:
            return None
        many = "the features" if len(names) > 1 else "the feature"
        return (
            f"no id of {many} {', '.join(map(repr, names))} has a row in the table, so the scores come from zeros: are they "
            "texts that were read as numbers (--text COLUMN of a .csv), signs instead of ids, or numbers of another hash than "
            "docs/ids.md has? --allow-new-ids, if they are all new"
        )
