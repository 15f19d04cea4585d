"""The models of a server as the Open Inference Protocol sees them: whether they are ready, and what they take."""

from __future__ import annotations

from typing import Any

import persia
from persia.errors import Unavailable

from ..readiness import Readiness
from ..refusals import ModelNotFound, VersionNotFound
from ..registry import Registry
from .metadata import decode_metadata, metadata_as_json

__all__ = ["ServedModels"]

SERVER = {"name": "persia-serve", "version": persia.__version__, "extensions": ["binary_tensor_data"]}


class ServedModels:
    """Thread safety: any thread may use it."""

    def __init__(self, registry: Registry, readiness: Readiness) -> None:
        self._registry = registry
        self._readiness = readiness

    def server(self) -> dict[str, Any]:
        """What the server says of itself."""
        return SERVER

    def is_ready(self) -> bool:
        """Whether all models are, and none is missing."""
        return self._readiness.is_ready()

    def missing(self) -> list[str]:
        """The models that the start could not load."""
        return self._readiness.missing.names()

    def is_there_and_ready(self, name: str, version: str | None) -> bool:
        """As is_model_ready(), but a model that there is not is one that is not ready."""
        try:
            return self.is_model_ready(name, version)
        except (ModelNotFound, VersionNotFound):
            return False

    def is_model_ready(self, name: str, version: str | None) -> bool:
        """Whether a worker has loaded it. Raises ModelNotFound, VersionNotFound."""
        return any(worker.is_ready for worker in self._registry.find(name, version).workers)

    def names(self) -> list[str]:
        """Of the models, in order."""
        return list(self._registry.default_versions())

    def metadata(self, name: str, version: str | None) -> dict[str, Any]:
        """Raises ModelNotFound, VersionNotFound, and Unavailable as long as no worker has loaded the model."""
        workers = self._registry.find(name, version).workers
        encoded = next((metadata for worker in workers if (metadata := worker.metadata)), b"")
        if not encoded:
            raise Unavailable(f"expected a worker that has loaded the model {name!r}, got none yet: ask when it is ready")
        versions = [one.facts.archive.version for one in self._registry.versions(name)]
        return metadata_as_json(name, versions, decode_metadata(encoded))
