"""TorchServe's management operations, whichever wire they come over: each takes its parameters, and says a sentence or a page.

Registrations and scalings that need not be waited for go on while their workers start.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from .descriptions import described
from .java_order import java_order
from .model_settings import check_workers
from .readiness import Readiness
from .refusals import (
    BadRequest,
    CleaningTimedOut,
    ModelNotFound,
    NoWorker,
    OverMemoryLimit,
    Refusal,
    TooManyWaiting,
    VersionNotFound,
    WorkerFailed,
)
from .registration import Registration
from .registry import Registry
from .served_version import ServedVersion
from .traffic import Traffic

__all__ = ["ALL_VERSIONS", "THREADS", "Done", "Management"]

log = logging.getLogger(__name__)

MOST_LISTED = 100
# Calls that wait for workers to come, and to end. For each wire there are threads left for those that do not wait.
MOST_STARTING, MOST_ENDING = 8, 4
THREADS = MOST_STARTING + MOST_ENDING + 4
ALL_VERSIONS = "all"


class Done(NamedTuple):
    """How an operation went: HTTP's status and a sentence."""

    status: int
    sentence: str


class _Waiting:
    """The right of so many calls at a time to wait, so that threads are left for calls that do not."""

    def __init__(self, what: str, most: int) -> None:
        self._what = what
        self._most = most
        self._left = threading.Semaphore(most)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Raises TooManyWaiting."""
        if not self._left.acquire(blocking=False):
            raise TooManyWaiting(
                f"expected at most {self._most} {self._what} at a time, got one more: try again when one of them is answered"
            )
        try:
            yield
        finally:
            self._left.release()


class Management:
    """Thread safety: any thread may use it."""

    def __init__(
        self, registry: Registry, readiness: Readiness, api_enabled: bool, on_change: Callable[[], None] = lambda: None
    ) -> None:
        """api_enabled: whether models may be registered and unregistered. on_change: keeps each change, or raises NotKept."""
        self.registry = registry
        self.readiness = readiness
        self.api_enabled = api_enabled
        self._on_change = on_change
        self._starting = _Waiting("registrations and other calls that wait for workers", MOST_STARTING)
        self._ending = _Waiting("calls that wait for workers to end", MOST_ENDING)

    def register(self, wanted: Registration, synchronous: bool) -> Done:
        """Raises Refusal; then the model is not registered, unless it is NotKept."""
        with self._starting.place():
            return self._register(wanted, synchronous)

    def _register(self, wanted: Registration, synchronous: bool) -> Done:
        version = self.registry.register(wanted)
        name, number, workers = version.facts.name, version.facts.archive.version, version.wanted[0]
        if workers:
            try:
                _start(version, number, synchronous)
            except Refusal:
                self._take_back(name, number)
                raise
        if wanted.is_default:
            self.registry.set_default(name, number)
        self.readiness.missing.found(name, wanted.url)
        self._on_change()
        if workers == 0:
            sentence = (
                f'Model "{name}" Version: {number} registered with 0 initial workers. '
                "Use scale workers API to add workers for the model."
            )
            return Done(200, sentence)
        if not synchronous:
            return Done(202, "Processing worker updates...")
        return Done(200, f'Model "{name}" Version: {number} registered with {workers} initial workers')

    def scale(self, name: str, version: str | None, least: int, most: int | None, synchronous: bool) -> Done:
        """most: None: as many as at least. Raises Refusal."""
        most = least if most is None else most
        if most < least:
            raise BadRequest("max_worker cannot be less than min_worker.")
        check_workers(most)
        served = self.registry.find(name, version)
        if least < 0:
            raise _not_started(WorkerFailed, name, version)
        with self._starting.place():
            served.scale(least, most)
            _start(served, version, synchronous)
        self._on_change()
        if not synchronous:
            return Done(202, "Processing worker updates...")
        of_version = f", version: {version}" if version else ""
        return Done(200, f"Workers scaled to {least} for model: {name}{of_version}")

    def unregister(self, name: str, version: str | None) -> Done:
        """Raises Refusal."""
        with self._ending.place():
            was_missing = self.readiness.missing.forget(name)
            try:
                self.registry.unregister(name, version)
            except (ModelNotFound, VersionNotFound):
                if not was_missing:
                    raise
            except CleaningTimedOut:  # it is gone all the same
                self._on_change()
                raise
        self._on_change()
        return Done(200, f'Model "{name}" unregistered')

    def health(self) -> dict[str, Any]:
        """As TorchServe's ping says it. `missing`: models that the start could not load, by the names to unregister them by."""
        if self.readiness.is_ready():
            return {"status": "Healthy"}
        missing = self.readiness.missing.names()
        return {"status": "Unhealthy"} | ({"missing": missing} if missing else {})

    def set_default(self, name: str, version: str) -> Done:
        """Raises Refusal."""
        self.registry.set_default(name, version)
        self._on_change()
        return Done(200, f'Default version successfully updated for model "{name}" to "{version}"')

    def change_traffic(self, name: str, asked: Mapping[str, str]) -> dict[str, Any]:
        """How requests that name no version are dealt out from now on: what is not asked for stays. Raises Refusal."""
        traffic = self.registry.change_traffic(name, asked)
        self._on_change()
        return traffic.described()

    def end_traffic(self, name: str) -> dict[str, Any]:
        """The default version gets all requests that name none. Raises Refusal."""
        self.registry.set_traffic(name, Traffic())
        self._on_change()
        return self.traffic(name)

    def traffic(self, name: str) -> dict[str, Any]:
        """Raises Refusal."""
        return self.registry.traffic(name).described()

    def described(self, name: str, version: str | None) -> list[dict[str, Any]]:
        """One version, the default one, or with "all" every one. Raises Refusal."""
        if version == ALL_VERSIONS:
            versions = {one.facts.archive.version: one for one in self.registry.versions(name)}
            return [described(versions[number]) for number in java_order(versions)]
        return [described(self.registry.find(name, version))]

    def customized(self, name: str, version: str | None, headers: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
        """A version, with what its handler says of itself. Raises Refusal."""
        served = self.registry.find(name, version)
        seconds = float(served.facts.settings.response_timeout)
        with self._starting.place():
            body, failure, words = served.native.ask([*headers, ("describe", "True")], seconds)
        if failure == "no worker":
            raise NoWorker(
                f'Model "{name}" has no worker to serve describe request. Please use scale workers API to add workers.'
            )
        if failure:
            raise Refusal(words)
        description = described(served)
        if body:
            description["customizedMetadata"] = _as_json(body)
        return [description]

    def listed(self, limit: int, start: int) -> dict[str, Any]:
        """A page of models, as TorchServe lists them."""
        limit = MOST_LISTED if limit > MOST_LISTED or limit < 0 else limit
        start = max(0, start)
        models = self.registry.default_versions()
        page: dict[str, Any] = {}
        if start + limit <= len(models):
            page["nextPageToken"] = str(start + limit)
        chosen = list(models.items())[start : start + limit]
        page["models"] = [{"modelName": name, "modelUrl": version.facts.archive.url} for name, version in chosen]
        return page

    def _take_back(self, name: str, version: str) -> None:
        try:
            self.registry.unregister(name, version)
        except Refusal as refusal:
            log.warning("%s %s, which failed to load, stays registered: %s", name, version, refusal)


def _start(version: ServedVersion, asked: str | None, synchronous: bool) -> None:
    """Raises WorkerFailed in TorchServe's words; the log has the reason."""
    try:
        version.start_workers(is_patient=not synchronous)
    except WorkerFailed as failure:
        why = f": {failure}" if isinstance(failure, OverMemoryLimit) else ""
        raise _not_started(type(failure), version.facts.name, asked, why) from failure


def _not_started(kind: type[WorkerFailed], name: str, asked: str | None, why: str = "") -> WorkerFailed:
    """asked: the version that was asked for, for which TorchServe says `null` if it was none."""
    return kind(f"Failed to start workers for model {name} version: {asked or 'null'}{why}")


def _as_json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")
