"""Over the whole path, under load: a packet and a new dense version change the scores, and no request is lost."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from persia.batch import IDTypeFeature, PersiaBatch
from persia.client.swap import swap
from persia.config import load_embedding_config
from persia.signs import signs_of
from persia.writers import IncrementalDumper
from tests.support.golden import GOLDEN
from tests.support.load import Load
from tests.support.middlewares import Middleware
from tests.support.places import ROOT
from tests.support.servers import EmbeddingServer, wait_until
from tests.support.torchserves import TorchServeRun, make_archive

pytestmark = pytest.mark.whole_way

MIX = GOLDEN / "mix"
CONFIG = MIX / "embedding_config.yml"
HANDLER = ROOT / "handlers" / "persia_handler.py"
SLOT = "user_id"
ID = 7


class FirstNumber(torch.nn.Module):
    """What stands first in the first embedding, times a factor that tells the version."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, dense: list[torch.Tensor], embeddings: list[torch.Tensor]) -> torch.Tensor:
        return embeddings[0][:, 0].float() * self.factor


# What users have is TorchScript.
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
def test_a_packet_and_a_swap_under_load_lose_no_request(tmp_path: Path) -> None:
    packets, store = tmp_path / "packets", tmp_path / "store"
    slot = load_embedding_config(CONFIG).slots[SLOT]
    sign = signs_of(np.array([ID], np.uint64), slot)[0]

    def drop_packet(value: float) -> None:
        with IncrementalDumper(packets) as dumper:
            dumper.commit(sign, np.full((1, slot.dim), value, np.float32))

    models = {}
    for version, factor in (("1.0", 1.0), ("2.0", 100.0)):
        path = tmp_path / f"dense-{version}.pt"
        torch.jit.script(FirstNumber(factor)).save(str(path))
        # Answers that the first version keeps must not outlive the rows that they were made of, nor the version.
        models[version] = make_archive(store, "first", version, HANDLER, model=path, persia={"answer_cache_mib": 4})

    drop_packet(1.0)
    with (
        EmbeddingServer(tmp_path, CONFIG, checkpoint=MIX / "ckpt", incremental_dir=packets) as shard,
        Middleware(tmp_path, CONFIG, [shard.address]) as middleware,
    ):
        middleware.wait_ready()
        environment = {**os.environ, "EMBEDDING_WORKER_SERVICE": middleware.address}
        batch = PersiaBatch([IDTypeFeature(SLOT, [np.array([ID], np.uint64)])], requires_grad=False).to_bytes()
        with TorchServeRun(tmp_path / "served", store, ["--models", models["1.0"]], environment) as run:
            client, management = run.wait_ready().client("first"), run.management()
            management.scale("first", 2)
            with Load(lambda: float(client.predict(batch)[0]), threads=3, pause=0.01) as load:
                wait_until(lambda: load.answers, "the first score comes")
                wait_until(lambda: client.predict(batch, details=True).details.cached, "an answer is one that was kept")  # type: ignore[union-attr]
                drop_packet(2.0)
                wait_until(lambda: load.answers[-1] == 2.0, "the packet shows")
                swap(management, "first", models["2.0"], drain=1.0)
                wait_until(lambda: load.answers[-1] == 200.0, "the new version shows")
                drop_packet(3.0)
                wait_until(lambda: load.answers[-1] == 300.0, "another packet shows in the new version")
            assert management.default("first").ready == 2
            client.close()
    assert load.failures == []
    assert set(load.answers) <= {1.0, 2.0, 200.0, 300.0}
