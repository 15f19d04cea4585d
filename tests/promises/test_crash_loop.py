"""The crash loop for a minute; `make crash-test` runs it for longer."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.support import crash_loop

pytestmark = pytest.mark.whole_way


def test_killed_servers_end_in_the_rows_of_the_packets(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}, directory {tmp_path}")  # pytest shows it with a failure
    print(crash_loop.run(tmp_path, kills=30, seed=seed, shards=2))


def test_killed_servers_with_epochs_end_in_the_rows_of_each(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}, directory {tmp_path}")
    print(crash_loop.run(tmp_path, kills=12, seed=seed, shards=2, epochs=True))
