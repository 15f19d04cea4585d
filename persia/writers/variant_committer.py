"""Epochs in which a variant has other rows: its trainer says which packets belong to it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from persia.errors import InvalidInput, NotFound, Superseded
from persia.formats.committing import packets_of_variant
from persia.formats.epoch import Draft, VariantChange
from persia.formats.epoch_log import EpochLog
from persia.storage import place_of
from persia.variant import variant_key

__all__ = ["VariantCommitter"]


class VariantCommitter:
    """Commits packets to one variant, beside whoever commits the rows that all share. For one thread.

    What others commit meanwhile is of no account, unless it is to the same variant: then this raises Superseded, as an
    EpochCommitter does. It holds nothing: servers go on to commit packets of their own accord.
    """

    def __init__(self, incremental_dir: str | os.PathLike[str], name: str) -> None:
        """Reads the log.

        Raises:
            NotFound: There is no such directory. It is that of the servers, and not made here: a wrong name would else be
                served by nobody.
            InvalidInput: No variant can have that name, or it is a store, which has no variants.
            CorruptFile, OSError: As EpochLog.
        """
        variant_key(name)
        place = place_of(os.fspath(incremental_dir))
        if place.path is None:
            raise InvalidInput(f"expected a directory for packets of a variant, got the store {incremental_dir}")
        self.name, self._root = name, place.path
        if not self._root.is_dir():
            raise NotFound(
                f"expected the incremental_dir of the servers, in which variant {name} is to be, got no directory {self._root}"
            )
        self._log = EpochLog(self._root)
        self._known = self._log.read()  # up to which epoch it knows what became of the variant

    def commit(self, packets: Iterable[str | os.PathLike[str]] = (), dense: Mapping[str, str | None] | None = None) -> int:
        """Makes an epoch in which the variant has these packets beside those that it has; returns its number.

        The variant begins with its first epoch. Its rows go before those that all share, for lookups that ask for it.

        Args:
            packets: Their directories, as an IncrementalDumper with this variant returned them.
            dense: The versions of dense models that were trained with the rows of the variant, by the names under which they
                are served: for lookups of the variant they take the place of the epoch's. None as a version: the epoch's again.

        Raises:
            Superseded: Somebody else has changed the variant since. Nothing was committed; see refresh().
            InvalidInput, CorruptFile: A packet is not the variant's, not complete, broken, or has rows that end. Nothing was
                committed.
            OSError: The disk refuses. Whether the epoch was committed, refresh() tells.
        """
        own = None if dense is None else self._log.history.variants.dense_with(self.name, dense)
        return self._commit(VariantChange(add=packets_of_variant(self._root, self.name, map(Path, packets)), dense=own))

    def end(self) -> int:
        """Makes an epoch without the variant; returns its number. The packets stay on disk, and may begin another one.

        Raises NotFound if there is no such variant, Superseded and OSError as commit().
        """
        newest = self._log.read()
        if self.name not in (there := self._log.history.variants.at(newest)):
            known = ", ".join(sorted(there)) or "which has none"
            raise NotFound(f"expected a variant of epoch {newest}, {known}, got {self.name}")
        return self._commit(None)

    def refresh(self) -> int:
        """Takes notice of what others have made of the variant. Returns the newest epoch. Raises CorruptFile, OSError."""
        self._known = self._log.read()
        return self._known

    def _commit(self, change: VariantChange | None) -> int:
        while True:
            newest = self._log.read()
            for record in self._log.history.records[self._known :]:
                if self.name in (record.variants or {}):
                    raise Superseded(
                        f"expected nobody else to have changed variant {self.name} since epoch {self._known}, got epoch "
                        f"{record.epoch}: read the log in {self._log.records.place()}, and commit what belongs on top of that"
                    )
            self._known = newest
            if written := self._log.commit(Draft(variants={self.name: change}), "trainer"):
                self._known = written.epoch
                return self._known
