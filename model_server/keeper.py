"""Restores what a state directory has kept when the server starts, and keeps what changes from then on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from .missing_models import MissingModels
from .refusals import NotKept, Refusal
from .registration import Registration
from .registry import Registry
from .state import KeptState, Model, StateDirectory, kept, registrations, traffic_of

__all__ = ["Keeper"]

log = logging.getLogger(__name__)


class Keeper:
    """Thread safety: any thread may call keep()."""

    def __init__(self, directory: StateDirectory, registry: Registry, missing: MissingModels) -> None:
        """Raises ConfigError, OSError."""
        self._directory = directory
        self._registry = registry
        self._missing = missing
        self._left = directory.read()
        self._brought = list(self._left.brought)
        self._lost: dict[str, Model] = {}  # that could not be restored: they are tried again at the next start
        self._is_restored = False
        self._lock = threading.Lock()

    def plan(self, named: Sequence[Registration]) -> list[Registration]:
        """What is to be registered at the start: what was left, and of what is named now that which is new."""
        left = registrations(self._left)
        new = [one for one in named if one.url not in self._brought]
        self._brought += [one.url for one in new]
        return [*left, *(one for one in new if not any(_has_it(one, old) for old in left))]

    def restored(self) -> None:
        """The plan was carried out, as far as it could be; from now on changes are kept."""
        for name, traffic in traffic_of(self._left).items():
            try:
                self._registry.set_traffic(name, traffic)
            except Refusal as refusal:
                log.error("how the requests of %s were dealt out is not restored: %s", name, refusal)
        there = self._registry.kept()
        self._lost = {name: model for name, model in self._left.models.items() if name not in there}
        self._is_restored = True
        try:
            self.keep()
        except NotKept as refusal:
            log.error("%s", refusal)

    def keep(self) -> None:
        """On return the state is on disk. Raises NotKept: the change holds until a restart."""
        if not self._is_restored:
            return
        with self._lock:
            models = {name: kept(model) for name, model in self._registry.kept().items()}
            names, urls = self._missing.names(), self._missing.urls()
            lost = {name: model for name, model in self._lost.items() if name in names}
            brought = [url for url in self._brought if url not in urls]  # what is missing comes with the next start
            try:
                self._directory.write(KeptState(lost | models, brought))
            except OSError as error:
                raise NotKept(
                    f"the change is made, but could not be kept in {self._directory.path} ({error.strerror}): a restart would "
                    "undo it. Make room there, and make any change again, which keeps this one, too"
                ) from error


def _has_it(named: Registration, kept: Registration) -> bool:
    """Whether what is named now was registered over the API before."""
    return named.url == kept.url and named.model_name in (None, kept.model_name)
