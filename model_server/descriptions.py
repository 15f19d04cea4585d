"""Models as TorchServe's management describes them: the same keys in the same order, and more only where ours has more."""

from __future__ import annotations

from typing import Any

from .devices import gpu_usage
from .served_version import ServedVersion
from .worker_process import WorkerProcess, resident_bytes

__all__ = ["described"]


def described(version: ServedVersion) -> dict[str, Any]:
    """A version."""
    facts, counts = version.facts, version.native.counts()
    archive, settings = facts.archive, facts.settings
    least, most = version.wanted
    description: dict[str, Any] = {
        "modelName": facts.name,
        "modelVersion": archive.version,
        "modelUrl": archive.url,
        "runtime": archive.runtime,
        "minWorkers": least,
        "maxWorkers": most,
        "batchSize": settings.batch_size,
        "maxBatchDelay": settings.max_batch_delay,
        "responseTimeout": settings.response_timeout,
        "startupTimeout": settings.startup_timeout,
        "maxRetryTimeoutInSec": settings.retry_seconds,
        "clientTimeoutInMills": settings.client_timeout,
        "parallelType": "",
        "parallelLevel": 0,
        "deviceType": settings.device_type,
    }
    if settings.device_ids:
        description["deviceIds"] = list(settings.device_ids)
    if settings.memory_limit_mib:
        description["memoryLimitMiB"] = settings.memory_limit_mib
    return description | {
        "continuousBatching": False,
        "useJobTicket": settings.uses_job_tickets,
        "useVenv": settings.uses_venv,
        "stateful": False,
        "sequenceMaxIdleMSec": 0,
        "sequenceTimeoutMSec": 0,
        "maxNumSequence": 0,
        "maxSequenceJobQueueSize": 0,
        "loadedAtStartup": facts.registration.at_start,
        "workers": [_described_worker(worker) for worker in version.workers],
        "jobQueueStatus": {
            "remainingCapacity": max(0, settings.queue_size - counts["queued"]),
            "pendingRequests": counts["queued"],
        },
    }


def _described_worker(worker: WorkerProcess) -> dict[str, Any]:
    started = worker.started
    return {
        "id": worker.id,
        "startTime": started.strftime("%Y-%m-%dT%H:%M:%S.") + f"{started.microsecond // 1000:03}Z",
        "status": "READY" if worker.is_ready else "UNLOADING",
        "memoryUsage": resident_bytes(worker.pid),
        "pid": worker.pid or -1,
        "gpu": worker.gpu is not None,
        "gpuUsage": gpu_usage(worker.gpu),
    }
