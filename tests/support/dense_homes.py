"""The homes of a dense model whose rows are of epochs: a TorchServe and a model server."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from persia.client.predict import Client
from persia.torchserve.management import Management
from persia.torchserve.tokens import Tokens
from tests.support.dense_pairs import MODEL, Judgement
from tests.support.dense_swaps import Home, Trainer, make_version, swap_pairs
from tests.support.epoch_deployments import EpochDeployment
from tests.support.middlewares import Middleware
from tests.support.model_servers import ModelServerRun
from tests.support.servers import PATIENCE
from tests.support.torchserves import TorchServeRun

# Gets a directory, the store, the archive to begin with, and the middleware's address.
Serve = Callable[[Path, Path, str, str], AbstractContextManager[Home]]


@contextmanager
def torchserve(directory: Path, store: Path, archive: str, middleware: str) -> Iterator[Home]:
    environment = {**os.environ, "EMBEDDING_WORKER_SERVICE": middleware}
    with (
        TorchServeRun(directory, store, ["--models", archive], environment) as run,
        run.wait_ready().management() as management,
    ):
        yield Home(lambda version: run.client(MODEL, version=version), management)


@contextmanager
def model_server(directory: Path, store: Path, archive: str, middleware: str) -> Iterator[Home]:
    environment = {"EMBEDDING_WORKER_SERVICE": middleware}
    with ModelServerRun(directory, store, "--models", archive, "--enable-model-api", environment=environment) as run:
        run.wait_ready()
        inference = run.places["grpc_inference"]
        with Management(run.places["grpc_management"], Tokens(), PATIENCE) as management:
            yield Home(lambda version: Client(MODEL, inference, version=version, timeout=PATIENCE), management)


HOMES: dict[str, Serve] = {"torchserve": torchserve, "model-server": model_server}


def judge_swaps(directory: Path, serve: Serve, swaps: int, packets_each: float) -> Judgement:
    """So many swaps at a home, beside two shards that get a packet each so many seconds."""
    store = directory / "store"
    with ExitStack() as stack:
        deployment = EpochDeployment(directory / "shards", stack, replicas=(1, 1))
        middleware = stack.enter_context(Middleware(directory / "middleware", deployment.config, deployment.addresses))
        middleware.wait_ready()
        trainer, archive = Trainer(deployment), make_version(store, 0)
        deployment.wait_for_epoch(trainer.commit("0.0"))
        home = stack.enter_context(serve(directory / "served", store, archive, middleware.address))
        stack.enter_context(trainer.working(packets_each))
        return swap_pairs(home, deployment, trainer, store, range(1, swaps + 1))
