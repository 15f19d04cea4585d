"""The models of a server: registered, scaled, described and taken away, as TorchServe's management does it.

What TorchServe loses, this keeps: a version that goes, and a worker too many, finish what they work on first.
"""

from __future__ import annotations

import itertools
import logging
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from persia._core.inference import Models, ModelVersion, Reactor

from .archives import Archive, find_archive, open_archive, remove_unpacked
from .refusals import (
    BadRequest,
    DefaultVersion,
    Duplicate,
    ModelNotFound,
    Refusal,
    VersionNotFound,
)
from .worker_output import WorkerOutput
from .worker_process import WorkerPlan, WorkerProcess

__all__ = ["Registration", "Registry", "ServerDefaults"]

log = logging.getLogger(__name__)

FIRST_WORKER = 9000
MOST_LISTED = 100


@dataclass(frozen=True)
class ServerDefaults:
    """What holds for models that do not say otherwise: keys of config.properties."""

    store: Path | None = None
    response_timeout: int = 120
    startup_timeout: int = 120
    unregister_timeout: int = 120
    job_queue_size: int = 100
    max_response_bytes: int = 6_553_500
    default_workers: int = 0
    default_handler: str | None = None
    envelope: str = ""
    output: WorkerOutput | None = None


@dataclass(frozen=True)
class Registration:
    """What a registration asks for; None: it does not say."""

    url: str
    model_name: str | None = None
    handler: str | None = None
    runtime: str | None = None
    batch_size: int | None = None
    max_batch_delay: int | None = None
    response_timeout: int | None = None
    startup_timeout: int | None = None
    initial_workers: int | None = None
    at_start: bool = False


@dataclass
class _Version:
    archive: Archive
    plan: WorkerPlan
    native: ModelVersion
    described: dict[str, Any]
    min_workers: int = 0
    max_workers: int = 0
    workers: list[WorkerProcess] = field(default_factory=list)
    scaling: threading.Lock = field(default_factory=threading.Lock)  # one thread at a time starts and stops workers


