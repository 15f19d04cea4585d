"""What Prometheus is shown of a model server."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.model_servers import HANDLERS, ModelServerRun, ask, make_mar
from tests.support.promtool import assert_promtool_accepts
from tests.support.servers import wait_until

CONFIG = """
ts_metrics:
  counter: []
model_metrics:
  counter:
    - name: Samples
      unit: count
      dimensions: [ModelName, Level]
  gauge:
    - name: Depth
      unit: count
      dimensions: [ModelName, Level]
  histogram:
    - name: Size
      unit: MB
      dimensions: [ModelName, Level]
"""
HOST = socket.gethostname()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServerRun]:
    directory = tmp_path_factory.mktemp("metrics")
    store = directory / "store"
    make_mar(store, "probe")
    make_mar(store, "measured", handler=HANDLERS / "measuring.py")
    config = directory / "metrics.yaml"
    config.write_text(CONFIG)
    with ModelServerRun(directory, store, "--models", "all", metrics_config=config, metrics_mode="prometheus") as run:
        run.wait_ready()
        yield run


def _values(text: str) -> dict[str, float]:
    """By name and labels, as they stand in a line."""
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def _value(server: ModelServerRun, name: str) -> float:
    return _values(server.metrics()).get(name, 0.0)


def test_requests_are_counted_under_torchserves_names(server: ModelServerRun) -> None:
    default = f'{{model_name="probe",model_version="default",hostname="{HOST}",}}'
    named = f'{{model_name="probe",model_version="1.0",hostname="{HOST}",}}'
    before = _values(server.metrics())
    server.predict("probe", do="sleep 0.05")
    server.predict("probe", version="1.0", do="echo")
    assert ask(server.inference("predictions/probe"), b"echo").status == 200
    after = _values(server.metrics())

    def rise(name: str) -> float:
        return after[name] - before.get(name, 0.0)

    assert rise(f"ts_inference_requests_total{default}") == 2
    assert rise(f"ts_inference_requests_total{named}") == 1
    assert 50_000 <= rise(f"ts_inference_latency_microseconds{default}") < 20e6
    assert 0 <= rise(f"ts_queue_latency_microseconds{default}") < 20e6


def test_answers_of_both_protocols_are_counted_by_their_class(server: ModelServerRun) -> None:
    labels = f'{{Level="Host",Hostname="{HOST}",}}'
    before = _values(server.metrics())
    server.predict("probe", do="echo")
    ask(server.inference("predictions/probe"), b"echo")
    server.failure("none", do="echo")
    ask(server.inference("predictions/none"), b"echo")
    ask(server.inference("predictions/probe"), b"refuse 599")
    after = _values(server.metrics())
    rise = {kind: after[f"Requests{kind}{labels}"] - before[f"Requests{kind}{labels}"] for kind in ("2XX", "4XX", "5XX")}
    assert rise == {"2XX": 3, "4XX": 2, "5XX": 1}  # a page of metrics is an answer, too


def test_time_is_split_by_model_and_version(server: ModelServerRun) -> None:
    labels = '{model="probe",version="1.0"}'
    before = _values(server.metrics())
    server.predict("probe", do="sleep 0.2")
    parts = [f"persia_model_{part}_seconds_sum{labels}" for part in ("request", "queue", "worker", "handler")]
    wait_until(lambda: _value(server, parts[3]) > before.get(parts[3], 0.0), "the worker has told of its handler")
    after = _values(server.metrics())
    whole, queue, worker, handler = (after[part] - before.get(part, 0.0) for part in parts)
    assert whole == pytest.approx(queue + worker) and 0.2 <= worker <= whole
    # What the handler of a request before took may have been told of meanwhile.
    assert 0.2 <= handler <= worker + 0.01
    count = f"persia_model_request_seconds_count{labels}"
    assert after[count] - before.get(count, 0.0) == 1
    assert after['persia_model_request_seconds_bucket{model="probe",version="1.0",le="+Inf"}'] == after[count]
    assert after[f"persia_model_workers{labels}"] == 1


def test_metrics_of_handlers(server: ModelServerRun) -> None:
    labels = f'{{ModelName="measured",Level="Model",Hostname="{HOST}",}}'
    for size in ("3", "0.2"):
        server.predict("measured", size=size)
    wait_until(lambda: _value(server, f"Samples{labels}") == 2, "the worker has told of its metrics")
    values = _values(server.metrics())
    assert values[f"Depth{labels}"] == 0.2
    assert values[f"Size_sum{labels}"] == pytest.approx(3.2) and values[f"Size_count{labels}"] == 2
    assert values[f'Size_bucket{{ModelName="measured",Level="Model",Hostname="{HOST}",le="0.25",}}'] == 1
    assert values[f"PredictionTime{labels}"] >= 0
    assert not any(name.startswith("Unnamed") for name in values)
    assert "the metric Unnamed of the model measured is not shown" in server.log()


def test_only_the_names_that_are_asked_for(server: ModelServerRun) -> None:
    assert {name.partition("{")[0] for name in _values(server.metrics("?name[]=Requests2XX&name[]=CPUUtilization"))} == {
        "Requests2XX",
        "CPUUtilization",
    }
    assert server.metrics("?name[]=nothing") == ""


def test_the_machine_is_shown(server: ModelServerRun) -> None:
    values = {name.partition("{")[0]: value for name, value in _values(server.metrics()).items()}
    assert 0 <= values["CPUUtilization"] <= 100 and 0 < values["MemoryUtilization"] < 100
    assert values["MemoryUsed"] > 0 and values["DiskAvailable"] > 0


def test_how_long_workers_took_to_load_their_model(server: ModelServerRun) -> None:
    loads = {name: value for name, value in _values(server.metrics()).items() if name.startswith("WorkerLoadTime")}
    assert sorted(re.findall(r'"(W-[^"]+)"', " ".join(loads))) == ["W-9000-measured_1.0", "W-9001-probe_1.0"]
    assert all(value > 0 for value in loads.values())


def test_the_page_is_prometheus_text(server: ModelServerRun) -> None:
    answer = ask(f"http://{server.places['metrics']}/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = list(text_string_to_metric_families(answer.body.decode()))
    assert len({family.name for family in families}) == len(families)
    assert re.search(r"^# TYPE Requests2XX counter$", answer.body.decode(), re.MULTILINE)


def test_the_listener_answers_others_as_torchserve_does(server: ModelServerRun) -> None:
    place = f"http://{server.places['metrics']}"
    for path in ("ping", "other", "v2", "v2/models/probe", "models"):
        answer = ask(f"{place}/{path}")
        assert (answer.status, answer.json["type"]) == (404, "ResourceNotFoundException"), path
    assert ask(f"{place}/").status == 405
    assert list(ask(f"{place}/", None, "OPTIONS").json["paths"]) == ["/", "/api-description", "/metrics"]


def test_without_torchserves_names_the_page_is_as_promtool_wants_it(tmp_path: Path) -> None:
    store = tmp_path / "store"
    make_mar(store, "probe")
    with ModelServerRun(tmp_path, store, "--models", "all") as server:
        server.wait_ready()
        server.predict("probe", do="echo")
        server.failure("none", do="echo")
        server.predict("probe", do="echo")
        page = server.metrics()
        assert_promtool_accepts(page)
        values = _values(page)
        assert {name.partition("_")[0] for name in values} == {"persia"}
        assert values['persia_model_answers_total{class="2xx"}'] >= 2
        assert values['persia_model_answers_total{class="4xx"}'] == 1
        assert 0 <= values["persia_host_processors_busy_ratio"] <= 1 < values["persia_host_memory_available_bytes"]
        assert "is not shown" not in server.log()


def test_metrics_may_be_left_out(tmp_path: Path) -> None:
    store = tmp_path / "store"
    make_mar(store, "probe")
    with ModelServerRun(tmp_path, store, enable_metrics_api="false") as server:
        assert "metrics" not in server.places
