"""What a page of metrics shows in each `metrics_mode`."""

from __future__ import annotations

import pytest

from persia._core.inference import AnswerObserver, Models
from persia.model_server.handler_metrics import HandlerMetrics
from persia.model_server.metric_updates import MetricKey
from persia.model_server.metrics import FrontFigures, Metrics
from persia.model_server.metrics_settings import MetricsSettings

OF_HANDLER = "Samples"
OF_FRONT = {"Requests2XX", "Requests4XX", "Requests5XX", "WorkerLoadTime", "QueueTime", "WorkerThreadTime"}
OF_MACHINE = {"CPUUtilization", "MemoryUsed", "DiskAvailable", "GPUUtilization", "GPUMemoryUsed", "GPUMemoryUtilization"}
OLDEST = {"ts_inference_requests_total", "ts_inference_latency_microseconds", "ts_queue_latency_microseconds"}


def page(mode: str, *names: str) -> str:
    handlers = HandlerMetrics(None, "h")
    handlers.add("m", "1.0", [(MetricKey(OF_HANDLER, "count", "counter", (("Level", "Model"),)), 2.0)])
    loads = {"W-9000-m_1.0": 1.5}
    return Metrics(
        FrontFigures(Models(), lambda: [], lambda: loads, AnswerObserver(None)), handlers, MetricsSettings(mode=mode)
    ).text(names)


@pytest.mark.parametrize(
    ("mode", "shown"),
    [("log", {OF_HANDLER}), ("legacy", OLDEST), ("prometheus", {OF_HANDLER} | OF_FRONT | OF_MACHINE | OLDEST)],
)
def test_each_mode_shows_what_torchserve_shows_in_it(mode: str, shown: set[str]) -> None:
    """And in the mode `log`, where TorchServe shows nothing, what handlers update."""
    text = page(mode)
    named = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert named & ({OF_HANDLER} | OF_FRONT | OF_MACHINE | OLDEST) == shown
    assert "persia_model_answers_total" in named


def test_torchserves_metrics_are_written_as_its_java_writes_them() -> None:
    text = page("prometheus")
    assert '\nSamples{Level="Model",Hostname="h",} 2.0\n' in text
    assert 'WorkerLoadTime{WorkerName="W-9000-m_1.0",Level="Host",' in text and ",} 1500.0\n" in text
    assert "# TYPE GPUUtilization gauge\n" in text and "\nGPUUtilization{" not in text
    assert '\nSamples{Level="Model",Hostname="h"} 2.0\n' in page("log")


def test_a_name_that_is_asked_for_comes_alone() -> None:
    assert page("prometheus", "GPUUtilization").splitlines()[-1] == "# TYPE GPUUtilization gauge"
    assert page("prometheus", "nothing") == ""
