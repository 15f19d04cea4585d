"""Holds a piece of a test to a budget of memory."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from persia._core import Layer, Table


@contextmanager
def memory_budget(megabytes: int) -> Iterator[None]:
    """Lets this process ask for that much more address space, touched or not; beyond it an allocation raises MemoryError."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (megabytes << 20), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def fail_a_fold(table: Table, put: Callable[[Layer], None], signs: npt.NDArray[np.uint64]) -> None:
    """Puts a layer of ones, for which there is just memory, into a table that has none left to fold it."""
    for megabytes in (1, 1, 1, 2, 2):
        layer = Layer()
        layer.put(signs, np.ones((len(signs), 4), np.float32))
        with memory_budget(megabytes):
            try:
                put(layer)
            except MemoryError:  # where the heap lies, and so what is free in it, is chance
                continue
            while table.status().fold_error is None:
                table.wait_folded(0.01)
            break
