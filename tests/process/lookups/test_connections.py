"""What connections hold and say at their limits: of memory, of time, of file descriptors, and of a server that stops."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import os
import resource
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from persia.batch import IDTypeFeature, PersiaBatch
from persia.ctx import InferCtx
from persia.errors import DeadlineExceeded, Unavailable
from persia.serving.server import Server
from tests.support.middlewares import Deployment
from tests.support.replicas import GOLDEN_BATCH, Replicas, assert_golden, golden_batch, router_of, stopped
from tests.support.servers import PATIENCE, wait_until

BATCH = GOLDEN_BATCH.read_bytes()


def test_a_connection_that_waits_does_not_keep_its_last_answer(contexts: list[InferCtx]) -> None:
    """Nor does anybody else: that of the middleware here is of 5.4 MB, those of the shards together of 4.8."""
    samples, ids = 60_000, np.arange(600_000, dtype=np.uint64)
    clicked = IDTypeFeature("clicked", ids, np.arange(samples + 1) * 10)
    batch = PersiaBatch([clicked], requires_grad=False).to_bytes()
    for context in contexts:
        context.get_embedding_from_bytes(BATCH)
        before = resident()
        assert context.get_embedding_from_bytes(batch).lookup.numbers.nbytes > 5e6
        assert resident() - before < 2


def resident() -> float:
    """MiB that are in use: what is free goes back to the system first."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_a_time_that_is_over_before_anybody_was_asked(contexts: list[InferCtx], seconds: float) -> None:
    for context in contexts:
        with pytest.raises(DeadlineExceeded, match=r"got no time to ask"):
            context.get_embedding_from_bytes(BATCH, timeout=seconds)


@pytest.mark.parametrize("seconds", [5e6, 1e12, float("inf")])
def test_any_amount_of_time_may_be_given(contexts: list[InferCtx], seconds: float) -> None:
    for context in contexts:
        assert context.get_embedding_from_bytes(BATCH, timeout=seconds).lookup.missing_shards == []


def test_a_shard_that_hangs_is_named_through_the_middleware(contexts: list[InferCtx], deployment: Deployment) -> None:
    with stopped(deployment.shards[1]):
        named = f"shard 1 of 2 in time, got none from {deployment.addresses[1]}"
        for context in contexts:
            # On a busy machine a middleware may be late with its word.
            wait_until(functools.partial(lambda context: named in why_not(context, 0.5), context), "the shard is named")


def why_not(context: InferCtx, seconds: float) -> str:
    with pytest.raises(DeadlineExceeded) as caught:
        context.get_embedding_from_bytes(BATCH, timeout=seconds)
    return str(caught.value)


def test_without_file_descriptors_it_is_a_typed_error(tmp_path: Path) -> None:
    batch = golden_batch()
    with Replicas(tmp_path) as servers, router_of(servers.addresses) as router:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        used = [os.dup(0)]
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (used[0] + 1, hard))
            with contextlib.suppress(OSError):
                while True:  # lower ones that others have closed meanwhile
                    used.append(os.dup(0))
            begun = [router.native.begin(batch, 1) for _ in range(50)]  # each takes connections, and few are there
            with pytest.raises(Unavailable, match="Too many open files"):
                begun[-1].finish()
            del begun
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for descriptor in used:
                os.close(descriptor)
        wait_until(lambda: not router.why_not_ready(), "it connects again")
        assert_golden(router.lookup(golden_batch()))


def test_connections_that_come_while_a_server_stops_are_closed() -> None:
    for _ in range(10):
        server = Server([])
        host, _, port = server.listen("127.0.0.1:0").rpartition(":")
        server.start()
        sockets: list[socket.socket] = []

        def connect(where: tuple[str, int], sockets: list[socket.socket]) -> None:
            with contextlib.suppress(ConnectionError):
                while True:
                    sockets.append(socket.create_connection(where))

        thread = threading.Thread(target=connect, args=((host, int(port)), sockets))
        thread.start()
        wait_until(lambda: len(sockets) > 20, "connections come")  # noqa: B023
        server.stop(0)
        thread.join(PATIENCE)
        assert not thread.is_alive()
        for sock in sockets:
            with sock, contextlib.suppress(ConnectionError):
                sock.settimeout(PATIENCE)
                while sock.recv(1 << 10):  # what it has to say before
                    pass


def test_all_addresses_are_those_of_ipv4_too() -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6")
    server = Server([])
    port = int(server.listen("[::]:0").rpartition(":")[2])
    server.start()
    try:
        for host in ("::1", "127.0.0.1"):
            socket.create_connection((host, port)).close()
    finally:
        server.stop(0)


def test_the_memory_of_a_lookup_serves_the_next_one() -> None:
    program = """
import logging, resource, sys, threading
import numpy as np
from persia.serving.process import set_up

def faults_of_a_lookup() -> int:
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    pieces = [np.ones(450_000, np.uint8) for _ in range(5)]
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before

def work() -> None:
    faults = [faults_of_a_lookup() for _ in range(30)]
    print(sum(faults[10:]))

set_up(logging.getLogger(), "info")
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 500  # about 400 for each of 20 where the memory goes back
