"""A plugin of pytest that says which files take the most processor time: `make test ARGS='-p tests.support.processor_times'`.

What a process takes counts for the test in which its end is noticed. A server that a folder shares counts for its last test.
"""

from __future__ import annotations

import resource
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.places import ROOT

MOST = 40  # files that are named
SECONDS: defaultdict[str, float] = defaultdict(float)  # of each file, in this process


def used() -> float:
    """Processor time of this process, and of those that it started and that have ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    before = used()
    result = yield
    SECONDS[str(item.path.relative_to(ROOT))] += used() - before
    return result


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):  # one of the processes that xdist has run the tests
        session.config.workeroutput["processor_seconds"] = dict(SECONDS)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    for file, seconds in getattr(node, "workeroutput", {}).get("processor_seconds", {}).items():
        SECONDS[file] += seconds


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.section(f"processor time: {sum(SECONDS.values()):.0f} s in {len(SECONDS)} files")
    for file, seconds in sorted(SECONDS.items(), key=lambda item: -item[1])[:MOST]:
        terminalreporter.write_line(f"{seconds:6.1f} s  {file}")
