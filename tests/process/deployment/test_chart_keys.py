"""Every key of the chart's values changes what is rendered: one that does nothing would be a promise that is not kept."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.charts import CHART, ChartRefused, leaves, needs_helm, text_of, values_of

pytestmark = pytest.mark.whole_way  # Helm renders the chart some two hundred times
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())


@pytest.fixture(autouse=True, scope="module")
def _helm() -> None:
    needs_helm()


# What a key is changed to where its type does not say it.
OTHER: dict[str, Any] = {
    "clusterDomain": "example.org",
    "embeddingTier.release": "other",
    "image.digest": f"sha256:{'0' * 64}",
    "image.pullPolicy": "Always",
    "logFormat": "text",
    "logLevel": "debug",
    "middleware.replicas": 7,
    "models.archives": ["other.mar"],
    "models.home": "torchserve",
    "monitoring.serviceMonitor.interval": "1m",
    "networkPolicy.clients": [{"ipBlock": {"cidr": "10.0.0.0/8"}}],
    "networkPolicy.monitoring": [{"ipBlock": {"cidr": "10.0.0.0/8"}}],
    "settings.checkpointing_config": {"num_workers": 3},
    "settings.embedding_parameter_server_config": {"retained_epochs": 3},
    "settings.embedding_worker_config": {"lookup_timeout_ms": 3},
    "spread.hosts": "ScheduleAnyway",
    "spread.zones": "DoNotSchedule",
    "volumes": [{"name": "more", "mountPath": "/data", "source": {"emptyDir": {}}}],
    "checkpoint": "s3://other/checkpoint",
    "packets": "s3://other/packets",
    "models.store": "s3://other/archives",
}
OTHER |= {f"{tier}.image": {"tag": "own"} for tier in ("shards", "middleware", "models")}
OTHER |= {f"{tier}.affinity": {"podAffinity": {}} for tier in ("shards", "middleware", "models")}
OTHER |= {f"{tier}.tolerations": [{"operator": "Exists"}] for tier in ("shards", "middleware", "models")}


def another(path: tuple[str, ...], value: Any) -> Any:
    if (name := ".".join(path)) in OTHER:
        return OTHER[name]
    if path[-1] == "scratch" or "limits" in path:
        return "3Gi"
    if "requests" in path:
        return "500Mi"  # which no limit is less than
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        return "other"
    return ["other"] if isinstance(value, list) else {"other": "other"}


def is_used(path: tuple[str, ...]) -> bool:
    """Whether what is rendered changes with the key, for one of the cases."""
    for case in ("all", "plain", "torchserve", "front"):
        given = yaml.safe_load(Path(values_of(case)).read_text())
        for key in path:
            given = given.get(key, {}) if isinstance(given, dict) else {}
        changed = another(path, given if given != {} else reduce(lambda section, key: section[key], path, VALUES))
        try:
            if text_of(case, f"{'.'.join(path)}={json.dumps(changed)}") != text_of(case):
                return True
        except ChartRefused as refused:
            if "execution error" not in str(refused):  # which is that of a template, and so of one that reads the key
                raise
            return True
    return False


def test_every_key_of_the_values_is_used() -> None:
    paths = [path for path in leaves(VALUES) if path != ("mayPause",)]  # which counts where there is a release
    with ThreadPoolExecutor(2) as threads:
        used = list(threads.map(is_used, paths))
    assert [".".join(path) for path, is_one in zip(paths, used, strict=True) if not is_one] == []
    assert ".Values.mayPause" in (CHART / "templates" / "immutable.yaml").read_text()
