"""Embedding servers and a middleware in the test's own process: they speak gRPC as the programs do, and start at once."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from persia import _core
from persia.config import load_embedding_config
from persia.ctx import InferCtx
from persia.embedding_server.options import ShardOptions
from persia.embedding_server.service import EmbeddingService
from persia.embedding_server.shard import ShardServer
from persia.middleware.metrics import SECONDS
from persia.middleware.service import MiddlewareService
from persia.routing.lookup import RouterOptions
from persia.routing.router import Router
from persia.serving.runner import Service
from persia.serving.server import Server
from tests.support.servers import PATIENCE

THROUGH_MIDDLEWARE = RouterOptions(clients_ask_shards=False)


class LocalDeployment(ExitStack):
    """`count` shards of a checkpoint and a middleware; all end with the `with`."""

    def __init__(self, model: Path, count: int, checkpoint: str = "ckpt", *, storage: str = "f32") -> None:
        super().__init__()
        self.embedding_config = model / "embedding_config.yml"
        config = load_embedding_config(self.embedding_config)
        self.addresses = [
            self._serve_shard(ShardOptions(index, count, model / checkpoint, storage=storage)) for index in range(count)
        ]
        router = Router(config, [[address] for address in self.addresses], RouterOptions())
        self.callback(router.close)
        self.middleware = self._serve(MiddlewareService(router, _core.net.ForwardCounts(SECONDS), config))

    def _serve_shard(self, options: ShardOptions) -> str:
        shard = ShardServer(options)
        self.callback(shard.stop)
        shard.load()
        return self._serve(EmbeddingService(shard))

    def _serve(self, service: Service) -> str:
        server = Server([])
        service.add_to(server)
        address = server.listen("127.0.0.1:0")
        server.start()
        self.callback(server.stop, 0)
        return address

    def direct(self) -> InferCtx:
        """A context that asks the shards itself."""
        return self._ready(InferCtx([[address] for address in self.addresses], embedding_config=self.embedding_config))

    def forwarded(self) -> InferCtx:
        """A context that has the middleware do all of its lookups."""
        return self._ready(InferCtx([self.middleware], options=THROUGH_MIDDLEWARE))

    def _ready(self, context: InferCtx) -> InferCtx:
        context = self.enter_context(context)
        context.wait_for_serving(PATIENCE)
        return context
