"""Holds what makes this room fast: its tests start no process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

_STARTS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system"}
_here = False  # an audit hook stays for good, and tests of other rooms may follow


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if _here and event in _STARTS:
        pytest.fail(f"a test of tests/unit starts a process ({event}: {arguments[0]}): its room is tests/process")


sys.addaudithook(_refuse)


@pytest.fixture(autouse=True, scope="package")
def _no_process() -> Iterator[None]:
    global _here
    _here = True
    yield
    _here = False
