"""Lookups of one embedding server, as bench_server.py makes them: with grpcio, and with the client of routers."""

from __future__ import annotations

import threading
import time

import grpc
import numpy as np

from persia import _core
from persia.rpc.wire import LOOKUP
from persia.system.process import keep_freed_memory
from persia.v1 import embedding_pb2 as pb
from persia.v1 import embedding_pb2_grpc as pb_grpc

FEATURES, DIM, SAMPLES, IDS, ROWS = 26, 16, 128, 16, 200_000
OPTIONS = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
PATIENCE = 60.0  # seconds


def lookup_request(rng: np.random.Generator) -> pb.LookupRequest:
    """One of a batch of SAMPLES x IDS x FEATURES, as sums."""
    n = SAMPLES * IDS
    parts = np.array([[i, 1, DIM, SAMPLES, n, n] for i in range(FEATURES)], np.uint32)
    signs = [rng.integers(0, ROWS, n).astype(np.uint64) + np.uint64((i + 1) << 56) for i in range(FEATURES)]
    samples = np.tile(np.repeat(np.arange(SAMPLES, dtype=np.uint16), IDS), FEATURES)
    return pb.LookupRequest(
        parts=parts.tobytes(),
        signs=np.concatenate(signs).tobytes(),
        sum_counts=np.ones(n * FEATURES, np.uint32).tobytes(),
        sum_samples=samples.tobytes(),
    )


class Lookups:
    """Calls one server with grpcio, one call after the other, on one connection."""

    def __init__(self, port: int) -> None:
        keep_freed_memory()  # as every process does that looks up embeddings by a context
        self.port = port
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS)
        self.stub = pb_grpc.EmbeddingServerStub(self.channel)
        rng = np.random.default_rng(4)
        self.requests = [lookup_request(rng) for _ in range(16)]
        self.messages = [request.SerializeToString() for request in self.requests]
        self.call(0)

    def call(self, k: int) -> float:
        began = time.perf_counter()
        self.stub.Lookup(self.requests[k % len(self.requests)])
        return time.perf_counter() - began

    def for_seconds(self, seconds: float) -> list[float]:
        times: list[float] = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            times.append(self.call(len(times)))
        return times

    def until(self, done: threading.Event) -> list[float]:
        times: list[float] = []
        while not done.is_set():
            times.append(self.call(len(times)))
        return times


class OwnLookups(Lookups):
    """With our own client in place of grpcio: as routers ask."""

    def __init__(self, port: int) -> None:
        self.replica = _core.net.Replica(f"127.0.0.1:{port}")
        super().__init__(port)

    def call(self, k: int) -> float:
        message = self.messages[k % len(self.messages)]
        began = time.perf_counter()
        self.replica.call(LOOKUP, message, PATIENCE)
        return time.perf_counter() - began
