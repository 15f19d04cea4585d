"""Misses of each feature, from the shard to the answer, to Status, to metrics, and once to the log."""

from __future__ import annotations

import logging
import re
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from persia.batch import IDTypeFeature, PersiaBatch
from persia.config import EmbeddingConfig, SlotConfig
from persia.ctx import InferCtx
from persia.feature_lookup import CoreTotals, FeatureLookup
from persia.misses import MissReporter
from persia.writers import write_checkpoint
from tests.support.middlewares import Middleware
from tests.support.promtool import assert_promtool_accepts
from tests.support.servers import PATIENCE, EmbeddingServer, ServerProcess, wait_until

CONFIG_TEXT = "slots_config:\n  found:\n    dim: 8\n  wrong:\n    dim: 4\n  never:\n    dim: 8\n"
CONFIG = EmbeddingConfig(slots_config={"found": SlotConfig(dim=8), "wrong": SlotConfig(dim=4), "never": SlotConfig(dim=8)})
LABEL = "(not in the embedding config)"


def batch_of(**features: range) -> bytes:
    """Each id in a sample of its own; all features have as many."""
    return PersiaBatch(
        [IDTypeFeature(name, [np.array([i], np.uint64) for i in ids]) for name, ids in features.items()], requires_grad=False
    ).to_bytes()