class Registry:
    """Thread safety: any thread may use it."""

    def __init__(self, models: Models, reactor: Reactor, defaults: ServerDefaults) -> None:
        self._models = models
        self._reactor = reactor
        self._defaults = defaults
        self._unpacked = tempfile.TemporaryDirectory(prefix="persia-model-server-")
        self._worker_numbers = itertools.count(FIRST_WORKER)
        self._lock = threading.Lock()  # over what follows
        self._versions: dict[str, dict[str, _Version]] = {}
        self._default: dict[str, str] = {}

    def register(self, wanted: Registration) -> tuple[str, str, int]:
        """The name, the version, and how many workers it is to have. Raises Refusal."""
        if wanted.runtime is not None and wanted.runtime.lower() not in ("python", "python3"):
            raise BadRequest(f"Invalid RuntimeType value: {wanted.runtime}")
        path = find_archive(wanted.url, self._defaults.store)
        archive = open_archive(path, wanted.url, Path(self._unpacked.name), self._defaults.default_handler)
        name = wanted.model_name or archive.model_name
        version = self._made(name, archive, wanted)
        with self._lock:
            versions = self._versions.setdefault(name, {})
            if archive.version in versions:
                remove_unpacked(archive.directory)
                raise Duplicate(f"Model version {archive.version} is already registered for model {name}")
            versions[archive.version] = version
            self._default.setdefault(name, archive.version)
            self._publish(name)
        workers = _workers(archive.config)
        if workers is not None:
            version.min_workers, version.max_workers = workers
        else:
            initial = self._defaults.default_workers if wanted.initial_workers is None else wanted.initial_workers
            version.min_workers = version.max_workers = max(0, initial)
        version.native.expect_workers(version.min_workers)
        return name, archive.version, version.min_workers

    def start_workers(self, name: str, version: str | None = None) -> None:
        """As many as the version is to have; returns when they have loaded it. Raises Refusal; who failed is gone then."""
        found = self._find(name, version)
        with found.scaling:
            self._scale(found)

    def unregister(self, name: str, version: str | None = None) -> None:
        """Requests that it has are answered first, for as long as unregister_model_timeout. Raises Refusal."""
        with self._lock:
            versions = self._versions.get(name)
            if versions is None:
                raise ModelNotFound(name)
            number = version or self._default[name]
            if number not in versions:
                raise VersionNotFound(f"Model version: {number} does not exist for model: {name}")
            if number == self._default[name] and len(versions) > 1:
                raise DefaultVersion(f"Cannot remove default version for model {name}")
            gone = versions.pop(number)
            if not versions:
                del self._versions[name], self._default[name]
            self._publish(name)
        self._end(gone)

    def scale(self, name: str, version: str | None, min_workers: int | None, max_workers: int | None) -> None:
        """Notes how many workers it is to have. Raises Refusal."""
        found = self._find(name, version)
        least = 1 if min_workers is None else min_workers
        most = least if max_workers is None else max_workers
        if most < least:
            raise BadRequest("max_worker cannot be less than min_worker.")
        if least < 0:
            raise Refusal(f"Failed to start workers for model {name} version: {version or 'null'}")
        found.min_workers, found.max_workers = least, most
        found.native.expect_workers(least)

    def set_default(self, name: str, version: str) -> None:
        """Raises Refusal."""
        with self._lock:
            versions = self._versions.get(name)
            if versions is None:
                raise ModelNotFound(name)
            if version not in versions:
                raise VersionNotFound(f"Model version {version} does not exist for model {name}")
            self._default[name] = version
            self._publish(name)

    def listed(self, limit: int, start: int) -> dict[str, Any]:
        """A page of the models, as TorchServe lists them."""
        limit = MOST_LISTED if limit > MOST_LISTED or limit < 0 else limit
        start = max(0, start)
        with self._lock:
            names = sorted(self._versions)
            page: dict[str, Any] = {}
            if start + limit <= len(names):
                page["nextPageToken"] = str(start + limit)
            page["models"] = [
                {"modelName": name, "modelUrl": self._versions[name][self._default[name]].archive.url}
                for name in names[start : start + limit]
            ]
        return page

    def described(self, name: str, version: str | None) -> list[dict[str, Any]]:
        """One version, the default one, or with "all" every one. Raises Refusal."""
        if version != "all":
            return [_description(name, self._find(name, version))]
        with self._lock:
            versions = self._versions.get(name)
            if versions is None:
                raise ModelNotFound(name)
            all_of_them = list(versions.values())
        return [_description(name, one) for one in all_of_them]

    def served(self) -> list[tuple[str, str, ModelVersion]]:
        """Names, versions, and what the native core has of each."""
        with self._lock:
            return [(name, number, one.native) for name, versions in self._versions.items() for number, one in versions.items()]

    def is_ready(self) -> bool:
        """Whether every default version has the workers that it is to have."""
        with self._lock:
            defaults = [versions[self._default[name]] for name, versions in self._versions.items()]
        return all(sum(worker.is_ready for worker in one.workers) >= one.min_workers for one in defaults)

    def close(self, seconds: float) -> None:
        """Ends all workers, after what they work on, and removes what was unpacked."""
        with self._lock:
            all_of_them = [one for versions in self._versions.values() for one in versions.values()]
            self._versions.clear()
            self._default.clear()
        for one in all_of_them:
            for worker in one.workers:
                worker.stop()
        for one in all_of_them:
            for worker in one.workers:
                if not worker.join(seconds):
                    worker.stop(drain=False)
                    worker.join(seconds)
        self._unpacked.cleanup()

    def _publish(self, name: str) -> None:
        versions = self._versions.get(name)
        if versions is None:
            self._models.remove(name)
        else:
            self._models.set(name, {number: one.native for number, one in versions.items()}, self._default[name])

    def _find(self, name: str, version: str | None) -> _Version:
        with self._lock:
            versions = self._versions.get(name)
            if versions is None:
                raise ModelNotFound(name)
            number = version or self._default[name]
            if number not in versions:
                raise VersionNotFound(f"Model version: {number} does not exist for model: {name}")
            return versions[number]

    def _made(self, name: str, archive: Archive, wanted: Registration) -> _Version:
        config, defaults = archive.config, self._defaults
        batch_size = max(1, _number(wanted.batch_size, config, "batchSize", 1))
        delay = _number(wanted.max_batch_delay, config, "maxBatchDelay", 100)
        # As in TorchServe, an archive's own config file settles the timeouts as soon as there is one.
        has_config = bool(config)
        response = (
            _number(None, config, "responseTimeout", 120)
            if has_config
            else _first(wanted.response_timeout, defaults.response_timeout)
        )
        startup = (
            _number(None, config, "startupTimeout", 120)
            if has_config
            else _first(wanted.startup_timeout, defaults.startup_timeout)
        )
        retry = _number(None, config, "maxRetryTimeoutInSec", 300)
        queue = _number(None, config, "jobQueueSize", defaults.job_queue_size)
        native = ModelVersion(
            self._reactor,
            name,
            archive.version,
            batch_size=batch_size,
            max_batch_delay=delay / 1000,
            queue_size=queue,
            max_body_bytes=defaults.max_response_bytes,
            response_timeout=float(response),
        )
        plan = WorkerPlan(
            name,
            archive.directory,
            wanted.handler or archive.handler,
            batch_size,
            float(startup),
            float(retry),
            envelope=defaults.envelope,
            version=archive.version,
            output=defaults.output,
        )
        described = {
            "modelName": name,
            "modelVersion": archive.version,
            "modelUrl": archive.url,
            "runtime": archive.runtime,
            "batchSize": batch_size,
            "maxBatchDelay": delay,
            "responseTimeout": response,
            "startupTimeout": startup,
            "maxRetryTimeoutInSec": retry,
            "clientTimeoutInMills": _number(None, config, "clientTimeoutInMills", 0),
            "loadedAtStartup": wanted.at_start,
            "jobQueueSize": queue,
        }
        return _Version(archive, plan, native, described)

    def _scale(self, version: _Version) -> None:
        version.workers = [worker for worker in version.workers if not worker.join(0)]
        surplus = version.workers[version.min_workers :]
        for worker in surplus:
            worker.stop()
        version.workers = version.workers[: version.min_workers]
        made = [self._new_worker(version) for _ in range(version.min_workers - len(version.workers))]
        version.workers += made
        for worker in made:
            worker.start()
        try:
            for worker in made:
                worker.wait_ready()
        except Refusal:
            for worker in made:
                worker.stop(drain=False)
            version.workers = [worker for worker in version.workers if worker not in made]
            version.min_workers = version.max_workers = len(version.workers)
            version.native.expect_workers(version.min_workers)
            raise

    def _new_worker(self, version: _Version) -> WorkerProcess:
        def given_up() -> None:
            version.min_workers = max(0, version.min_workers - 1)
            version.native.expect_workers(version.min_workers)

        return WorkerProcess(next(self._worker_numbers), version.plan, version.native, None, given_up)

    def _end(self, version: _Version) -> None:
        version.native.wait_until_idle(float(self._defaults.unregister_timeout))
        with version.scaling:
            version.native.expect_workers(0)
            for worker in version.workers:
                worker.stop()
            for worker in version.workers:
                if not worker.join(float(self._defaults.unregister_timeout)):
                    worker.stop(drain=False)
        remove_unpacked(version.archive.directory)


