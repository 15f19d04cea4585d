"""The end of a server: what it works on is answered, what is idle ends at once and cleanly."""

from __future__ import annotations

import gc
import signal
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from persia_packets import CONFIG
from servers import PATIENCE, EmbeddingServer, wait_until

from persia.errors import TooLarge, Unavailable
from persia.rpc import Server
from persia.rpc.streams import OpenStreams
from persia.v1 import embedding_pb2 as pb

IDS, DIM = 1_000_000, 16
# Its answer of 64 MB does not fit into the buffers between server and client.
LARGE = pb.LookupRequest(
    id=7, parts=np.array([0, 0, DIM, 1, IDS, 0], np.uint32).tobytes(), signs=np.arange(IDS, dtype=np.uint64).tobytes()
)


class Client:
    """A stream that stays open, and sends what it is given first."""

    def __init__(self, server: EmbeddingServer, *requests: pb.LookupRequest) -> None:
        self._requests = requests
        self.done = threading.Event()
        self.stream = server.stub.LookupStream(self._ask())

    def _ask(self) -> Iterator[pb.LookupRequest]:
        yield from self._requests
        self.done.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddingServer]:
    with EmbeddingServer(tmp_path, CONFIG) as server:
        yield server.wait_ready()


def test_idle_streams_end_cleanly_and_at_once(server: EmbeddingServer) -> None:
    clients = [Client(server, pb.LookupRequest(id=k)) for k in range(30)]
    assert [next(client.stream).id for client in clients] == list(range(30))
    fresh = Client(server)
    wait_until(lambda: fresh.stream.is_active(), "a stream without a request is open")
    assert server.terminate() == 0
    for client in clients:
        assert list(client.stream) == []
        assert client.stream.code() == grpc.StatusCode.OK
    for client in [*clients, fresh]:
        client.done.set()


def test_an_answer_that_is_under_way_arrives_whole_and_ends_the_stream(server: EmbeddingServer) -> None:
    client = Client(server, LARGE, pb.LookupRequest(id=8))
    assert client.stream.initial_metadata() is not None  # comes with the answer
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "stopping" in server.log(), "it has begun to stop")
    answer = next(client.stream)
    assert (answer.id, len(answer.numbers)) == (7, IDS * DIM * 4)
    assert list(client.stream) == []
    assert client.stream.code() == grpc.StatusCode.OK
    assert server.process.wait(PATIENCE) == 0
    client.done.set()


def test_a_second_signal_ends_it_at_once(server: EmbeddingServer) -> None:
    client = Client(server, LARGE)
    assert client.stream.initial_metadata() is not None
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "stopping" in server.log(), "it has begun to stop")
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(PATIENCE) == 128 + signal.SIGTERM
    client.stream.cancel()
    client.done.set()


class Answer:
    """That can be seen to go away."""


def test_an_idle_stream_does_not_keep_its_last_answer() -> None:
    """A router has many streams open, and answers are of megabytes."""
    answers: list[weakref.ref[Answer]] = []

    def answer(requests: Iterator[bytes], _: grpc.ServicerContext) -> Iterator[Answer]:
        def one(_request: bytes) -> Answer:
            made = Answer()
            answers.append(weakref.ref(made))
            return made

        return map(one, requests)

    handler: grpc.RpcMethodHandler[bytes, Answer] = grpc.stream_stream_rpc_method_handler(
        answer, response_serializer=lambda _: b""
    )
    server = Server("127.0.0.1:0", [])
    server.grpc.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", {"Stream": handler}),))
    server.start()
    done = threading.Event()

    def requests() -> Iterator[bytes]:
        yield b""
        yield b""
        done.wait()

    try:
        with grpc.insecure_channel(server.address) as channel:
            call: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream("/test.Test/Stream")
            stream = call(requests())
            assert [next(stream), next(stream)] == [b"", b""]
            wait_until(lambda: gc.collect() >= 0 and all(answer() is None for answer in answers), "the answers are gone")
            assert len(answers) == 2
            done.set()
            assert list(stream) == []
    finally:
        done.set()
        server.stop(0)


def test_streams_by_themselves() -> None:
    """What no client can time: a request in the moment of the end, a stream opened after it, one that fails."""
    streams, ends = OpenStreams(2), list[str]()

    def late() -> Iterator[int]:
        yield 1
        streams.drain()  # while the stream waits
        yield 2

    with streams.open(late(), lambda: ends.append("late")) as asked:
        assert list(asked) == [1]
    assert ends == ["late"]
    with pytest.raises(Unavailable, match="one that is stopping"), streams.open(iter([]), ends.clear):
        pass

    streams = OpenStreams(2)
    with streams.open(iter([1, 2, 3]), lambda: ends.append("busy")) as asked:
        assert next(asked) == 1
        streams.drain()
        assert ends == ["late"]
        assert list(asked) == []
    assert ends == ["late", "busy"]

    streams = OpenStreams(1)
    for _ in range(2):  # one that failed makes room
        with pytest.raises(ZeroDivisionError), streams.open(iter([]), ends.clear):
            with pytest.raises(TooLarge, match="at most 1 open streams"), streams.open(iter([]), ends.clear):
                pass
            raise ZeroDivisionError
    assert ends == ["late", "busy"]
