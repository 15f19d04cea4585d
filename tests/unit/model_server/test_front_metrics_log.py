"""What is written of the server's own metrics into TorchServe's log of them."""

from __future__ import annotations

import logging

import pytest

from persia._core.inference import AnswerObserver, Models
from persia.model_server.front_metrics_log import FrontMetricsLog
from persia.model_server.metrics import FrontFigures
from persia.model_server.metrics_settings import MetricsSettings


def log_of(mode: str = "log", of_system: bool = False, **loads: float) -> FrontMetricsLog:
    settings = MetricsSettings(mode=mode, of_system=of_system)
    return FrontMetricsLog(FrontFigures(Models(), lambda: [], lambda: loads, AnswerObserver(None)), settings)


def written(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Names and values of the lines, which are forgotten then."""
    lines = [record.getMessage().partition("|#hostname:")[0] for record in caplog.records if record.name == "ts_metrics"]
    caplog.clear()
    return lines


def test_a_value_stands_there_when_it_has_changed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ts_metrics")
    loads = {"W-9000-m_1.0": 1.5}
    log = FrontMetricsLog(
        FrontFigures(Models(), lambda: [], lambda: loads, AnswerObserver(None)), MetricsSettings(of_system=False)
    )
    log.look()
    assert written(caplog) == ["WorkerLoadTime.Milliseconds:1500.0|#WorkerName:W-9000-m_1.0,Level:Host"]
    log.look()
    assert written(caplog) == []
    loads["W-9001-m_1.0"] = 0.25
    log.look()
    assert written(caplog) == ["WorkerLoadTime.Milliseconds:250.0|#WorkerName:W-9001-m_1.0,Level:Host"]


def test_the_machine_stands_there_at_once_and_then_after_the_interval(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ts_metrics")
    log = log_of(of_system=True)
    log.look()
    names = [line.partition(".")[0] for line in written(caplog)]
    assert names[:2] == ["CPUUtilization", "MemoryUsed"] and len(names) == 7
    log.look()
    assert written(caplog) == []


@pytest.mark.parametrize(("mode", "level"), [("prometheus", logging.INFO), ("log", logging.WARNING)])
def test_nothing_is_written_where_a_page_shows_it_or_nobody_reads(
    caplog: pytest.LogCaptureFixture, mode: str, level: int
) -> None:
    caplog.set_level(level, "ts_metrics")
    log = log_of(mode, of_system=True, worker=1.0)
    log.start()
    log.close()
    assert written(caplog) == []


def test_what_was_counted_is_written_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ts_metrics")
    loads: dict[str, float] = {}
    log = FrontMetricsLog(
        FrontFigures(Models(), lambda: [], lambda: loads, AnswerObserver(None)), MetricsSettings(of_system=False)
    )
    log.start()
    loads["late"] = 1.0
    log.close()
    assert written(caplog) == ["WorkerLoadTime.Milliseconds:1000.0|#WorkerName:late,Level:Host"]
