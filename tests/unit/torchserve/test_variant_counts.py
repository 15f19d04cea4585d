"""Counters of variants, as TorchServe's metrics write them and the model server reads them."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import ts
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl

from persia.handlers.variant_counts import VariantCounts
from persia.model_server.metric_updates import Update, update_of_line

# TorchServe does not close the file of metrics that it reads.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <_io.FileIO:pytest.PytestUnraisableExceptionWarning")


@contextmanager
def updates(caplog: pytest.LogCaptureFixture) -> Iterator[tuple[SimpleNamespace, list[Update]]]:
    """The context of a worker with metrics, and what they wrote by the end."""
    metrics = MetricsCacheYamlImpl(config_file_path=os.path.join(os.path.dirname(ts.__file__), "configs", "metrics.yaml"))
    metrics.initialize_cache()
    metrics.model_name, metrics.request_ids = "ctr", {0: "id"}
    caplog.set_level(logging.INFO)
    caplog.clear()
    found: list[Update] = []
    yield SimpleNamespace(metrics=metrics), found
    found += [update for message in caplog.messages if (update := update_of_line(message)) is not None]


def test_what_is_counted_reaches_the_page_of_metrics_with_its_variant(caplog: pytest.LogCaptureFixture) -> None:
    counts = VariantCounts(["b"])
    with updates(caplog) as (context, found):
        counts.add(context, [("b", True), ("b", False), ("", True)])
    assert [(one.key.name, one.key.kind, dict(one.key.dimensions)["Variant"], one.value) for one in found] == [
        ("VariantRequests", "counter", "b", 2),
        ("VariantFailures", "counter", "b", 1),
        ("VariantRequests", "counter", "none", 1),
    ]
    assert [name for name, _ in found[0].key.dimensions] == ["Variant", "ModelName", "Level"]  # as docs/variants.md has them


def test_callers_make_no_metrics_by_names_that_nobody_answers(caplog: pytest.LogCaptureFixture) -> None:
    counts = VariantCounts([])
    with updates(caplog) as (context, found):
        counts.add(context, [(f"v{number}", False) for number in range(1000)])
        counts.add(context, [("v7", True)])
        counts.add(context, [("v7", False)])
    assert [(one.key.name, dict(one.key.dimensions)["Variant"], one.value) for one in found] == [
        ("VariantRequests", "(others)", 1000),
        ("VariantFailures", "(others)", 1000),
        ("VariantRequests", "v7", 1),
        ("VariantRequests", "v7", 1),
        ("VariantFailures", "v7", 1),
    ]


def test_without_variants_nothing_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    with updates(caplog) as (context, found):
        VariantCounts([]).add(context, [("", True), ("", False)])
    assert found == []
