"""Servers that follow epochs, and routers that ask them, for histories of answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner

from persia.embedding_server.tools.epochs import epochs as epochs_command
from persia.routing.lookup import RouterOptions
from persia.routing.router import Router
from persia.writers import write_checkpoint
from tests.support.epoch_rows import CHECKPOINT_VALUE, CONFIG, CONFIG_TEXT, DIM, IDS, SIGNS, EpochOracle, EpochTrainer
from tests.support.servers import EmbeddingServer, free_port, wait_until

PATIENT = RouterOptions(wait_for_shard=30.0)  # nothing but a fault makes a lookup of theirs fail, however slow the machine is


class EpochDeployment:
    """Shards of one checkpoint, with replicas that keep their ports, and a trainer of their packets."""

    def __init__(
        self,
        directory: Path,
        stack: ExitStack,
        *,
        replicas: Sequence[int] = (1, 2),
        settings: dict[str, Any] | None = None,
    ) -> None:
        """replicas: how many each shard has. stack: ends the servers."""
        self.packets = directory / "packets"
        self.packets.mkdir(parents=True)
        self.config = directory / "embedding_config.yml"
        self.config.write_text(CONFIG_TEXT)
        self.checkpoint = directory / "checkpoint"
        blocks = [(SIGNS, np.full((IDS, DIM), CHECKPOINT_VALUE, np.float32))]
        write_checkpoint(self.checkpoint, blocks, shards=len(replicas))
        self.shards = [
            [
                stack.enter_context(
                    EmbeddingServer(
                        directory / f"{index}-{replica}",
                        self.config,
                        checkpoint=self.checkpoint,
                        incremental_dir=self.packets,
                        index=index,
                        count=len(replicas),
                        settings={"enable_epochs": True} | (settings or {}),
                        arguments=["--port", str(free_port())],
                    )
                )
                for replica in range(count)
            ]
            for index, count in enumerate(replicas)
        ]
        self.servers = [server for servers in self.shards for server in servers]
        for server in self.servers:
            server.wait_ready()
        self.trainer = EpochTrainer(self.packets)

    @property
    def addresses(self) -> list[list[str]]:
        return [[server.address for server in servers] for servers in self.shards]

    def wait_for_epoch(self, epoch: int, *servers: EmbeddingServer) -> None:
        """Until these servers, or all, have it."""
        wait_until(lambda: all(one.status().epoch >= epoch for one in servers or self.servers), f"epoch {epoch} is built")

    def newest(self) -> int:
        """The newest epoch that is committed."""
        return len(self.oracle().records())

    def oracle(self) -> EpochOracle:
        return EpochOracle(self.trainer)

    def run(self, *arguments: str) -> str:
        """`persia-launcher epochs` with the directory of packets after the first argument; returns what it says."""
        result = CliRunner().invoke(epochs_command, [arguments[0], str(self.packets), *arguments[1:]])
        assert result.exit_code == 0, result.output
        return result.output


@contextmanager
def routers_of(deployment: EpochDeployment, count: int) -> Iterator[list[Router]]:
    """Routers that can use all servers."""
    routers = [Router(CONFIG, deployment.addresses, PATIENT) for _ in range(count)]
    try:
        for router in routers:
            wait_until(lambda: not router.missing(), "all can be used")  # noqa: B023
        yield routers
    finally:
        for router in routers:
            router.close()
