"""What a process holds from time to time, and whether that has grown."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Sequence
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

__all__ = ["Sample", "growth", "sample_of"]

WARM_UP = 0.2  # of the samples, which are left out
ALLOWED_BYTES = 4 << 20  # that its memory may grow by: what an allocator scatters


class Sample(NamedTuple):
    """At one moment, at which nothing is being changed."""

    seconds: float  # since the beginning
    memory: int  # bytes that are resident
    threads: int
    files: int
    left: int  # files and directories below its temporary directory


def sample_of(pid: int, seconds: float, temporary: Path) -> Sample:
    """REQUIRES: the process is there."""
    process = Path(f"/proc/{pid}")
    return Sample(
        seconds,
        int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"),
        len(list((process / "task").iterdir())),
        len(list((process / "fd").iterdir())),
        sum(1 for _ in temporary.rglob("*")),
    )


def growth(samples: Sequence[Sample]) -> list[str]:
    """What has grown between the first and the last third, in words; the beginning is left out.

    Medians are compared, so that a moment of another kind among them says nothing. Fewer than six samples say nothing at all.
    """
    counted = samples[int(len(samples) * WARM_UP) :]
    third = len(counted) // 3
    if third < 2:
        return []
    first, last = counted[:third], counted[-third:]
    found = []
    memory = _median(last, attrgetter("memory")) - _median(first, attrgetter("memory"))
    if memory > ALLOWED_BYTES:
        found.append(f"memory grew by {memory / 2**20:.1f} MiB, and may by {ALLOWED_BYTES >> 20}")
    for name in ("threads", "files", "left"):
        before, after = (_median(part, attrgetter(name)) for part in (first, last))
        if after > before:
            found.append(f"{name}: {before:g} became {after:g}")
    return found


def _median(samples: Sequence[Sample], of: Callable[[Sample], float]) -> float:
    return statistics.median(of(sample) for sample in samples)
