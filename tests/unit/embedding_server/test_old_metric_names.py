"""Metrics under the names that they had."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from persia import _core
from persia.config import load_embedding_config
from persia.embedding_server.metrics import OLD_NAMES as OLD_OF_A_SHARD
from persia.embedding_server.metrics import Metrics as ShardMetrics
from persia.embedding_server.options import ShardOptions
from persia.embedding_server.shard import ShardServer
from persia.middleware.metrics import OLD_NAMES as OLD_OF_A_MIDDLEWARE
from persia.middleware.metrics import SECONDS
from persia.middleware.metrics import Metrics as MiddlewareMetrics
from persia.routing.lookup import RouterOptions
from persia.routing.router import Router
from persia.serving.old_metric_names import with_old_names
from tests.support.golden import GOLDEN
from tests.support.in_process import LocalDeployment

MIX = GOLDEN / "mix"
# What pages of before 2026-11-29 had that does not begin with `persia_`.
OF_A_SHARD = {
    "evicted_rows_total",
    "inc_update_delay_sec_bucket",
    "inc_update_delay_sec_count",
    "inc_update_delay_sec_sum",
    "index_miss_count",
    "index_miss_ratio",
    "lookup_ids_total",
    "lookup_seconds_bucket",
    "lookup_seconds_count",
    "lookup_seconds_sum",
    "lookup_wrong_dim_total",
    "lookups_total",
    "packets_applied_total",
    "packets_set_aside",
    "ready",
    "rows",
    "table_bytes",
    "update_problems",
    "version",
}
OF_A_MIDDLEWARE = {
    "lookup_absent_total",
    "lookup_rpc_time_cost_sec_bucket",
    "lookup_rpc_time_cost_sec_count",
    "lookup_rpc_time_cost_sec_sum",
    "lookup_total_time_cost_sec_bucket",
    "lookup_total_time_cost_sec_count",
    "lookup_total_time_cost_sec_sum",
    "lookup_without_shard_total",
    "lookup_wrong_dim_total",
    "shard_replica_usable",
    "shard_replica_version",
}


@pytest.fixture(scope="module")
def shard() -> Iterator[ShardServer]:
    server = ShardServer(ShardOptions(0, 2, MIX / "ckpt"))
    server.load()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def router() -> Iterator[Router]:
    """Before one shard."""
    with ExitStack() as stack:
        deployment = stack.enter_context(LocalDeployment(MIX, 1))
        router = Router(
            load_embedding_config(deployment.embedding_config), [[one] for one in deployment.addresses], RouterOptions()
        )
        stack.callback(router.close)
        yield router


def page(registry: CollectorRegistry) -> str:
    return generate_latest(registry).decode()


def values(text: str) -> dict[str, str]:
    """By the name alone."""
    return dict(re.findall(r"^(\w+)(?:\{.*\})? (\S+)$", text, re.MULTILINE))


def test_a_shard_has_them_with_the_values_of_today(shard: ShardServer) -> None:
    text = page(with_old_names(ShardMetrics(shard).registry, "mine", OLD_OF_A_SHARD))
    found = values(text)
    assert {name for name in found if not name.startswith("persia_")} == OF_A_SHARD
    assert {f"persia_{name}" for name in OF_A_SHARD} <= set(found)
    assert found["rows"] == found["persia_rows"] != "0.0"
    assert found["index_miss_count"] == found["persia_lookup_absent_total"]
    assert "\n# TYPE index_miss_count gauge\n" in text
    assert all('job="mine"' in line for line in text.splitlines() if not line.startswith("#"))


def test_a_middleware_has_them(router: Router) -> None:
    registry = MiddlewareMetrics(router, _core.net.ForwardCounts(SECONDS)).registry
    found = values(page(with_old_names(registry, "mine", OLD_OF_A_MIDDLEWARE)))
    assert {name for name in found if not name.startswith("persia_")} == OF_A_MIDDLEWARE
    assert {f"persia_{name}" for name in OF_A_MIDDLEWARE} <= set(found)


def test_pages_of_today_have_none_of_them(shard: ShardServer, router: Router) -> None:
    counts = _core.net.ForwardCounts(SECONDS)
    for text in map(page, (ShardMetrics(shard).registry, MiddlewareMetrics(router, counts).registry)):
        assert all(name.startswith("persia_") for name in values(text)) and "job=" not in text
        assert "time_cost" not in text and "index_miss" not in text
