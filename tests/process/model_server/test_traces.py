"""One trace from a client through handler and middleware to the shards, as a receiver of OpenTelemetry gets it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import grpc
import numpy as np
import pytest
import yaml
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from persia.errors import ConfigError
from persia.tracing import NO_TRACES, VARIABLE, traces_of
from persia.v1 import embedding_pb2 as pb
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
# Lookups within spans of the program's own: each way, and one that is not sampled.
LOOKUPS = """
import sys
import time
from opentelemetry import trace
from persia import _core
from persia.config import load_embedding_config
from persia.routing.forwarded import MiddlewareClient
from persia.routing.lookup import RouterOptions
from persia.routing.router import Router
from persia.tracing import traces_of

config, data, middleware, *shards = sys.argv[1:]
batch = _core.decode_batch(open(data, "rb").read())
traces = traces_of("looking-up")
direct = Router(load_embedding_config(config), [[one] for one in shards], RouterOptions())
forwarded = MiddlewareClient([middleware], RouterOptions())
for name, lookups in {"direct": direct, "forwarded": forwarded}.items():
    while lookups.why_not_ready():
        time.sleep(0.01)
    lookups.lookup(batch)
    with trace.use_span(trace.NonRecordingSpan(trace.SpanContext(7, 7, True, trace.TraceFlags(0)))):
        lookups.lookup(batch)
    with traces.span(name):
        lookups.lookup(batch)
    lookups.close()
