"""The models of a server by name and version: registered, scaled, made the default, and taken away.

What TorchServe loses, this keeps: a version that goes, and a worker too many, finish what they work on first.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import NamedTuple

from persia._core.inference import Models, ModelVersion, Reactor
from persia.system.scratch import ScratchDirectory

from .archives import ArchiveFile, find_archive, open_archive, remove_unpacked
from .downloads import name_of, remove_fetched
from .hiring import Hiring
from .refusals import BadRequest, CleaningTimedOut, DefaultVersion, Duplicate, ModelNotFound, Stopping, VersionNotFound
from .registration import Registration, ServerDefaults, is_text
from .served_version import ServedVersion
from .traffic import Traffic, changed_traffic

__all__ = ["KeptModel", "Registry"]

RUNTIMES = ("python", "python2", "python3")


class KeptModel(NamedTuple):
    """A model as it is at the moment."""

    default: str
    traffic: Traffic
    versions: dict[str, ServedVersion]


class Registry:
    """Thread safety: any thread may use it."""

    def __init__(self, models: Models, reactor: Reactor, defaults: ServerDefaults) -> None:
        self._models = models
        self._defaults = defaults
        self._hiring = Hiring(reactor, defaults)
        self._unpacked = ScratchDirectory("persia-model-server-")
        self._lock = threading.Lock()  # over what follows
        self._is_closed = False
        self._versions: dict[str, dict[str, ServedVersion]] = {}
        self._default: dict[str, str] = {}
        self._traffic: dict[str, Traffic] = {}

    def register(self, wanted: Registration) -> ServedVersion:
        """The version, without workers yet. Raises Refusal."""
        for text in (wanted.url, wanted.model_name, wanted.handler):
            if text is not None and not is_text(text):
                raise BadRequest(f"expected text that UTF-8 can hold, got {text!r:.100}")
        if wanted.runtime is not None and wanted.runtime not in RUNTIMES:
            raise BadRequest(f"Invalid RuntimeType value: {wanted.runtime}")
        archive_file = self._find_archive(wanted)
        try:
            defaults = self._defaults
            archive = open_archive(
                archive_file.path, wanted, self._unpacked.path, defaults.unpack_limits, defaults.default_handler
            )
            try:
                version = self._hiring.version_of(archive, wanted, archive_file.path if archive_file.is_fetched else None)
                self._add(version)
            except BaseException:
                remove_unpacked(archive.directory)
                raise
        except BaseException:
            if archive_file.is_fetched:
                remove_fetched(archive_file.path)
            raise
        return version

    def unregister(self, name: str, version: str | None = None) -> None:
        """Requests that it has are answered first, for as long as unregister_model_timeout. Raises Refusal."""
        with self._lock:
            number = self._number(name, version)
            versions = self._versions[name]
            if number == self._default[name] and len(versions) > 1:
                raise DefaultVersion(f"Cannot remove default version for model {name}")
            gone = versions.pop(number)
            self._traffic[name] = self._traffic[name].without(number)
            if not versions:
                del self._versions[name], self._default[name], self._traffic[name]
            self._publish(name)
        finished = gone.end(float(self._defaults.unregister_timeout))
        remove_unpacked(gone.facts.archive.directory)
        if gone.facts.fetched is not None:
            remove_fetched(gone.facts.fetched)
        if not finished:
            raise CleaningTimedOut(name)

    def find(self, name: str, version: str | None = None) -> ServedVersion:
        """The version of that number, or the default one. Raises ModelNotFound, VersionNotFound."""
        with self._lock:
            number = self._number(name, version)
            return self._versions[name][number]

    def versions(self, name: str) -> list[ServedVersion]:
        """In the order in which they came. Raises ModelNotFound."""
        with self._lock:
            if name not in self._versions:
                raise ModelNotFound(name)
            return list(self._versions[name].values())

    def set_default(self, name: str, version: str) -> None:
        """Raises Refusal."""
        with self._lock:
            if name not in self._versions:
                raise ModelNotFound(name)
            if version not in self._versions[name]:
                raise VersionNotFound(f"Model version {version} does not exist for model {name}")
            self._default[name] = version
            self._publish(name)

    def traffic(self, name: str) -> Traffic:
        """How requests that name no version are dealt out. Raises ModelNotFound."""
        with self._lock:
            if name not in self._versions:
                raise ModelNotFound(name)
            return self._traffic[name]

    def set_traffic(self, name: str, traffic: Traffic) -> None:
        """Raises ModelNotFound."""
        with self._lock:
            if name not in self._versions:
                raise ModelNotFound(name)
            self._traffic[name] = traffic
            self._publish(name)

    def change_traffic(self, name: str, asked: Mapping[str, str]) -> Traffic:
        """As changed_traffic; returns what holds from now on. Raises ModelNotFound, VersionNotFound, BadRequest."""
        with self._lock:
            if name not in self._versions:
                raise ModelNotFound(name)
            traffic = self._traffic[name] = changed_traffic(name, self._traffic[name], asked, self._versions[name])
            self._publish(name)
            return traffic

    def default_versions(self) -> dict[str, ServedVersion]:
        """Of all models, by their names in order."""
        with self._lock:
            return {name: self._versions[name][self._default[name]] for name in sorted(self._versions)}

    def is_ready(self) -> bool:
        """Whether every default version has the workers that it is to have."""
        return all(version.is_ready for version in self.default_versions().values())

    def kept(self) -> dict[str, KeptModel]:
        """Everything that a state file keeps."""
        with self._lock:
            return {
                name: KeptModel(self._default[name], self._traffic[name], dict(versions))
                for name, versions in self._versions.items()
            }

    def served(self) -> list[tuple[str, str, ModelVersion]]:
        """Names, versions, and what the native core has of each."""
        return [(name, number, one.native) for name, kept in self.kept().items() for number, one in kept.versions.items()]

    def load_seconds(self) -> dict[str, float]:
        """Of the workers that have loaded their model, by the names that TorchServe has for them."""
        return {
            f"W-{worker.id}-{name}_{number}": worker.load_seconds
            for name, kept in self.kept().items()
            for number, version in kept.versions.items()
            for worker in version.workers
            if worker.is_ready and worker.load_seconds > 0
        }

    def close(self, seconds: float) -> None:
        """Ends all workers, after what they work on, and removes what was unpacked. No model comes any more."""
        with self._lock:
            self._is_closed = True
            all_of_them = [one for versions in self._versions.values() for one in versions.values()]
            self._versions.clear()
            self._default.clear()
            self._traffic.clear()
        closing = [threading.Thread(target=one.end, args=(seconds,)) for one in all_of_them]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join()
        self._unpacked.remove()

    def _find_archive(self, wanted: Registration) -> ArchiveFile:
        if wanted.is_downloaded and self._defaults.store is not None:
            # It was fetched before the server was started again, and still lies in the store.
            return find_archive(name_of(wanted.url), self._defaults.store)._replace(is_fetched=True)
        return find_archive(wanted.url, self._defaults.store, self._defaults.allowed_urls)

    def _add(self, version: ServedVersion) -> None:
        """Raises Duplicate, Stopping, and BadRequest for a share that it cannot have."""
        name, number = version.facts.name, version.facts.archive.version
        with self._lock:
            if self._is_closed:
                raise Stopping("the server is stopping, and takes no models any more")
            versions = self._versions.setdefault(name, {})
            if number in versions:
                raise Duplicate(f"Model version {number} is already registered for model {name}")
            traffic = self._traffic.get(name, Traffic())
            if versions and version.facts.registration.workers is None:  # who is restored has what was kept
                traffic = traffic.with_share(number, version.facts.settings.share, self._default[name])
            versions[number] = version
            self._default.setdefault(name, number)
            self._traffic[name] = traffic
            self._publish(name)

    def _publish(self, name: str) -> None:
        """With the lock: what is here is what requests get from now on."""
        versions = self._versions.get(name)
        if versions is None:
            self._models.remove(name)
            return
        traffic = self._traffic[name]
        self._models.set(
            name,
            {number: one.native for number, one in versions.items()},
            self._default[name],
            weights=dict(traffic.weights),
            sticky_by=traffic.sticky_by,
            shadow=traffic.shadow,
            shadow_share=traffic.shadow_share,
        )

    def _number(self, name: str, version: str | None) -> str:
        """With the lock."""
        if name not in self._versions:
            raise ModelNotFound(name)
        number = version or self._default[name]
        if number not in self._versions[name]:
            raise VersionNotFound(f"Model version: {number} does not exist for model: {name}")
        return number
