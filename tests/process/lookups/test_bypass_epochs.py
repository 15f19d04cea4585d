"""Epochs of a context that asks the servers themselves, and in turn their middleware: they never fall."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from persia import _core
from persia.errors import Unavailable
from persia.routing.bypass import BypassRouter
from persia.routing.lookup import Lookup, RouterOptions
from tests.support.epoch_deployments import EpochDeployment
from tests.support.epoch_rows import BATCH
from tests.support.histories import numbers_of
from tests.support.middlewares import Middleware
from tests.support.servers import once_available, wait_until


def test_a_middleware_that_has_not_heard_of_an_epoch_is_not_asked_for_an_earlier_one(tmp_path: Path) -> None:
    """A shard comes back without the newest epoch: a packet of it is gone. Whoever has seen the epoch waits for it."""
    with ExitStack() as stack:
        deployment = EpochDeployment(tmp_path, stack, replicas=(1, 1))
        config, addresses = deployment.config, deployment.addresses
        middleware = stack.enter_context(Middleware(tmp_path / "middleware", config, addresses)).wait_ready()
        way = BypassRouter([middleware.address], RouterOptions())
        stack.callback(way.close)
        batch = _core.decode_batch(BATCH)

        def look(seconds: float = 30.0) -> Lookup:
            return way.lookup(batch, seconds)

        way.why_not_ready()  # connects
        wait_until(lambda: way._bypass is not None and not way._bypass.router.missing(), "the servers are asked directly")
        before = deployment.newest()
        packet = deployment.trainer.leave()
        deployment.wait_for_epoch(before + 1)
        wait_until(lambda: look().epoch == before + 1, "the epoch is in answers")

        away = tmp_path / packet.name
        packet.rename(away)
        deployment.servers[0].kill()
        deployment.servers[0].start()
        deployment.servers[0].wait_ready()
        assert deployment.servers[0].status().epoch == before

        def refused() -> str:
            with pytest.raises(Unavailable) as caught:
                look(10.0)
            return str(caught.value)

        # Until the middleware knows that the shard is back, it waits for it.
        wait_until(lambda: f"expected one that has epoch {before + 1}" in refused(), "the shard lacks the epoch")
        for _ in range(3):
            assert f"expected one that has epoch {before + 1}" in refused()
        away.rename(packet)
        deployment.wait_for_epoch(before + 1)
        again = once_available(look)
        assert again.epoch == before + 1 and numbers_of(again) == deployment.oracle().answer(before + 1)
