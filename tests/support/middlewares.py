"""A deployment in processes: embedding servers with a checkpoint, and a middleware before them."""

from __future__ import annotations

import re
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from persia.ctx import InferCtx
from persia.v1 import middleware_pb2 as pb
from persia.v1 import middleware_pb2_grpc as pb_grpc
from tests.support.servers import PATIENCE, EmbeddingServer, ServerProcess, free_port


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

    @contextmanager
    def context(self) -> Iterator[InferCtx]:
        """One that has the middleware do all of its lookups."""
        config = self.global_config.with_name("global_client.yml")
        config.write_text(yaml.safe_dump({"embedding_worker_config": {"clients_ask_shards": False}}))
        with InferCtx([self.address], global_config=config) as context:
            context.wait_for_serving(PATIENCE)
            yield context

    def lookups(self) -> int:
        """How many it has done. REQUIRES: it has `--metrics-port 0`."""
        url = re.search(r"metrics on (\S+)\n", self.log())
        assert url is not None
        with urllib.request.urlopen(url[1], timeout=PATIENCE) as response:
            count = re.search(r"^persia_forward_seconds_count (\d+)", response.read().decode(), re.MULTILINE)
        assert count is not None
        return int(count[1])

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
