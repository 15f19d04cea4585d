"""All clients of gRPC that others wrote and that tests ask our servers with, by name."""

from __future__ import annotations

from tests.support.echo_clients import Client, GrpcioClient
from tests.support.echo_loop_clients import AioClient, GrpclibClient
from tests.support.echo_node import NodeClient

CLIENTS: dict[str, type[Client]] = {"grpcio": GrpcioClient, "aio": AioClient, "grpclib": GrpclibClient, "grpc-js": NodeClient}
