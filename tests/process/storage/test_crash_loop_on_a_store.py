"""The crash loop for a few kills, with a bucket; `make crash-test STORE=s3` runs it for longer."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.support import crash_loop
from tests.support.s3_servers import S3Server

pytestmark = pytest.mark.whole_way


def test_killed_servers_end_in_the_rows_of_the_bucket(tmp_path: Path, s3: S3Server) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}, directory {tmp_path}")  # pytest shows it with a failure
    print(crash_loop.run(tmp_path, kills=4, seed=seed, shards=2, url=s3.url(f"crash-{seed}")))
