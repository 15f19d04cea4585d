"""What a context expects of the embedding config by which somebody else turns its ids into signs."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from persia import _core
from persia.config import EmbeddingConfig
from persia.config.slots_match import SlotLike, problems_text, slot_problems
from persia.errors import ConfigError, InvalidInput
from persia.routing.topology import config_of

__all__ = ["PATH", "ExpectedSlots"]

log = logging.getLogger(__name__)

PATH = "$.slots_config"  # where the mistake is, for a ConfigError


class ExpectedSlots:
    """Compares each embedding config once, and remembers which were as expected. Any thread may use it."""

    def __init__(self, slots: Sequence[SlotLike]) -> None:
        self._slots = tuple(slots)
        self._found: dict[tuple[int, bytes], str] = {}
        self.met = _core.net.IdSet()  # the fingerprints of those that were compared, and are as expected

    def compare(self, config_id: int, data: bytes) -> str:
        """Why somebody with this config must not be asked; empty: it may be. data: config_bytes() of it."""
        found = self._found.get((config_id, data))
        if found is None:
            found = self._found[config_id, data] = self._compare(config_id, data)
        if not found:
            self.met.add(config_id)
        return found

    def check(self, config: EmbeddingConfig) -> None:
        """Raises ConfigError for a config that is not as expected."""
        if problem := self._problem(config):
            raise ConfigError(problem, PATH)

    def _compare(self, config_id: int, data: bytes) -> str:
        if not data and not config_id:
            log.warning("the middleware is of an older release and does not tell its embedding config: it is not compared")
            return ""
        try:
            config = config_of(data)
        except InvalidInput as error:
            return str(error)
        return self._problem(config)

    def _problem(self, config: EmbeddingConfig) -> str:
        problems = slot_problems(self._slots, config.slots)
        return f"expected the embedding config of the model, got another one: {problems_text(problems)}" if problems else ""
