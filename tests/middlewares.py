"""A deployment in processes: embedding servers with a checkpoint, and a middleware before them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml
from servers import PATIENCE, EmbeddingServer, ServerProcess, free_port

from persia.v1 import middleware_pb2 as pb
from persia.v1 import middleware_pb2_grpc as pb_grpc


class Middleware(ServerProcess[pb.MiddlewareStatusResponse]):
    """A middleware before embedding servers."""

    def __init__(
        self,
        directory: Path,
        embedding_config: Path,
        servers: Sequence[str | Sequence[str]],
        *,
        settings: dict[str, Any] | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.global_config = directory / "global_middleware.yml"
        listed = [server if isinstance(server, str) else list(server) for server in servers]
        self.global_config.write_text(
            yaml.safe_dump(
                {"common_config": {"infer_config": {"servers": listed}}, "embedding_worker_config": dict(settings or {})}
            )
        )
        command = [sys.executable, "-m", "persia.middleware", "--port", "0", "--global-config", str(self.global_config)]
        super().__init__(directory / "middleware.log", [*command, "--embedding-config", str(embedding_config), *arguments])

    @property
    def stub(self) -> pb_grpc.MiddlewareStub:
        return pb_grpc.MiddlewareStub(self.channel)

    def ask_status(self) -> pb.MiddlewareStatusResponse:
        response: pb.MiddlewareStatusResponse = self.stub.Status(
            pb.MiddlewareStatusRequest(), timeout=PATIENCE, wait_for_ready=True
        )
        return response


class Deployment(ExitStack):
    """`count` shards of a checkpoint and a middleware; all end with the `with`."""

    def __init__(
        self,
        directory: Path,
        model: Path,
        count: int,
        checkpoint: str = "ckpt",
        arguments: Sequence[str] = (),
        ports: bool = False,
    ) -> None:
        """ports: each process gets a port of its own that it has again when it is started anew."""

        def port() -> list[str]:
            return ["--port", str(free_port())] if ports else []

        super().__init__()
        self.embedding_config = model / "embedding_config.yml"
        self.shards = [
            self.enter_context(
                EmbeddingServer(
                    directory,
                    self.embedding_config,
                    checkpoint=model / checkpoint,
                    index=index,
                    count=count,
                    arguments=port(),
                )
            )
            for index in range(count)
        ]
        self.addresses = [shard.address for shard in self.shards]
        self.middleware = self.enter_context(
            Middleware(directory, self.embedding_config, self.addresses, arguments=[*port(), *arguments])
        )
