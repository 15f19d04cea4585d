"""An embedding server whose checkpoint and packets are in an object store serves as one with directories does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from persia.writers import IncrementalDumper, write_checkpoint
from tests.support.golden import GOLDEN
from tests.support.seaweeds import Seaweed
from tests.support.servers import EmbeddingServer, wait_until
from tests.support.uploads import upload
from tests.support.written import block

CONFIG = GOLDEN / "mix" / "embedding_config.yml"
SIGNS = np.arange(1, 500, dtype=np.uint64)


def server_of(directory: Path, seaweed: Seaweed, name: str, **settings: object) -> EmbeddingServer:
    return EmbeddingServer(
        directory,
        CONFIG,
        checkpoint=seaweed.url(f"{name}/checkpoint"),  # type: ignore[arg-type]
        incremental_dir=seaweed.url(f"{name}/packets"),  # type: ignore[arg-type]
        settings={"local_buffer_dir": str(directory / "buffer"), "storage_poll_ms": 50, **settings},
        arguments=["--metrics-port", "0"],
    )


@pytest.mark.parametrize("epochs", [False, True], ids=["packets", "epochs"])
def test_checkpoint_and_packets_are_served(tmp_path: Path, seaweed: Seaweed, epochs: bool) -> None:
    name = f"served-{epochs}"
    write_checkpoint(tmp_path / "checkpoint", [block(SIGNS)], shards=2, files_per_shard=2)
    upload(seaweed.store(f"{name}/checkpoint"), tmp_path / "checkpoint")
    local = server_of_directory(tmp_path, tmp_path / "checkpoint")
    with server_of(tmp_path, seaweed, name, enable_epochs=epochs) as server, local:
        server.wait_ready()
        assert server.rows(SIGNS, 2)[0].tolist() == [[1.0, 1.0]] * len(SIGNS)
        assert server.status().checkpoint == seaweed.url(f"{name}/checkpoint")
        assert server.status().checkpoint_id == local.wait_ready().status().checkpoint_id
        with IncrementalDumper(tmp_path / "written") as dumper:
            dumper.commit(*block(SIGNS[:3], 2.0))
            packet = dumper.flush()
        assert packet is not None
        upload(seaweed.store(f"{name}/packets"), packet, f"s0/{packet.name}")
        wait_until(lambda: server.rows(SIGNS, 2)[0][:4, 0].tolist() == [2.0, 2.0, 2.0, 1.0], "the packet is served")
        asked = dict(server.metrics(r'persia_storage_requests_total\{.*verb="(\w+)"\} (\S+)'))
        assert asked.keys() >= {"list", "read"}
        assert list((tmp_path / "buffer").glob("persia-fetched-*/fetched-*")) == []
        server.terminate()


def server_of_directory(directory: Path, checkpoint: Path) -> EmbeddingServer:
    return EmbeddingServer(directory / "local", CONFIG, checkpoint=checkpoint)
