"""An embedding server whose checkpoint and packets are in an object store."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.support.golden import GOLDEN
from tests.support.s3_servers import S3Server
from tests.support.servers import EmbeddingServer

CONFIG = GOLDEN / "mix" / "embedding_config.yml"
SIGNS = np.arange(1, 500, dtype=np.uint64)


def server_of(directory: Path, s3: S3Server, name: str, **settings: object) -> EmbeddingServer:
    return EmbeddingServer(
        directory,
        CONFIG,
        checkpoint=s3.url(f"{name}/checkpoint"),
        incremental_dir=s3.url(f"{name}/packets"),
        settings={"local_buffer_dir": str(directory / "buffer"), "storage_poll_ms": 50, **settings},
        arguments=["--metrics-port", "0"],
    )