def _first(*values: int | None) -> int:
    return next(value for value in values if value is not None)


def _number(asked: int | None, config: Mapping[str, Any], key: str, default: int) -> int:
    if asked is not None:
        return asked
    value = config.get(key, default)
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def _workers(config: Mapping[str, Any]) -> tuple[int, int] | None:
    least, most = _number(None, config, "minWorkers", 0), _number(None, config, "maxWorkers", 0)
    return (least, most) if 0 < least <= most else None


def _description(name: str, version: _Version) -> dict[str, Any]:
    known = version.described
    counts = version.native.counts()
    return {
        "modelName": name,
        "modelVersion": known["modelVersion"],
        "modelUrl": known["modelUrl"],
        "runtime": known["runtime"],
        "minWorkers": version.min_workers,
        "maxWorkers": version.max_workers,
        **{
            key: known[key]
            for key in ("batchSize", "maxBatchDelay", "responseTimeout", "startupTimeout", "maxRetryTimeoutInSec")
        },
        "clientTimeoutInMills": known["clientTimeoutInMills"],
        "parallelType": "",
        "parallelLevel": 0,
        "deviceType": "cpu",
        "continuousBatching": False,
        "useJobTicket": False,
        "useVenv": False,
        "stateful": False,
        "sequenceMaxIdleMSec": 0,
        "sequenceTimeoutMSec": 0,
        "maxNumSequence": 0,
        "maxSequenceJobQueueSize": 0,
        "loadedAtStartup": known["loadedAtStartup"],
        "workers": [_worker_description(worker) for worker in version.workers],
        "jobQueueStatus": {
            "remainingCapacity": max(0, known["jobQueueSize"] - counts["queued"]),
            "pendingRequests": counts["queued"],
        },
    }


def _worker_description(worker: WorkerProcess) -> dict[str, Any]:
    started = worker.started
    return {
        "id": worker.id,
        "startTime": started.strftime("%Y-%m-%dT%H:%M:%S.") + f"{started.microsecond // 1000:03}Z",
        "status": "READY" if worker.is_ready else "UNLOADING",
        "memoryUsage": _resident_bytes(worker.pid),
        "pid": worker.pid or -1,
        "gpu": worker.gpu is not None,
        "gpuUsage": "N/A",
    }


def _resident_bytes(pid: int | None) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * 4096
