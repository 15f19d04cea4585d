"""Hypothesis without deadlines; where CI is set, with the same examples in every run. Signals as a terminal leaves them."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

from tests.support.places import ROOT

# In the background of a shell, or under nohup, these are ignored, also by all that the tests start and then send one.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda number, frame: None)

# torch's threads wait for each other's work asleep: awake they take what other tests need of two processors.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")

SHARING = "tests/process/torchserve/"
# Folders whose tests wait for a TorchServe, or train, come first, so that no process is left with one at the end.
SLOW = ("torchserve", "handlers", "models", "deployment", "project", "factory", "export")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ranks = {f"tests.process.{folder}": rank for rank, folder in enumerate(SLOW)}
    packages = {path: ".".join(path.parent.relative_to(ROOT).parts) for path in {item.path for item in items}}
    items.sort(key=lambda item: ranks.get(packages[item.path], len(SLOW)))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    """With `--dist loadfile`, a folder whose tests share a server is as one file."""
    return Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None


class Scheduling(LoadFileScheduling):  # type: ignore[misc]  # has no types
    def _split_scope(self, nodeid: str) -> str:
        path, _, _ = nodeid.partition("::")
        return SHARING if path.startswith(SHARING) else path
