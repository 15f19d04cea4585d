"""Contenders in processes of their own, asked in turn: none shares a cache, an allocator or an interpreter with another."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

Build = Callable[..., dict[str, Callable[[], Any]]]


def _serve(pipe: Connection, build: Build, arguments: tuple[Any, ...]) -> None:
    jobs = build(*arguments)
    pipe.send(None)
    while (job := pipe.recv()) is not None:
        pipe.send(jobs[job]())


class Contender:
    """build(*arguments) runs in the new process and returns what it can be asked to do there, by name."""

    def __init__(self, build: Build, *arguments: Any) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(theirs, build, arguments), daemon=True)
        self._process.start()
        theirs.close()
        self._pipe.recv()

    def ask(self, job: str) -> Any:
        self._pipe.send(job)
        return self._pipe.recv()

    def stop(self) -> None:
        self._pipe.send(None)
        self._process.join()


def seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
