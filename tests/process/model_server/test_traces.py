"""One trace from a client through the model server's handler, as a receiver of OpenTelemetry gets it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from persia.errors import ConfigError
from persia.tracing import NO_TRACES, VARIABLE, traces_of
from tests.support.middlewares import Deployment
from tests.support.model_servers import ModelServerRun, ask
from tests.support.otlp_receiver import OtlpReceiver
from tests.support.servers import PATIENCE, wait_until
from tests.support.torchserves import MIX, PERSIA_HANDLER, make_archive

BATCH = MIX / "golden" / "batch16_0.bin"
CLIENT = """
import sys
from persia.batch import PersiaBatch
from persia.client.predict import Client

with Client("ctr", sys.argv[1], timeout=60) as client:
    assert len(client.predict(open(sys.argv[2], "rb").read()))
"""


class Served(NamedTuple):
    """A model server whose handler traces, and where the traces come."""

    run: ModelServerRun
    receiver: OtlpReceiver
    environment: dict[str, str]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, deployment: Deployment) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("traces")
    model = make_archive(
        directory / "store", "ctr", handler=PERSIA_HANDLER, persia={"addresses": [deployment.middleware.address]}
    )
    with OtlpReceiver() as receiver:
        environment = {VARIABLE: "1", "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}
        with ModelServerRun(directory, directory / "store", "--models", model, environment=environment) as run:
            run.wait_ready()
            yield Served(run, receiver, environment)


def by_name(spans: list[tuple[str, Span]], trace: bytes) -> dict[str, tuple[str, Span]]:
    return {span.name: (service, span) for service, span in spans if span.trace_id == trace}


def test_one_trace_goes_from_the_client_to_lookup_and_model(served: Served) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, served.run.places["grpc_inference"], BATCH],
        env={**os.environ, **served.environment},
        timeout=PATIENCE,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr

    def whole() -> dict[str, tuple[str, Span]] | None:
        spans = served.receiver.spans()
        for service, span in spans:
            if service == "persia-client" and len(found := by_name(spans, span.trace_id)) == 4:
                return found
        return None

    trace = wait_until(whole, "all spans of the trace have come")
    parents = {name: span.parent_span_id for name, (_, span) in trace.items()}
    numbers = {name: span.span_id for name, (_, span) in trace.items()}
    assert parents == {
        "persia.predict": b"",
        "persia.handle": numbers["persia.predict"],
        "persia.lookup": numbers["persia.handle"],
        "persia.model": numbers["persia.handle"],
    }
    assert {service for name, (service, _) in trace.items() if name != "persia.predict"} == {"persia-handler"}
    times = [(span.start_time_unix_nano, span.end_time_unix_nano) for _, span in trace.values()]
    outer = trace["persia.predict"][1]
    assert all(outer.start_time_unix_nano <= begin <= end <= outer.end_time_unix_nano for begin, end in times)


def test_a_caller_over_rest_may_name_the_span_that_it_asks_for(served: Served) -> None:
    trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    header = {"traceparent": f"00-{trace}-{span}-01"}
    assert ask(served.run.inference("predictions/ctr"), BATCH.read_bytes(), headers=header).status == 200
    found = wait_until(
        lambda: by_name(served.receiver.spans(), bytes.fromhex(trace)).get("persia.handle"), "the handler's span has come"
    )
    assert found[1].parent_span_id == bytes.fromhex(span)


def test_a_caller_whose_trace_is_not_sampled_leaves_none(served: Served) -> None:
    not_sampled, sampled = "1af7651916cd43dd8448eb211c80319c", "2af7651916cd43dd8448eb211c80319c"
    for trace, flag in ((not_sampled, "00"), (sampled, "01")):
        header = {"traceparent": f"00-{trace}-b7ad6b7169203331-{flag}"}
        assert ask(served.run.inference("predictions/ctr"), BATCH.read_bytes(), headers=header).status == 200
    wait_until(lambda: by_name(served.receiver.spans(), bytes.fromhex(sampled)).get("persia.handle"), "the later one has come")
    assert by_name(served.receiver.spans(), bytes.fromhex(not_sampled)) == {}


@pytest.mark.parametrize("environment", [{}, {VARIABLE: ""}, {VARIABLE: "0"}])
def test_without_being_asked_nothing_is_traced(environment: dict[str, str]) -> None:
    traces = traces_of("x", environment)
    assert traces is NO_TRACES and traces.headers() == {}
    with traces.span("x", ({} for _ in range(1))) as span:
        span.set_attribute("y", 1)


def test_traces_without_opentelemetry_are_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(
        ConfigError, match=r"PERSIA_TRACES is set, but .*opentelemetry.* is not there: .*persia-serve\[traces\]"
    ):
        traces_of("x", {VARIABLE: "1"})
