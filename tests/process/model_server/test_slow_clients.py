"""A thousand clients that send a request by the byte and take nothing: others are answered, and nothing of them stays."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.model_servers import ModelServerRun, ask, make_mar
from tests.support.servers import wait_until

CLIENTS = 1000
FILES = 4 * CLIENTS
BEGIN = {
    "inference": b"POST /predictions/probe HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\n\r\n",
    # The preface and empty SETTINGS, and then the head of a frame of HEADERS whose block does not come.
    "grpc_inference": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
    + bytes([0, 1, 0, 1, 0, 0, 0, 0, 1]),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServerRun]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < FILES:
        pytest.skip(f"a process may have {hard} files here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, FILES), hard))
    try:
        directory = tmp_path_factory.mktemp("slow_clients")
        make_mar(directory / "store", "probe")
        with ModelServerRun(directory, directory / "store", "--models", "all") as run:
            run.wait_ready()
            yield run
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def files_of(server: ModelServerRun) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


@pytest.mark.parametrize("listener", ["inference", "grpc_inference"])
def test_slow_clients_hold_up_nobody(server: ModelServerRun, listener: str) -> None:
    host, _, port = server.places[listener].rpartition(":")
    server.predict("probe", do="echo x")
    before = files_of(server)
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection((host, int(port)))) for _ in range(CLIENTS)]
        for client in clients:
            client.sendall(BEGIN[listener])
        wait_until(lambda: files_of(server) >= before + CLIENTS, "all of them are connected")
        for number in range(20):
            for client in clients[number::20]:
                client.sendall(b"\0")
            assert server.predict("probe", do="echo x") == "x"
            assert ask(server.inference("predictions/probe"), b"echo x").body == b"x"
        assert files_of(server) >= before + CLIENTS, "they are still there"
    wait_until(lambda: files_of(server) <= before + 2, "nothing of them stays")
