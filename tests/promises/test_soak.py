"""The soak for one change of each kind; `make soak` runs it for an hour, and looks at the memory as well."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from tests.support.soak import Soak
from tests.support.soak_samples import ALLOWED_BYTES, Sample, growth


def test_nothing_is_lost_while_models_are_swapped_and_scaled_and_workers_die(tmp_path: Path) -> None:
    soak = Soak(tmp_path)
    try:
        soak.begin(1.0)
        changes = list(islice(soak.changes(), 4))
        soak.end()
    finally:
        soak.close()
    assert changes == ["swaps", "kills", "scalings", "failures"]
    assert soak.problems() == []
    assert sum(interval.answered for interval in soak.intervals) > 100


def test_growth_is_seen_and_a_warm_up_is_not_taken_for_it() -> None:
    level = Sample(0.0, 100 << 20, 20, 30, 4)
    growing = [level._replace(memory=level.memory + number * (1 << 20), files=30 + number // 4) for number in range(20)]
    assert growth(growing) == [
        f"memory grew by 11.0 MiB, and may by {ALLOWED_BYTES >> 20}",
        "files: 31 became 34",
    ]
    assert growth([level._replace(memory=10 << 20), level._replace(threads=2), *[level] * 18]) == []
    assert growth(growing[:5]) == []
