"""Hypothesis without deadlines; where CI is set, with the same examples in every run. Signals as a terminal leaves them.

With --without-whole-ways, files of whole ways are left out, and the summary names them.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

from tests.support.places import ROOT
from tests.support.whole_ways import left_out_text, whole_ways

# In the background of a shell, or under nohup, these are ignored, also by all that the tests start and then send one.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda number, frame: None)

# torch's threads wait for each other's work asleep: awake they take what other tests need of two processors.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

settings.register_profile("here", deadline=None)
settings.register_profile("commit", deadline=None, max_examples=25)  # of `make test`; tests/support/examples.py
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")

LEFT_OUT = pytest.StashKey[list[Path]]()
SHARING = "tests/process/torchserve/"
# Folders whose tests wait for a TorchServe, or train, come first, so that no process is left with one at the end.
SLOW = ("torchserve", "handlers", "models", "deployment", "project", "factory", "export")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--without-whole-ways", action="store_true", help="leave out files marked whole_way that are not named")


def pytest_configure(config: pytest.Config) -> None:
    named = [config.invocation_params.dir / argument.partition("::")[0] for argument in config.args]
    config.stash[LEFT_OUT] = whole_ways(named) if config.getoption("without_whole_ways") else []


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return True if collection_path in config.stash[LEFT_OUT] else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if left_out := config.stash[LEFT_OUT]:
        terminalreporter.section(f"left out, files of whole ways, which `make test-all` runs: {len(left_out)}")
        for line in left_out_text(left_out):
            terminalreporter.write_line(line)


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
