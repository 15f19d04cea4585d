"""What a version of a model is served with, put together from all who have a say: the registration, the archive, the server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .archives import Archive
from .model_config import ModelConfig
from .refusals import BadRequest
from .registration import Registration, ServerDefaults
from .traffic import Share

__all__ = ["MOST_WORKERS", "ModelSettings", "check_workers", "settle"]

# An archive with a config file settles these by itself, in TorchServe and here: they are what it means when it says nothing.
_TIMEOUT_OF_ARCHIVE = 120


MOST_WORKERS = 1000  # of a version; each is a process
_MOST_BATCH = 1 << 16
_MOST_SECONDS = 2_000_000  # that a socket can be waited for
_MOST_OF_OTHERS = (1 << 31) - 1
_MOST = {"batchSize": _MOST_BATCH, "responseTimeout": _MOST_SECONDS, "startupTimeout": _MOST_SECONDS}


@dataclass(frozen=True)
class ModelSettings:
    """Times in the units of their keys in model-config.yaml."""

    min_workers: int
    max_workers: int
    batch_size: int
    max_batch_delay: int  # ms
    response_timeout: int  # s
    startup_timeout: int  # s
    retry_seconds: int
    client_timeout: int  # ms; 0: none
    queue_size: int
    uses_job_tickets: bool
    uses_venv: bool
    device_type: str
    device_ids: tuple[int, ...]  # empty: all
    memory_limit_mib: int  # of a worker; 0: none
    share: Share


def settle(name: str, archive: Archive, config: ModelConfig, wanted: Registration, defaults: ServerDefaults) -> ModelSettings:
    """The first who says something counts, in TorchServe's order, which is another one for timeouts."""
    own = _of_properties(defaults.per_model, name, archive.version)

    def number(asked: int | None, key: str, default: int) -> int:
        return _checked(key, _first(asked, config.number(key), own.get(key), default))

    def timeout(asked: int | None, key: str, default: int) -> int:
        of_archive = _first(config.number(key), _TIMEOUT_OF_ARCHIVE) if config else None
        return _checked(key, _first(of_archive, own.get(key), asked, default))

    if wanted.workers is not None:
        least, most = wanted.workers
    elif config.workers is not None:
        least, most = config.workers
    else:
        asked = defaults.default_workers if wanted.initial_workers is None else wanted.initial_workers
        least = max(0, own.get("minWorkers", asked) if wanted.at_start else asked)
        most = max(least, own.get("maxWorkers", least) if wanted.at_start else least)
    check_workers(most)
    has_gpus = defaults.gpus > 0 and config.device_type != "cpu"
    return ModelSettings(
        min_workers=least,
        max_workers=most,
        batch_size=max(1, number(wanted.batch_size, "batchSize", 1)),  # TorchServe takes less for 1
        max_batch_delay=number(wanted.max_batch_delay, "maxBatchDelay", 100),
        response_timeout=timeout(wanted.response_timeout, "responseTimeout", defaults.response_timeout),
        startup_timeout=timeout(wanted.startup_timeout, "startupTimeout", defaults.startup_timeout),
        retry_seconds=number(None, "maxRetryTimeoutInSec", 300),
        client_timeout=number(None, "clientTimeoutInMills", 0),
        queue_size=number(None, "jobQueueSize", defaults.job_queue_size),
        uses_job_tickets=config.flag("useJobTicket"),
        uses_venv=config.flag("useVenv"),
        device_type="gpu" if has_gpus else "cpu",
        device_ids=config.device_ids,
        memory_limit_mib=number(None, "memoryLimitMiB", 0),
        share=config.share,
    )


def _of_properties(per_model: Mapping[str, Any], name: str, version: str) -> Mapping[str, int]:
    """What `models={...}` says of a version, as far as it is numbers."""
    versions = per_model.get(name)
    properties = versions.get(version) if isinstance(versions, Mapping) else None
    if not isinstance(properties, Mapping):
        return {}
    return {key: value for key, value in properties.items() if isinstance(value, int) and not isinstance(value, bool)}


def _first(*values: int | None) -> int:
    return next(value for value in values if value is not None)


def _checked(key: str, value: int) -> int:
    """Raises BadRequest for a number that no queue or clock has."""
    most = _MOST.get(key, _MOST_OF_OTHERS)
    if value > most or (value < 0 and key != "batchSize"):
        raise BadRequest(f"expected a number from 0 to {most} for {key}, got {value}")
    return value


def check_workers(count: int) -> None:
    """Raises BadRequest for more workers than a version may have."""
    if count > MOST_WORKERS:
        raise BadRequest(f"expected at most {MOST_WORKERS} workers of a version, got {count}")
