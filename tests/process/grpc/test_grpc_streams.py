"""Answers of many messages: no more of them is made than the caller takes, and no caller holds up the others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from persia.serving.answering import MOST_UNSENT
from persia.serving.server import THREADS
from tests.support.echo_clients import GrpcioClient, Request, grpcio_channel
from tests.support.echo_servers import PATIENCE, SERVICE, EchoServer
from tests.support.servers import wait_until

COUNT, MADE, ECHO = (f"/{SERVICE}/{name}" for name in ("Count", "Made", "Echo"))
SIZE, MESSAGES = 100_000, 10_000
# Beside what is unsent: frames before the socket, and the socket's buffers.
ON_THE_WAY = 16 << 20
STEADY_WINDOW = {"grpc.http2.bdp_probe": 0}  # of 64 KiB: else grpcio takes what it is sent, whether somebody reads it or not


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EchoServer]:
    with EchoServer(tmp_path) as server:
        yield server


@pytest.fixture
def channel(server: EchoServer) -> Iterator[grpc.Channel]:
    with grpcio_channel(server.address, None, STEADY_WINDOW) as channel:
        yield channel


def begin(channel: grpc.Channel, request: str = f"{MESSAGES} {SIZE}", seconds: float = 2 * PATIENCE) -> Any:
    method: Any = channel.unary_stream(COUNT)
    return method(request.encode(), timeout=seconds)


def test_a_caller_that_does_not_read_makes_the_server_wait(server: EchoServer, channel: grpc.Channel) -> None:
    calls = [begin(channel) for _ in range(THREADS + 1)]
    for call in calls:
        assert len(next(call)) == SIZE
    with GrpcioClient(server.address, None) as other:  # no thread is held by those that wait
        made: list[int] = []

        def stands_still() -> bool:
            made.append(int(other.call(Request(MADE)).message))
            return len(made) > 20 and made[-1] == made[-20]

        wait_until(stands_still, "no message is made any more")
        assert other.echoes(ECHO, 1_000)
    assert made[-1] * SIZE < MOST_UNSENT + ON_THE_WAY
    assert sum(1 for _ in calls[0]) == MESSAGES - 1  # and it goes on when it reads


def test_a_stream_that_is_given_up_is_closed(server: EchoServer, channel: grpc.Channel) -> None:
    call = begin(channel)
    next(call)
    call.cancel()
    server.wait_for_line(r"stops after \d+")


def test_a_stream_of_a_lost_client_is_closed(server: EchoServer) -> None:
    with grpcio_channel(server.address, None) as channel:
        next(begin(channel))
    server.wait_for_line(r"stops after \d+")


def test_a_stream_ends_with_its_deadline(server: EchoServer, channel: grpc.Channel) -> None:
    call = begin(channel, seconds=1)
    next(call)
    server.wait_for_line(r"stops after \d+")
    with pytest.raises(grpc.RpcError) as caught:
        list(call)
    assert "DEADLINE_EXCEEDED" in str(caught.value)


def test_what_a_stream_raises_is_its_status(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(begin(channel, "3 2"))  # bytes(-2)
    assert "INTERNAL" in str(caught.value) or "UNKNOWN" in str(caught.value)
