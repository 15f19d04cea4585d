"""The end of a server, with clients of others in mid-flight: no call is lost that had not been answered."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.support.echo_clients import Client, Request, grpcio_channel
from tests.support.echo_loop_clients import GrpclibClient
from tests.support.echo_servers import PATIENCE, SERVICE, EchoServer
from tests.support.every_client import CLIENTS
from tests.support.grpc_echo_server import HELD_BYTES
from tests.support.servers import free_port, wait_until

ECHO, HOLD = f"/{SERVICE}/Echo", f"/{SERVICE}/Hold"
RESTARTS, CALLS = 5, 20


@pytest.fixture(params=CLIENTS)
def client_kind(request: pytest.FixtureRequest) -> type[Client]:
    return CLIENTS[request.param]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EchoServer]:
    with EchoServer(tmp_path) as server:
        yield server


def test_calls_under_way_are_answered_within_the_drain(server: EchoServer, client_kind: type[Client]) -> None:
    if client_kind is GrpclibClient:
        pytest.skip("grpclib drops its connection, and the calls on it, when it hears that no more may be begun")
    calls = [Request(HOLD, str(number).encode()) for number in range(20)]
    with client_kind(server.address, None) as client:
        begun = [client.begin(call) for call in calls]
        server.wait_for_line(r"holds \d+", 4)
        server.process.send_signal(signal.SIGTERM)
        server.wait_for_line("stopping")
        server.process.send_signal(signal.SIGUSR1)
        assert [len(call.result().message) for call in begun] == [HELD_BYTES] * len(calls)
        assert server.process.wait(PATIENCE) == 0


def test_calls_that_nobody_waits_for_are_not_begun(server: EchoServer, client_kind: type[Client]) -> None:
    with client_kind(server.address, None) as client:
        held = [client.begin(Request(HOLD, f"first {number}".encode())) for number in range(4)]
        server.wait_for_line(r"holds first \d", 4)
        queued = [client.begin(Request(HOLD, b"queued")) for _ in range(10)]
        server.wait_for_calls(14)
        for call in (*queued, *held):  # in this order: when a thread is free, those in line are given up
            call.cancel()
        assert client.echoes(ECHO, 1_000)
    assert "holds queued" not in server.log()
    assert server.counts()["cancelled"] == 14


def all_have_more(now: list[int], before: list[int]) -> bool:
    return all(count >= old + CALLS for count, old in zip(now, before, strict=True))


def test_a_client_of_two_servers_does_not_see_that_one_restarts(tmp_path: Path) -> None:
    """Round robin, with what grpcio does by itself: it asks again what a server has not begun."""
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    done, failures = threading.Event(), []
    answered = [0] * 4

    def ask(channel: grpc.Channel, number: int) -> None:
        echo: Any = channel.unary_unary(ECHO)
        while not done.is_set():
            try:
                assert echo(b"ask", timeout=PATIENCE) == b"ask"
                answered[number] += 1
            except grpc.RpcError as error:
                failures.append(str(error))

    with ExitStack() as stack:
        servers = [stack.enter_context(EchoServer(tmp_path / address[-5:], address)) for address in addresses]
        for server in servers:
            server.wait_for_line(r"listening on \S+")
        options = {
            "grpc.service_config": '{"loadBalancingConfig": [{"round_robin": {}}]}',
            "grpc.max_reconnect_backoff_ms": 100,
        }
        channel = stack.enter_context(grpcio_channel("ipv4:" + ",".join(addresses), None, options))
        threads = [threading.Thread(target=ask, args=(channel, number)) for number in range(len(answered))]
        for thread in threads:
            thread.start()
        for _ in range(RESTARTS):
            wait_until(partial(all_have_more, answered, [*answered]), "all are answered again")
            assert servers[1].terminate() == 0
            servers[1].start()
            servers[1].wait_for_line(r"listening on \S+")
        done.set()
        for thread in threads:
            thread.join()
    assert failures == []
