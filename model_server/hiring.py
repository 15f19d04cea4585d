"""From an archive to a version that can be served: what its workers are started with, its queue, and its devices."""

from __future__ import annotations

import itertools
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

from persia._core.inference import ModelVersion, Reactor

from .archives import Archive
from .devices import Devices
from .model_config import ModelConfig
from .model_settings import ModelSettings, settle
from .registration import Registration, ServerDefaults
from .requirements import Installed, install
from .served_version import Facts, ServedVersion
from .worker_process import WorkerPlan, WorkerProcess

__all__ = ["Hiring"]

log = logging.getLogger(__name__)


class Hiring:
    """Makes versions and their workers. Thread safety: any thread may use it."""

    def __init__(self, reactor: Reactor, defaults: ServerDefaults) -> None:
        self._reactor = reactor
        self._defaults = defaults
        self._devices = Devices(defaults.gpus)
        self._numbers = itertools.count(defaults.first_worker)
        self._numbers_lock = threading.Lock()

    def version_of(self, archive: Archive, wanted: Registration, fetched: Path | None) -> ServedVersion:
        """Without workers yet. fetched: the archive's copy in the model store, which goes with the version.

        Raises ArchiveUnreadable, RequirementsFailed.
        """
        name = wanted.model_name or archive.model_name
        config = ModelConfig.of(archive.config)
        for note in config.notes:
            log.warning("%s %s: %s", name, archive.version, note)
        settings = settle(name, archive, config, wanted, self._defaults)
        plan = self._plan(name, archive, wanted, settings)
        native = ModelVersion(
            self._reactor,
            name,
            archive.version,
            batch_size=settings.batch_size,
            max_batch_delay=settings.max_batch_delay / 1000,
            queue_size=settings.queue_size,
            max_body_bytes=self._defaults.max_response_bytes,
            response_timeout=float(settings.response_timeout),
            client_timeout=settings.client_timeout / 1000,
            only_idle=settings.uses_job_tickets,
        )

        def hire(is_patient: bool, on_given_up: Callable[[WorkerProcess], None]) -> WorkerProcess:
            gpu = self._devices.next(settings.device_type, settings.device_ids)
            return WorkerProcess(self._next_number(), plan, native, gpu, on_given_up, is_patient)

        return ServedVersion(Facts(name, archive, settings, wanted, fetched), native, hire)

    def _plan(self, name: str, archive: Archive, wanted: Registration, settings: ModelSettings) -> WorkerPlan:
        defaults = self._defaults
        installed = Installed()
        if archive.requirements is not None and (defaults.installs_requirements or settings.uses_venv):
            cache = defaults.requirements_cache
            installed = install(name, archive.directory, archive.requirements, cache, settings.uses_venv)
        hidden = defaults.hidden_variables
        environment = {key: value for key, value in os.environ.items() if hidden is None or not hidden.fullmatch(key)}
        if not defaults.decodes_inputs:
            environment["TS_DECODE_INPUT_REQUEST"] = "false"
        return WorkerPlan(
            name,
            archive.directory,
            wanted.handler or archive.handler,
            settings.batch_size,
            float(settings.startup_timeout),
            float(settings.retry_seconds),
            python=installed.python,
            environment=environment,
            packages=installed.packages,
            envelope=defaults.envelope,
            limits_image_pixels=defaults.limits_image_pixels,
            memory_limit=settings.memory_limit_mib << 20,
            version=archive.version,
            output=defaults.output,
        )

    def _next_number(self) -> int:
        with self._numbers_lock:
            return next(self._numbers)