"""


class Served(NamedTuple):
    """Two shards, a middleware and a model server, all of which trace, and where the traces come."""

    deployment: Deployment
    run: ModelServerRun
    receiver: OtlpReceiver
    environment: dict[str, str]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("traces")
    forwarded = directory / "global_config.yml"
    forwarded.write_text(yaml.safe_dump({"embedding_worker_config": {"clients_ask_shards": False}}))
    with OtlpReceiver() as receiver:
        environment = {VARIABLE: "1", "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            deployment = Deployment(directory, MIX, 2, arguments=["--metrics-port", "0"])
        with deployment:
            settings = {"addresses": [deployment.middleware.address], "global_config": str(forwarded)}
            model = make_archive(directory / "store", "ctr", handler=PERSIA_HANDLER, persia=settings)
            with ModelServerRun(directory, directory / "store", "--models", model, environment=environment) as run:
                run.wait_ready()
                yield Served(deployment, run, receiver, environment)


Found = list[tuple[str, Span]]


def of_trace(spans: Found, trace: bytes) -> Found:
    return [(service, span) for service, span in spans if span.trace_id == trace]


def by_name(spans: Found, trace: bytes) -> dict[str, tuple[str, Span]]:
    return {span.name: (service, span) for service, span in of_trace(spans, trace)}


def whole_trace(served: Served, service: str, root: str, count: int) -> Found:
    """All spans of the trace whose first one is this one."""

    def come() -> Found | None:
        spans = served.receiver.spans()
        roots = [span for of, span in spans if (of, span.name, span.parent_span_id) == (service, root, b"")]
        found = of_trace(spans, roots[0].trace_id) if roots else []
        return found if len(found) >= count else None

    found: Found = wait_until(come, "all spans of the trace have come")
    assert len(found) == count
    return found


def tree_of(spans: Found, parent: bytes = b"") -> list[tuple[str, str, Any]]:
    """Service, name, and all within it, in the order of names."""
    children = sorted((one for one in spans if one[1].parent_span_id == parent), key=lambda one: one[1].name)
    return [(service, span.name, tree_of(spans, span.span_id)) for service, span in children]


def facts_of(span: Span) -> dict[str, Any]:
    return {one.key: getattr(one.value, str(one.value.WhichOneof("value"))) for one in span.attributes}


def run_python(served: Served, code: str, *arguments: object) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, **served.environment},
        timeout=PATIENCE,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


SHARD: tuple[str, str, Any] = ("persia-embedding-server", "persia.shard", [])


def asking(service: str) -> tuple[str, str, Any]:
    """What a router does."""
    return (service, "persia.route", [(service, "persia.ask", [SHARD])] * 2)


def test_one_trace_goes_from_the_client_through_handler_and_middleware_to_the_shards(served: Served) -> None:
    run_python(served, CLIENT, served.run.places["grpc_inference"], BATCH)
    trace = whole_trace(served, "persia-client", "persia.predict", 11)
    handler, middleware = "persia-handler", "persia-middleware"
    forwarded = (middleware, "persia.forward", [asking(middleware)])
    lookup = (handler, "persia.lookup", [(handler, "persia.ask", [forwarded])])
    within = [(handler, "persia.handle", [lookup, (handler, "persia.model", [])])]
    assert tree_of(trace) == [("persia-client", "persia.predict", within)]
    outer = by_name(trace, trace[0][1].trace_id)["persia.predict"][1]
    assert all(outer.start_time_unix_nano <= span.start_time_unix_nano for _, span in trace)
    assert all(span.start_time_unix_nano <= span.end_time_unix_nano for _, span in trace)


def test_the_spans_say_what_was_done(served: Served) -> None:
    places = [served.deployment.middleware.address, *served.deployment.addresses]
    run_python(served, LOOKUPS, served.deployment.embedding_config, BATCH, *places)
    direct = whole_trace(served, "looking-up", "direct", 6)
    assert tree_of(direct) == [("looking-up", "direct", [asking("looking-up")])]
    spans = {name: [facts_of(span) for _, span in direct if span.name == name] for name in ("persia.ask", "persia.shard")}
    assert {one["server.address"] for one in spans["persia.ask"]} == set(served.deployment.addresses)
    assert {one["persia.service"] for one in spans["persia.ask"]} == {"shard 0 of 2", "shard 1 of 2"}
    assert {(one["persia.reason"], one["persia.attempt"]) for one in spans["persia.ask"]} == {("first", 1)}
    assert sorted(one["persia.shard"] for one in spans["persia.shard"]) == [0, 1]
    for one in spans["persia.shard"]:
        assert 0 < one["persia.rows"] <= one["persia.ids"] and one["rpc.grpc.status_code"] == 0
        assert one["persia.queued_seconds"] > 0 and one["persia.table_seconds"] > 0 and one["persia.epoch"] == 0
    forwarded = whole_trace(served, "looking-up", "forwarded", 8)
    way = ("persia-middleware", "persia.forward", [asking("persia-middleware")])
    assert tree_of(forwarded) == [("looking-up", "forwarded", [("looking-up", "persia.ask", [way])])]
    roots = [span for of, span in served.receiver.spans() if of == "looking-up" and not span.parent_span_id]
    assert {span.name for span in roots} == {"direct", "forwarded"}  # what was in no span, or not sampled, has left none
    assert of_trace(served.receiver.spans(), (7).to_bytes(16, "big")) == []


def test_a_header_that_is_broken_or_not_sampled_leaves_no_span_and_a_failure_is_said(served: Served) -> None:
    trace, span = "3af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    shard = served.deployment.shards[0]
    parts = np.array([0, 0, 8, 1, 1, 0], np.uint32).tobytes()
    well, wrong = pb.LookupRequest(parts=parts, signs=bytes(8)), pb.LookupRequest(parts=parts)
    parent = f"00-{trace}-{span}-01"
    for headers in (
        [("traceparent", parent[:-1])],
        [("traceparent", parent.upper())],
        [("traceparent", parent[:-2] + "00")],
        [("traceparent", f"ff{parent[2:]}")],
        [("tracestate", "a=1")],
    ):
        assert shard.stub.Lookup(well, metadata=headers, timeout=PATIENCE).numbers
    with pytest.raises(grpc.RpcError):
        shard.stub.Lookup(
            wrong, metadata=[("traceparent", parent), ("tracestate", "a=1"), ("tracestate", "b=2")], timeout=PATIENCE
        )
    found = wait_until(lambda: of_trace(served.receiver.spans(), bytes.fromhex(trace)), "the last one's span has come")
    ((service, said),) = found
    assert (service, said.name, said.parent_span_id) == ("persia-embedding-server", "persia.shard", bytes.fromhex(span))
    assert said.kind == Span.SPAN_KIND_SERVER and said.trace_state == "a=1,b=2"
    assert said.status.message == "expected 1 signs, got 0"


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
