"""What the log says of a server whose answers are not wanted."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from persia.config import load_embedding_config
from persia.routing.lookup import RouterOptions
from persia.routing.router import Router
from tests.support.persia_packets import CONFIG, MIX
from tests.support.servers import EmbeddingServer, wait_until


def test_a_server_that_is_refused_is_not_called_ready(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with EmbeddingServer(tmp_path, CONFIG, checkpoint=MIX / "ckpt", index=1, count=2) as server:
        address = server.wait_ready().address
        router = Router(load_embedding_config(CONFIG), [[address]], RouterOptions())
        try:
            (replica,) = router.shards[0].replicas
            wait_until(lambda: replica.health.refused, "it is refused")
            for _ in range(3):
                replica.suspect(replica.generation, "a connection was lost")
                wait_until(lambda: replica.health.ready, "it was asked once more")
        finally:
            router.close()
    said = [record.getMessage() for record in caplog.records if record.name == "persia.rpc.prober"]
    assert [text for text in said if text.endswith("is ready")] == []
    assert said[0] == f"{address} is not used: expected shard 0 of 1, got shard 1 of 2"


def test_a_server_that_is_refused_no_more_is_called_ready(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with EmbeddingServer(tmp_path, CONFIG, checkpoint=MIX / "ckpt", index=0, count=2) as server:
        known: set[int] = set()
        address = server.wait_ready().address
        router = Router(load_embedding_config(CONFIG), [[address]] * 2, RouterOptions(), known)
        try:
            first, second = [shard.replicas[0] for shard in router.shards]
            known.add(server.status().server_start)
            wait_until(lambda: first.usable and second.health.refused, "one is used, and one refused")
        finally:
            router.close()
    said = [record.getMessage() for record in caplog.records if record.name == "persia.rpc.prober"]
    assert said.count(f"{address} is ready") == 1
