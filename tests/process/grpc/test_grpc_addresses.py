"""Where a server of gRPC may listen, asked by grpcio: every kind of address, several at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.echo_clients import GrpcioClient, Request
from tests.support.echo_servers import SERVICE, EchoServer

DESCRIBE = Request(f"/{SERVICE}/Describe")


def peer_seen(address: str) -> str:
    """Who asks, as the server knows."""
    with GrpcioClient(address, None) as client:
        peer: str = json.loads(client.call(DESCRIBE).message)["peer"]
        return peer


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def test_addresses_of_ipv4_and_ipv6_and_a_path_at_once(tmp_path: Path) -> None:
    path = f"unix:{tmp_path}/echo.sock"
    with EchoServer(tmp_path, "127.0.0.1:0", "[::1]:0", "localhost:0", path) as server:
        v4, v6, name, unix = server.addresses
        assert len({port_of(v4), port_of(v6), port_of(name)}) == 3 and min(map(port_of, (v4, v6, name))) > 0
        assert (v6.rpartition(":")[0], name.rpartition(":")[0], unix) == ("[::1]", "localhost", path)
        assert peer_seen(v4).startswith("127.0.0.1:")
        assert peer_seen(v6).startswith("[::1]:")
        assert peer_seen(name)
        assert peer_seen(unix) == "unix:"
        assert server.terminate() == 0
    assert not (tmp_path / "echo.sock").exists()


@pytest.mark.parametrize("host", ["", "[::]"])
def test_all_addresses_of_both_kinds(tmp_path: Path, host: str) -> None:
    with EchoServer(tmp_path, f"{host}:0") as server:
        port = port_of(server.addresses[0])
        assert "127.0.0.1" in peer_seen(f"127.0.0.1:{port}")
        assert peer_seen(f"[::1]:{port}").startswith("[::1]:")


def test_all_addresses_of_ipv4(tmp_path: Path) -> None:
    with EchoServer(tmp_path, "0.0.0.0:0") as server:
        assert peer_seen(f"127.0.0.1:{port_of(server.addresses[0])}").startswith("127.0.0.1:")
