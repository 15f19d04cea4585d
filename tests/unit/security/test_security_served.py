"""A server of ours with TLS and tokens, asked by grpcio: who is let in, and what the others get."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import msgspec
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from persia.config import SecurityConfig
from persia.rpc.grpcio import GrpcioSecurity
from persia.security import ServerSecurity
from persia.serving.server import Server
from tests.support.certified import TOKEN, mutual_tls, run_certificates, token_file


class Served:
    def __init__(self, section: SecurityConfig) -> None:
        self.security = ServerSecurity(section)
        self.server = Server(["test.Nothing"], guard=self.security.guard, tls=self.security.tls)
        self.address = self.server.listen("127.0.0.1:0")
        self.server.set_serving(True)
        self.server.start()


@contextmanager
def served(section: SecurityConfig) -> Iterator[Served]:
    running = Served(section)
    try:
        yield running
    finally:
        running.server.stop(0)


def health(channel: grpc.Channel, security: GrpcioSecurity) -> str:
    """SERVING, or the code of the error."""
    request = health_pb2.HealthCheckRequest()
    try:
        answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=30, metadata=security.metadata())
    except grpc.RpcError as error:
        return str(error.code().name)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def reflection(channel: grpc.Channel, security: GrpcioSecurity) -> str:
    requests = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    try:
        (answer,) = stub.ServerReflectionInfo(requests, timeout=30, metadata=security.metadata())
    except grpc.RpcError as error:
        return str(error.code().name)
    return str(answer.list_services_response.service[0].name)


def ask(address: str, section: SecurityConfig) -> str:
    security = GrpcioSecurity(section)
    with security.channel(address) as channel:
        return health(channel, security)


def test_both_are_wanted_where_both_are_configured(tmp_path: Path) -> None:
    both = msgspec.structs.replace(mutual_tls(tmp_path), tokens=token_file(tmp_path), token=token_file(tmp_path))
    with served(both) as running:
        assert ask(running.address, both) == "SERVING"
        assert ask(running.address, msgspec.structs.replace(both, token=None)) == "UNAUTHENTICATED"
        without = msgspec.structs.replace(both, client_certificate=None, client_key=None)
        assert ask(running.address, without) == "UNAVAILABLE"
        assert ask(running.address, SecurityConfig(token=both.token)) == "UNAVAILABLE"


@pytest.mark.parametrize("with_tls", [True, False])
def test_without_a_token_there_is_neither_health_nor_reflection(tmp_path: Path, with_tls: bool) -> None:
    tls = msgspec.structs.replace(mutual_tls(tmp_path), client_ca=None) if with_tls else SecurityConfig()
    section = msgspec.structs.replace(tls, tokens=token_file(tmp_path), token=token_file(tmp_path))
    with served(section) as running:
        known, unknown = GrpcioSecurity(section), GrpcioSecurity(msgspec.structs.replace(section, token=None))
        with known.channel(running.address) as channel:
            assert (health(channel, known), reflection(channel, known)) == ("SERVING", "grpc.health.v1.Health")
            assert (health(channel, unknown), reflection(channel, unknown)) == ("UNAUTHENTICATED", "UNAUTHENTICATED")


def test_a_certificate_of_another_ca_is_refused(tmp_path: Path) -> None:
    ours, theirs = mutual_tls(tmp_path / "ours"), mutual_tls(tmp_path / "theirs")
    with served(ours) as running:
        assert ask(running.address, msgspec.structs.replace(theirs, ca=ours.ca)) == "UNAVAILABLE"
        assert ask(running.address, theirs) == "UNAVAILABLE"
        assert ask(running.address, ours) == "SERVING"


def test_what_changes_counts_for_the_next_call_or_connection(tmp_path: Path) -> None:
    tokens, token = tmp_path / "servers", tmp_path / "clients"
    tokens.mkdir()
    token.mkdir()
    section = msgspec.structs.replace(mutual_tls(tmp_path), tokens=token_file(tokens), token=token_file(token))
    security = GrpcioSecurity(section)
    with served(section) as running, security.channel(running.address) as channel:
        assert health(channel, security) == "SERVING"
        other = TOKEN[::-1]
        token_file(tokens, f"{other}\n{TOKEN}\n")
        assert running.security.refresh() == []
        assert health(channel, security) == "SERVING"
        token_file(tokens, f"{other}\n")
        assert running.security.refresh() == []
        assert health(channel, security) == "UNAUTHENTICATED"
        token_file(token, f"{other}\n")
        assert health(channel, security) == "SERVING"
        os.remove(tmp_path / "ca.pem")
        os.remove(tmp_path / "ca-key.pem")
        run_certificates(tmp_path)  # another CA
        assert running.security.refresh() == []
        assert health(channel, security) == "SERVING"  # the connection is there
        assert ask(running.address, section) == "SERVING"
        with security.channel(running.address, [("grpc.use_local_subchannel_pool", 1)]) as anew:
            assert health(anew, security) == "UNAVAILABLE"
