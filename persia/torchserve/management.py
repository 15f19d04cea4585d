"""TorchServe's management service without its surprises."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

import grpc

from persia.errors import DeadlineExceeded, InvalidInput, NotFound, PersiaError
from persia.rpc.grpcio import GrpcioSecurity
from persia.torchserve.model import Model, model_of
from persia.torchserve.schema import management_call, new_message, open_channel
from persia.torchserve.state import StateDirectory
from persia.torchserve.status import torchserve_error
from persia.torchserve.tokens import Tokens

__all__ = ["Management", "Model"]

POLL_SECONDS = 0.05

# Registering starts workers, which import torch and load the model; so it may take long where other calls do not.
REGISTER_SECONDS = 150.0

# Between a version's being listed and its getting workers.
WORKERLESS_SECONDS = 1.0

# TorchServe lists a version once its archive is unpacked, also one for which nobody waits any more.
APPEAR_SECONDS = 10.0


class Management:
    """Calls of the management service at `host:port`. Each ends within `timeout` seconds; safe for use by many threads.

    What is changed outlives a restart of TorchServe if our launcher started it. With the launcher's own key file, on its
    machine, a change is noted when the call returns; else half a second later.
    """

    def __init__(
        self,
        address: str,
        tokens: Tokens | None = None,
        timeout: float = 10.0,
        page: int = 100,
        security: GrpcioSecurity | None = None,
    ) -> None:
        """page: how many models are listed at once; TorchServe takes 0 for none. security: None: plain text."""
        self._page = page
        self._channel = open_channel(address, security=security)
        self._encrypts = security is not None and security.encrypts
        self._tokens = tokens or Tokens()
        self._timeout = timeout
        self.state = StateDirectory(self._tokens.file) if self._tokens.file is not None else None

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Management:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def list(self) -> Sequence[Model]:
        """Every version of every model, by name, the default version first."""
        names: list[str] = []
        page = 0
        while True:
            answer = json.loads(self._call("ListModels", limit=self._page, next_page_token=page))
            names += [entry["modelName"] for entry in answer["models"]]
            page = int(answer.get("nextPageToken") or 0)
            if not page:
                break
        return [model for name in sorted(names) for model in self._if_still_there(name)]

    def describe(self, name: str, version: str | None = None) -> Sequence[Model]:
        """All versions of a model, the default first; or the one that is asked for. Raises NotFound."""
        entries = json.loads(self._call("DescribeModel", model_name=name, model_version="all"))
        if not entries:  # its last version has gone, and TorchServe has not forgotten its name yet
            raise NotFound(f"Model not found: {name}")
        default = entries[0]["modelVersion"]
        if len(entries) > 1:
            default = json.loads(self._call("DescribeModel", model_name=name))[0]["modelVersion"]
        models = [model_of(entry, default) for entry in entries]
        if version is not None:
            models = [model for model in models if model.version == version]
            if not models:
                raise NotFound(f"Model version: {version} does not exist for model: {name}")
        return sorted(models, key=lambda model: (not model.is_default, model.version))

    def default(self, name: str) -> Model:
        """The version that requests without a version get. Raises NotFound."""
        return self.describe(name)[0]

    def register(
        self, archive: str, name: str | None = None, workers: int | None = None, timeout: float = REGISTER_SECONDS
    ) -> Model:
        """Registers an archive of the model store by its file name, and waits until all its workers are READY.

        The first version of a model becomes its default. workers: None for as many as the archive says, or 1.
        A version whose workers cannot start, or that nobody waits for any more, is taken away again: TorchServe itself would
        keep it, maybe without workers, and would refuse to register it once more. Raises PersiaError, DeadlineExceeded.
        """
        if "/" in archive or not archive:
            raise InvalidInput(f"expected the name of a file in TorchServe's model store, got {archive!r}")
        end = time.monotonic() + timeout
        before, ours = self._registered(), True
        fields: dict[str, Any] = {"model_name": name} if name else {}
        fields |= {"url": archive, "initial_workers": workers or 1, "synchronous": True}
        try:
            try:
                self._call("RegisterModel", timeout, **fields)
            except PersiaError as error:
                if "without a reason" not in str(error):
                    raise
                ours = False  # what is there was before, or was somebody else's meanwhile
                self._forget_zombie(archive)
                before, ours = self._registered(), True
                self._call("RegisterModel", end - time.monotonic(), **fields)
            (added,) = self._added(archive, before)
            if workers is not None and added.min_workers != workers:  # what the archive says goes before initial_workers
                model = self._scale(added.name, added.version, workers, workers, end - time.monotonic())
            else:
                model = self.wait_ready(added.name, added.version, end - time.monotonic())
        except BaseException as error:  # an interrupt, too: TorchServe goes on without us
            refused = isinstance(error, PersiaError) and not isinstance(error, DeadlineExceeded)
            if ours:
                with suppress(PersiaError):  # what went wrong first is what counts
                    self._take_back(archive, before, 0.0 if refused else APPEAR_SECONDS)
            if "Failed to start workers" in str(error):
                raise PersiaError(
                    f"{archive}: {error}: the worker's traceback is in the server's log (model_log.log)"
                ) from error
            raise
        self._note()
        return model

    def unregister(self, name: str, version: str | None = None) -> None:
        """Removes a version, by default the default one if it is the last.

        Calls that are running or queued for it are lost: TorchServe never answers them. See client.swap for a way without
        loss. One that could not be restored is no longer wanted. Raises NotFound, PersiaError.
        """
        try:
            models = self.describe(name)
            if version is not None:
                self.describe(name, version)
        except NotFound:
            if version is not None and self._note((name, version)):
                return
            raise
        if version is None and len(models) == 1:
            version = models[0].version
        if version is None:
            raise PersiaError(f"{name} has versions {_versions(models)}: say which one to unregister")
        if len(models) > 1 and version == models[0].version:
            raise PersiaError(f"{name} {version} is the default: make another of {_versions(models)} the default first")
        self._call("UnregisterModel", model_name=name, model_version=version)
        self._note()

    def forget(self, name: str, version: str) -> None:
        """Unregisters what a failed registration may have left; whether it was there does not matter."""
        with suppress(NotFound):
            self._call("UnregisterModel", model_name=name, model_version=version)
        self._note()

    def set_default(self, name: str, version: str) -> None:
        """Makes a version that can answer the default. Raises NotFound, PersiaError if not all of its workers are READY."""
        (model,) = self.describe(name, version)
        if not model.all_ready:
            raise PersiaError(f"{name} {version} has {model.ready} of {model.min_workers} workers READY: not made the default")
        self._call("SetDefault", model_name=name, model_version=version)
        self._note()

    def scale(
        self,
        name: str,
        workers: int,
        version: str | None = None,
        timeout: float = REGISTER_SECONDS,
        most: int | None = None,
    ) -> Model:
        """Sets the number of workers, at least 1, and waits until they are READY. Raises NotFound, DeadlineExceeded.

        most: TorchServe's maxWorkers, if not as many. Scaling down moves a running request to another worker, or loses it.
        """
        model = self._scale(name, version or self.default(name).version, workers, most or workers, timeout)
        self._note()
        return model

    def _scale(self, name: str, version: str, workers: int, most: int, timeout: float) -> Model:
        self.set_workers(name, version, workers, most)
        return self.wait_ready(name, version, timeout, lambda model: model.min_workers == workers <= len(model.workers) <= most)

    def set_workers(self, name: str, version: str, workers: int, most: int) -> None:
        """As scale, but waits for nothing."""
        if workers < 1:
            raise InvalidInput(f"expected at least 1 worker (TorchServe makes 0 a 1 over gRPC), got {workers}")
        self._call("ScaleWorker", model_name=name, model_version=version, min_worker=workers, max_worker=most)

    def _note(self, forget: tuple[str, str] | None = None) -> bool:
        """Whether forget was wanted. See StateDirectory.note."""
        return self.state is not None and self.state.note(forget)

    def wait_ready(
        self, name: str, version: str | None, timeout: float, also: Callable[[Model], bool] = lambda model: True
    ) -> Model:
        """Until all workers of a version are READY. Raises NotFound, and DeadlineExceeded with what they are instead."""
        end = time.monotonic() + timeout
        while True:
            model = self.describe(name, version)[0]
            if model.all_ready and also(model):
                return model
            if time.monotonic() > end:
                states = ", ".join(str(worker.get("status")) for worker in model.workers) or "no workers"
                raise DeadlineExceeded(
                    f"{name} {model.version}: expected {max(model.min_workers, 1)} workers READY within {timeout:.0f} s, "
                    f"got {states}; model_log.log has the traceback"
                )
            time.sleep(POLL_SECONDS)

    def _registered(self) -> set[tuple[str, str]]:
        return {(model.name, model.version) for model in self.list()}

    def _added(self, archive: str, before: set[tuple[str, str]]) -> Sequence[Model]:
        return [model for model in self.list() if model.archive == archive and (model.name, model.version) not in before]

    def _take_back(self, archive: str, before: set[tuple[str, str]], seconds: float) -> None:
        """Unregisters what was added, once it is there, which may take so long."""
        end = time.monotonic() + seconds
        while not (added := self._added(archive, before)) and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
        for model in added:
            self.forget(model.name, model.version)

    def _forget_zombie(self, archive: str) -> None:
        """What a registration left that failed at someone else's hands. Raises PersiaError if there is none."""
        end = time.monotonic() + WORKERLESS_SECONDS
        while True:
            there = [model for model in self.list() if model.archive == archive]
            if all(model.max_workers > 0 for model in there) or time.monotonic() > end:
                break
            time.sleep(POLL_SECONDS)
        which = f"{there[0].name} --version {there[0].version}" if there else "NAME --version V"
        for model in there:
            if model.max_workers > 0:
                break
            self.forget(model.name, model.version)
        else:
            if there:
                return
        raise PersiaError(
            f"{archive}: TorchServe gave no reason; most likely this version of the model is registered already, and a version "
            "cannot be replaced: give the archive another one. If an attempt that was cut off has left it: persia-launcher "
            f"manage unregister {which}"
        )

    def _if_still_there(self, name: str) -> Sequence[Model]:
        try:
            return self.describe(name)
        except NotFound:
            return []

    def _call(self, method: str, seconds: float | None = None, **fields: Any) -> str:
        request = new_message(f"{method}Request", **fields)
        timeout = self._timeout if seconds is None else max(seconds, 0)
        end = time.monotonic() + timeout
        try:
            answer = management_call(self._channel, method)(
                request, timeout=timeout, metadata=self._tokens.metadata("management")
            )
        except grpc.RpcError as error:
            raise torchserve_error(error, request.ByteSize(), end, self._encrypts) from None
        return str(answer.msg)


def _versions(models: Sequence[Model]) -> str:
    return ", ".join(model.version for model in models)
