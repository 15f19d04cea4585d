"""A TorchServe that is ready, looked at again and again: what was changed is noted, and health checks are told."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from persia.errors import PersiaError
from persia.torchserve.management import Management
from persia.torchserve.model import Model
from persia.torchserve.run.health import Health
from persia.torchserve.run.process import TorchServe
from persia.torchserve.run.store import with_checksums
from persia.torchserve.wanted import Version, Wanted, fitness, noted, write_wanted

__all__ = ["Watch"]

log = logging.getLogger("torchserve")

# Our own tools ask for a look when they have changed something. These are for what other clients change: a look costs the JVM
# some 20 ms of processor time, which requests would miss.
LOOK_SECONDS, LONGEST_SECONDS = 3.0, 10.0
SHARE = 10  # how much longer than a look the time between two is at least
# Whether the workers' processes live is looked at more often, as it costs nothing. While one is missing, TorchServe is asked as
# often.
WORKERS_SECONDS = 0.25
_ASKED_SECONDS = 5.0
_QUESTION_BYTES = 64 << 10


class Watch:
    """From the moment at which all models are as they are wanted, which is noted at once, to the end of `with`.

    lost: versions that are wanted, and could not be restored. Raises OSError on construction, if that cannot be written.
    """

    def __init__(self, server: TorchServe, wanted: Wanted, lost: Mapping[tuple[str, str], Version], health: Health) -> None:
        self._server, self._health, self._lost = server, health, dict(lost)
        self._wanted = wanted
        self._workers: Sequence[int] = ()  # processes that TorchServe named last; none while a model is not fit
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._management = Management(server.management_address, server.tokens())
        self._path = server.directories.models
        write_wanted(self._path, wanted)
        self._look(set())
        self._listener = self._listen()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._look_again, self._answer)]

    def __enter__(self) -> Watch:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Before TorchServe is asked to end: it unregisters all of its models then."""
        self._over.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()
        self._management.close()  # ends a look that waits for an answer
        for thread in self._threads:
            thread.join()

    def _look(self, forget: set[tuple[str, str]]) -> None:
        """Raises PersiaError if TorchServe does not say what it has, OSError if that cannot be written.

        Health is told that no model is fit if it is not known how they are.
        """
        with self._lock:
            if self._over.is_set():
                return
            try:
                seen = self._management.list()
            except Exception:
                if self._over.is_set():
                    return  # the channel is closed
                self._tell([])  # whatever it was, nobody knows how the models are
                raise
            for pair in forget:
                self._lost.pop(pair, None)
            there = {(model.name, model.version) for model in seen}
            for pair in self._lost.keys() & there:
                del self._lost[pair]  # somebody has brought its archive back, and registered it
            wanted = noted(self._wanted, seen, self._lost, whole=True)
            # TorchServe closes its listeners before it unregisters all of its models, and ends.
            if wanted != self._wanted and not self._server.listens():
                wanted = noted(self._wanted, seen, self._lost, whole=False)
            if wanted != self._wanted:
                wanted = with_checksums(wanted, self._server.options.model_store)
                write_wanted(self._path, wanted)
                self._wanted = wanted
            self._tell(seen)

    def _tell(self, seen: Sequence[Model]) -> None:
        seen = [_of_living_workers(model) for model in seen]
        fit = fitness(self._wanted, seen)
        self._health.tell(fit)
        ready = all(fit.values()) and all(model.all_ready for model in seen)
        self._workers = [int(worker["pid"]) for model in seen for worker in model.workers] if ready else ()

    def _workers_live(self) -> bool:
        return bool(self._workers) and all(Path(f"/proc/{pid}").exists() for pid in self._workers)

    def _look_again(self) -> None:
        said, took, begin = "", 0.0, time.monotonic()
        while not self._over.wait(WORKERS_SECONDS):
            # Where there are GPUs, TorchServe starts a process for each worker that it describes.
            pause = min(max(LOOK_SECONDS if self._workers_live() else WORKERS_SECONDS, SHARE * took), LONGEST_SECONDS)
            if time.monotonic() < begin + took + pause:
                continue
            begin = time.monotonic()
            try:
                self._look(set())
                said = ""
            except PersiaError:
                pass  # health has told it; TorchServe says the like while it ends
            except Exception as error:  # a fault of ours, too: once this thread had ended, health would be of the past
                if said != str(error):
                    said = str(error)
                    fault = None if isinstance(error, OSError) else error
                    log.error("the models that TorchServe has cannot be noted: %s", error, exc_info=fault)
            took = time.monotonic() - begin

    def _listen(self) -> socket.socket:
        path = self._server.directories.note_socket
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen()
        return listener

    def _answer(self) -> None:
        """Tools of this machine, one after the other."""
        while not self._over.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # it is over
            with connection, suppress(OSError, ValueError, TypeError):
                connection.settimeout(_ASKED_SECONDS)
                question = json.loads(connection.makefile("rb").read(_QUESTION_BYTES))
                pair = question["forget"]
                forget = {(str(pair[0]), str(pair[1]))} if pair else set()
                connection.sendall(json.dumps(self._noted(forget)).encode())

    def _noted(self, forget: set[tuple[str, str]]) -> dict[str, object]:
        known = any(pair in self._lost for pair in forget)
        try:
            self._look(forget)
        except Exception as error:  # whatever it is, the tool has to hear of it
            return {"problem": str(error) or repr(error), "known": known}
        return {"problem": "", "known": known}


def _of_living_workers(model: Model) -> Model:
    """TorchServe may call a worker READY that has died, until it next sends it a request."""
    dead = [worker for worker in model.workers if worker.get("status") == "READY" and not _lives(worker)]
    return replace(model, ready=model.ready - len(dead))


def _lives(worker: Mapping[str, Any]) -> bool:
    return Path(f"/proc/{worker['pid']}").exists()
