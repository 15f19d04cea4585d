"""docs/storage.md: its code writes to a store what servers read."""

from __future__ import annotations

import re
from pathlib import Path

from persia.formats.checkpoint import open_checkpoint_at
from persia.formats.epoch_log import open_epoch_log
from persia.storage import place_of
from tests.support.places import ROOT
from tests.support.s3_servers import S3Server

[CODE] = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "storage.md").read_text(), re.DOTALL)


def test_the_code_writes_to_a_store(tmp_path: Path, s3: S3Server) -> None:
    s3.make_bucket("models")
    exec(CODE, {})
    assert open_checkpoint_at(place_of("s3://models/ctr/checkpoint"), tmp_path).marker.num_shards == 2
    log = open_epoch_log(place_of("s3://models/ctr/packets"))
    log.read()
    assert len(log.history.packets) == 1
