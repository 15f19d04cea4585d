"""A client asks for a variant at both homes of the handler, and the rows are the variant's."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from persia.errors import NotFound
from persia.writers import VariantCommitter
from tests.support.dense_homes import HOMES
from tests.support.dense_swaps import make_version
from tests.support.epoch_deployments import EpochDeployment
from tests.support.epoch_rows import BATCH, IDS, EpochOracle
from tests.support.middlewares import Middleware
from tests.support.servers import once_available

pytestmark = [pytest.mark.whole_way, pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")]


def first_numbers(oracle: EpochOracle, epoch: int, variant: str) -> list[float]:
    rows: list[float] = np.frombuffer(oracle.answer(epoch, variant), np.float16).reshape(IDS, -1)[:, 0].tolist()
    return rows


@pytest.mark.parametrize("home", list(HOMES))
def test_a_client_gets_the_rows_of_the_variant_that_it_names(tmp_path: Path, home: str) -> None:
    store = tmp_path / "store"
    with ExitStack() as stack:
        deployment = EpochDeployment(tmp_path / "shards", stack, replicas=(1, 1))
        middleware = stack.enter_context(Middleware(tmp_path / "middleware", deployment.config, deployment.addresses))
        middleware.wait_ready()
        packet = deployment.trainer.of_variant("b").leave(np.arange(50))
        deployment.wait_for_epoch(VariantCommitter(deployment.packets, "b").commit([packet]))
        served = stack.enter_context(HOMES[home](tmp_path / "served", store, make_version(store, 1), middleware.address))
        client = stack.enter_context(served.client(None))
        oracle = deployment.oracle()
        for variant in ("b", "none", ""):
            scores, details = once_available(lambda: client.predict(BATCH, details=True, variant=variant))  # noqa: B023
            assert details is not None and details.epoch is not None
            assert details.variant == ("b" if variant == "b" else None)
            assert np.reshape(scores, -1)[:-1].tolist() == first_numbers(oracle, details.epoch, details.variant or "")
        with pytest.raises(NotFound, match=r"variant 'c': .*expected a variant of the newest epoch \(b\), got another one"):
            client.predict(BATCH, variant="c")
