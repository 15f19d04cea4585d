"""The end of a server: what it works on is answered, unless a second signal ends it at once."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from persia.v1 import embedding_pb2 as pb
from persia.v1 import embedding_pb2_grpc as pb_grpc
from tests.support.persia_packets import CONFIG
from tests.support.proxies import Forwarder
from tests.support.servers import PATIENCE, EmbeddingServer, wait_until

IDS, DIM = 1_000_000, 16
# Its answer of 64 MB does not fit into the buffers between server and client.
LARGE = pb.LookupRequest(
    parts=np.array([0, 0, DIM, 1, IDS, 0], np.uint32).tobytes(), signs=np.arange(IDS, dtype=np.uint64).tobytes()
)


class Dam(Forwarder):
    """Lets the beginning of an answer through, and the rest when it is opened."""

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self.flows.clear()
        self.full = threading.Event()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        room = 1 << 20 if source.getpeername()[1] == self._port else 1 << 30
        while room > 0 and (data := source.recv(1 << 16)):
            target.sendall(data)
            room -= len(data)
        if room <= 0:
            self.full.set()
        self.flows.wait()
        super()._copy(source, target)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddingServer]:
    with EmbeddingServer(tmp_path, CONFIG) as server:
        yield server.wait_ready()


@pytest.fixture
def dam(server: EmbeddingServer) -> Iterator[Dam]:
    with Dam(server.address) as dam:
        yield dam
        dam.flows.set()


@pytest.fixture
def call(dam: Dam) -> Iterator[grpc.Future[pb.LookupResponse]]:
    """Its answer is under way."""
    with grpc.insecure_channel(dam.address, options=[("grpc.max_receive_message_length", -1)]) as channel:
        call = pb_grpc.EmbeddingServerStub(channel).Lookup.future(LARGE)
        assert dam.full.wait(PATIENCE)
        yield call


def test_an_answer_that_is_under_way_arrives_whole(
    server: EmbeddingServer, dam: Dam, call: grpc.Future[pb.LookupResponse]
) -> None:
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "stopping" in server.log(), "it has begun to stop")
    dam.flows.set()
    assert len(call.result(PATIENCE).numbers) == IDS * DIM * 4
    assert server.process.wait(PATIENCE) == 0


HANGS = """
import threading
from persia.serving.server import Server
from persia.system.signals import StopSignal
from persia.v1 import embedding_pb2 as pb

stop = StopSignal()
server = Server([])
server.add_unary("/x.Y/Hang", pb.StatusRequest, lambda request: print("asked", flush=True) or threading.Event().wait())
print(server.listen("127.0.0.1:0"), flush=True)
stop.serving()
server.start()
stop.wait()
print("stopping", flush=True)
server.stop(1e6)
"""


def test_a_second_signal_ends_it_at_once() -> None:
    """And not when those who are answered have had their time."""
    with subprocess.Popen([sys.executable, "-c", HANGS], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        with grpc.insecure_channel(process.stdout.readline().strip()) as channel:
            call = channel.unary_unary("/x.Y/Hang", bytes, bytes).future(b"", wait_for_ready=True)
            assert process.stdout.readline() == "asked\n" and not call.done()
            process.terminate()
            assert process.stdout.readline() == "stopping\n"
            process.terminate()
            try:
                assert process.wait(PATIENCE) == 128 + signal.SIGTERM
            finally:
                process.kill()
