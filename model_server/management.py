"""TorchServe's management operations, whichever wire they come over: each takes its parameters, and says a sentence or a page.

Registrations and scalings that need not be waited for go on in threads of their own.
"""

from __future__ import annotations

import logging
import threading
from typing import Any, NamedTuple

from .refusals import BadRequest, Refusal
from .registry import Registration, Registry

__all__ = ["Done", "Management"]

log = logging.getLogger(__name__)


class Done(NamedTuple):
    """How an operation went: HTTP's status and a sentence."""

    status: int
    sentence: str


class Management:
    """Thread safety: any thread may use it."""

    def __init__(self, registry: Registry, api_enabled: bool) -> None:
        self.registry = registry
        self.api_enabled = api_enabled  # whether models may be registered and unregistered

    def register(self, wanted: Registration, synchronous: bool) -> Done:
        """Raises Refusal; then the model is not registered."""
        name, version, workers = self.registry.register(wanted)
        if workers == 0:
            sentence = (
                f'Model "{name}" Version: {version} registered with 0 initial workers. '
                "Use scale workers API to add workers for the model."
            )
            return Done(200, sentence)
        if not synchronous:
            self._later(name, version)
            return Done(202, "Processing worker updates...")
        try:
            self.registry.start_workers(name, version)
        except Refusal:
            self._forget(name, version)
            raise
        return Done(200, f'Model "{name}" Version: {version} registered with {workers} initial workers')

    def scale(self, name: str, version: str | None, least: int | None, most: int | None, synchronous: bool) -> Done:
        """Raises Refusal."""
        self.registry.scale(name, version, least, most)
        if not synchronous:
            self._later(name, version)
            return Done(202, "Processing worker updates...")
        self.registry.start_workers(name, version)
        of_version = f", version: {version}" if version else ""
        return Done(200, f"Workers scaled to {1 if least is None else least} for model: {name}{of_version}")

    def unregister(self, name: str, version: str | None) -> Done:
        """Raises Refusal."""
        self.registry.unregister(name, version)
        return Done(200, f'Model "{name}" unregistered')

    def set_default(self, name: str, version: str) -> Done:
        """Raises Refusal."""
        self.registry.set_default(name, version)
        return Done(200, f'Default version successfully updated for model "{name}" to "{version}"')

    def described(self, name: str, version: str | None) -> list[dict[str, Any]]:
        """Raises Refusal."""
        return self.registry.described(name, version)

    def listed(self, limit: int, start: int) -> dict[str, Any]:
        """A page of models."""
        return self.registry.listed(limit, start)

    def _later(self, name: str, version: str | None) -> None:
        def start() -> None:
            try:
                self.registry.start_workers(name, version)
            except Refusal as refusal:
                log.error("workers of %s did not start: %s", name, refusal)

        threading.Thread(target=start, name=f"scale-{name}", daemon=True).start()

    def _forget(self, name: str, version: str) -> None:
        try:
            self.registry.unregister(name, version)
        except BadRequest:
            raise
        except Refusal as refusal:
            log.warning("%s, which failed to load, stays registered: %s", name, refusal)
