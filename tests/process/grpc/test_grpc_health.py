"""Health and reflection as others ask for them: Kubernetes' probes, grpc_health_probe, grpcurl."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from tests.support.certified import run_certificates
from tests.support.echo_clients import grpcio_channel
from tests.support.echo_servers import PATIENCE, SERVICE, EchoServer

REQUESTS = 1_000
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture(params=["plain text", "mutual TLS"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EchoServer]:
    certificates: Path | None = None
    if request.param == "mutual TLS":
        certificates = tmp_path / "certificates"
        run_certificates(certificates)
    with EchoServer(tmp_path, certificates=certificates) as server:
        yield server


@pytest.fixture
def channel(server: EchoServer) -> Iterator[grpc.Channel]:
    with grpcio_channel(server.address, server.certificates) as channel:
        yield channel


def check(channel: grpc.Channel, service: str) -> Any:
    request = health_pb2.HealthCheckRequest(service=service)
    return health_pb2_grpc.HealthStub(channel).Check(request, timeout=PATIENCE, wait_for_ready=True).status


def test_check_as_a_probe_asks(channel: grpc.Channel) -> None:
    assert [check(channel, service) for service in ("", SERVICE)] == [SERVING, SERVING]
    with pytest.raises(grpc.RpcError) as caught:
        check(channel, "test.Other")
    assert "NOT_FOUND" in str(caught.value)


def test_watch_is_told_of_the_end(server: EchoServer, channel: grpc.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    watches = [stub.Watch(health_pb2.HealthCheckRequest(service=name), timeout=PATIENCE) for name in ("", SERVICE)]
    other = stub.Watch(health_pb2.HealthCheckRequest(service="test.Other"), timeout=PATIENCE)
    assert next(other).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    assert [next(watch).status for watch in watches] == [SERVING, SERVING]
    server.process.send_signal(signal.SIGTERM)
    assert [next(watch).status for watch in watches] == [NOT_SERVING, NOT_SERVING]
    for watch in (*watches, other):
        watch.cancel()
    assert server.process.wait(PATIENCE) == 0


def ask(channel: grpc.Channel, version: str, *requests: reflection_pb2.ServerReflectionRequest) -> list[Any]:
    """All over one stream, as grpcurl does."""
    method = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    return list(method(iter(requests), timeout=PATIENCE))


def test_requests_of_a_stream_are_answered_in_their_order(channel: grpc.Channel) -> None:
    request = reflection_pb2.ServerReflectionRequest
    hosts = [f"{number}.test" for number in range(REQUESTS)]
    answers = ask(channel, "v1", *(request(host=host, list_services="") for host in hosts))
    assert [answer.valid_host for answer in answers] == hosts


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_as_grpcurl_asks(channel: grpc.Channel, version: str) -> None:
    """`grpcurl HOST list`, then `describe`, then a call with what was described."""
    request = reflection_pb2.ServerReflectionRequest
    services, described, missing = ask(
        channel,
        version,
        request(list_services=""),
        request(file_containing_symbol="grpc.health.v1.Health"),
        request(file_containing_symbol="test.Nothing"),
    )
    assert {service.name for service in services.list_services_response.service} >= {SERVICE, "grpc.health.v1.Health"}
    assert missing.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
    pool = descriptor_pool.DescriptorPool()
    for file in described.file_descriptor_response.file_descriptor_proto:
        pool.Add(descriptor_pb2.FileDescriptorProto.FromString(file))
    method = pool.FindServiceByName("grpc.health.v1.Health").FindMethodByName("Check")
    asked, answered = (message_factory.GetMessageClass(kind) for kind in (method.input_type, method.output_type))
    call: Any = channel.unary_unary("/grpc.health.v1.Health/Check", asked.SerializeToString, answered.FromString)
    assert call(asked(service=SERVICE), timeout=PATIENCE).status == SERVING