class Deployed(ExitStack):
    """Two shards, in which the rows of `found` are right, those of `wrong` have another dim, and `never` has none."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.config = directory / "embedding_config.yml"
        self.config.write_text(CONFIG_TEXT)
        blocks = []
        for name in ("found", "wrong"):
            signs = np.arange(100, dtype=np.uint64) + np.uint64(CONFIG.slots[name].prefix)
            blocks.append((signs, np.ones((100, 8), np.float32)))
        write_checkpoint(directory / "ckpt", blocks, shards=2, files_per_shard=1)
        arguments = ["--metrics-port", "0"]
        self.shards = [
            self.enter_context(
                EmbeddingServer(
                    directory, self.config, checkpoint=directory / "ckpt", index=index, count=2, arguments=arguments
                )
            )
            for index in range(2)
        ]
        servers = [shard.wait_ready().address for shard in self.shards]
        self.middleware = self.enter_context(Middleware(directory, self.config, servers, arguments=arguments)).wait_ready()
        self.servers = servers
        self.all: list[ServerProcess[Any]] = [*self.shards, self.middleware]


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    with Deployed(tmp_path_factory.mktemp("misses")) as started:
        yield started


def features_of(context: InferCtx, batch: bytes) -> list[FeatureLookup]:
    return context.get_embedding_from_bytes(batch, timeout=PATIENCE).lookup.features


def says(server: ServerProcess[Any], text: str) -> bool:
    return text in server.log()


def page_of(server: ServerProcess[Any]) -> str:
    url = re.search(r"metrics on (\S+)\n", server.log())
    assert url is not None
    with urllib.request.urlopen(url[1], timeout=PATIENCE) as response:
        return str(response.read().decode())


def metrics_of(server: ServerProcess[Any]) -> dict[str, float]:
    return {name: float(value) for name, value in re.findall(r"^([^# ].*) (\S+)$", page_of(server), re.MULTILINE)}


def test_every_way_to_rows_tells_the_same_of_each_feature_in_the_order_of_the_batch(deployed: Deployed) -> None:
    batch = batch_of(wrong=range(80), found=range(40, 120), never=range(80))
    want = [FeatureLookup("wrong", 80, 0, 80, 0), FeatureLookup("found", 80, 20, 0, 0), FeatureLookup("never", 80, 80, 0, 0)]
    with (
        deployed.middleware.context() as forwarded,
        InferCtx(deployed.servers, embedding_config=deployed.config) as direct,
        InferCtx([deployed.middleware.address]) as either,
    ):
        for context in (forwarded, direct, either):
            lookup = context.get_embedding_from_bytes(batch, timeout=PATIENCE).lookup
            assert lookup.features == want
            assert (lookup.absent, lookup.wrong_dim) == (100, 80)
            assert lookup.embedding_config_id == CONFIG.fingerprint_id
        assert features_of(forwarded, batch_of(found=range(3))) == [FeatureLookup("found", 3, 0, 0, 0)]


def test_servers_and_the_middleware_add_them_up(deployed: Deployed) -> None:
    def totals() -> list[list[int]]:
        """Of both shards together, and of the middleware."""
        statuses = [shard.status() for shard in deployed.shards], [deployed.middleware.status()]
        return [
            [
                sum(getattr(feature, figure) for status in some for feature in status.features if feature.name == name)
                for name in ("found", "wrong", "never")
                for figure in ("ids", "new_ids", "wrong_dim")
            ]
            for some in statuses
        ]

    before = totals()
    names = [feature.name for feature in deployed.middleware.status().features]
    assert names == ["found", "wrong", "never"]
    with deployed.middleware.context() as context:
        features_of(context, batch_of(found=range(60, 120), wrong=range(60)))
    for then, now in zip(before, totals(), strict=True):
        assert np.subtract(now, then).tolist() == [60, 20, 0, 60, 0, 60, 0, 0, 0]


def test_metrics_have_them_with_the_features_name(deployed: Deployed) -> None:
    with deployed.middleware.context() as context:
        features_of(context, batch_of(never=range(10), wrong=range(10)))
    statuses = {feature.name: feature for feature in deployed.middleware.status().features}
    figures = metrics_of(deployed.middleware)
    for name, feature in statuses.items():
        labels = f'{{feature="{name}"}}'
        assert figures[f"persia_feature_ids_total{labels}"] == feature.ids
        assert figures[f"persia_feature_new_ids_total{labels}"] == feature.new_ids
        assert figures[f"persia_feature_wrong_dim_total{labels}"] == feature.wrong_dim
        assert figures[f"persia_feature_cut_ids_total{labels}"] == 0
        assert figures[f"persia_feature_miss_ratio{labels}"] == feature.new_ids / max(feature.ids, 1)
    shard = deployed.shards[1]
    status = {feature.name: feature for feature in shard.status().features}
    figures = metrics_of(shard)
    labels = '{feature="never",replica_index="1"}'
    assert figures[f"persia_feature_new_ids_total{labels}"] == status["never"].new_ids > 0
    assert f"persia_feature_cut_ids_total{labels}" not in figures


def test_their_pages_are_as_promtool_wants_them(deployed: Deployed) -> None:
    for server in (deployed.middleware, deployed.shards[0]):
        page = page_of(server)
        assert_promtool_accepts(page)
        assert "_created" not in page and set(re.findall(r"^([a-z]+)", page, re.MULTILINE)) == {"persia"}


def test_requests_for_features_that_the_config_has_not_are_counted_together(deployed: Deployed) -> None:
    shard = deployed.shards[0]
    shard.rows(np.arange(5, dtype=np.uint64), 8)  # asks for feature 0
    (unknown,) = [feature for feature in shard.status().features if not feature.name]
    assert unknown.ids >= 5 and unknown.new_ids == unknown.ids
    labels = f'{{feature="{LABEL}",replica_index="0"}}'
    assert metrics_of(shard)[f"persia_feature_ids_total{labels}"] == unknown.ids


def test_rows_of_another_dim_are_an_error_in_the_log_once_for_each_feature(deployed: Deployed) -> None:
    with deployed.middleware.context() as context:
        for _ in range(5):
            features_of(context, batch_of(wrong=range(50), found=range(50)))
    said = "feature 'wrong': expected rows of dim 4 as the embedding config says, got rows of another dim for"
    for server in deployed.all:
        wait_until(partial(says, server, said), "it is said")
    for shard in deployed.shards:
        rows = shard.status().rows
        assert "ERROR" in shard.log()
        assert f"; the table holds rows of dim 8 ({rows} rows). They count as zeros" in shard.log()
    for server in deployed.all:
        assert server.log().count("got rows of another dim") == 1 and "feature 'found'" not in server.log()


def test_a_feature_whose_ids_are_never_found_is_a_warning_once(deployed: Deployed) -> None:
    question = "Are its ids written as signs, or hashed in another way than training did?"
    with deployed.middleware.context() as context:
        for begin in range(0, 6000, 1000):
            features_of(context, batch_of(never=range(begin, begin + 1000)))

        def is_said(server: ServerProcess[Any]) -> bool:
            features_of(context, batch_of(never=range(10)))
            return question in server.log()

        for server in deployed.all:
            wait_until(partial(is_said, server), "it is said")
    for server in deployed.all:
        assert server.log().count(question) == 1
        assert re.search(r"WARNING.*feature 'never': none of the \d{4,} ids that were looked up has a row", server.log())


def test_what_is_said_and_what_is_not(caplog: pytest.LogCaptureFixture) -> None:
    totals: list[CoreTotals] = [("a", 999, 999, 0, 0), ("b", 5000, 4999, 0, 0), ("c", 0, 0, 0, 9), ("", 9999, 9999, 9, 0)]
    reporter = MissReporter(lambda: totals, {"a": 8, "b": 8, "c": 8})
    reporter.look()
    assert caplog.records == []
    totals[:2] = [("a", 1000, 1000, 0, 0), ("b", 5000, 4999, 1, 0)]
    for _ in range(2):
        reporter.look()
    assert [(record.levelno, record.getMessage()[:11]) for record in caplog.records] == [
        (logging.WARNING, "feature 'a'"),
        (logging.ERROR, "feature 'b'"),
    ]
