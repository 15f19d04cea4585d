"""Servers that many tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from persia.ctx import InferCtx
from tests.support.middlewares import Deployment
from tests.support.servers import PATIENCE
from tests.support.shared_classes import JAVA_OPTIONS
from tests.support.torchserves import MIX

os.environ.setdefault("JDK_JAVA_OPTIONS", JAVA_OPTIONS)


@pytest.fixture(scope="session")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Two shards of golden/mix and a middleware with metrics. Tests ask them, and leave them as they are."""
    with Deployment(tmp_path_factory.mktemp("deployment"), MIX, 2, arguments=["--metrics-port", "0"]) as started:
        started.middleware.wait_ready()
        yield started


@pytest.fixture
def contexts(deployment: Deployment) -> Iterator[list[InferCtx]]:
    """Through the middleware, and routing by itself."""
    with (
        deployment.middleware.context() as forwarded,
        InferCtx(deployment.addresses, embedding_config=deployment.embedding_config) as direct,
    ):
        direct.wait_for_serving(PATIENCE)
        yield [forwarded, direct]
