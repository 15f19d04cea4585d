"""A receiver of traces in the test's own process, as any collector of OpenTelemetry is one."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from typing_extensions import Self


class OtlpReceiver(trace_service_pb2_grpc.TraceServiceServicer):
    """With `with`, it is stopped at the end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spans: list[tuple[str, Span]] = []
        self._server = grpc.server(ThreadPoolExecutor(2))
        add: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server  # has no types
        add(self, self._server)
        self.url = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def Export(self, request: Any, context: Any) -> Any:
        with self._lock:
            for of_process in request.resource_spans:
                (service,) = [one.value.string_value for one in of_process.resource.attributes if one.key == "service.name"]
                self._spans += [(service, span) for scope in of_process.scope_spans for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()

    def spans(self) -> list[tuple[str, Span]]:
        """All that came, each with the service that it is of."""
        with self._lock:
            return list(self._spans)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(0).wait()
