"""What callers of a server notice while somebody floods it: their p99 during each flood, as a ratio to that without one.

usage: python benchmarks/bench_floods.py [--rounds 5] [--seconds 3] [--floods rapid-reset pings ...] [--connections 2]
           [--connects 20]

A server that does next to nothing, a caller who asks it over one channel of grpcio and one who floods it are processes of
their own. Each round measures without a flood and with each of the floods, in turns. One who floods sends as much as the
server takes, over several connections at once; whom the server has sent away comes back, at most so many times a second
(--connects). Medians over the rounds: the caller's p50 and p99 in milliseconds, the ratio of p99 to that without a flood, and
how much the server's memory has grown since its start. Floods come from other machines in earnest: here the one who floods has
the lowest priority, so that what is measured is what the server does about it, and not who gets a processor. `work` is a
process of that priority that does nothing but keep a processor busy, for a comparison.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import multiprocessing
import os
import selectors
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc

PATH = "/benchmark.Nothing/Do"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 8, 9
END_STREAM, END_HEADERS = 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PIECE = 64 << 10
Bytes = Iterator[bytes]


def serve() -> None:
    """Prints its address, and serves until it is killed."""
    from persia import _core

    server = _core.net.Server()
    server.add(PATH, _core.net.constant_method(bytes(16 << 10)))
    print(server.listen("127.0.0.1:0"), flush=True)
    server.start()
    threading.Event().wait()


def frame(kind: int, flags: int, stream: int, body: bytes = b"") -> bytes:
    return len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + body


def headers(stream: int, flags: int = END_HEADERS) -> bytes:
    """Of a call, without entries in the table of the other end."""
    block = b"\x83\x86"  # POST, http
    for name, value in {b":path": PATH.encode(), b":authority": b"x", b"content-type": b"application/grpc"}.items():
        block += bytes([0, len(name)]) + name + bytes([len(value)]) + value
    return frame(HEADERS, flags, stream, block)


def call(stream: int) -> bytes:
    return headers(stream) + frame(DATA, END_STREAM, stream, bytes(5))


def each_stream(make: Callable[[int], bytes], calls: int = 60_000) -> Bytes:
    return iter(
        [b"".join(make(2 * one + 1) for one in range(first, min(first + 200, calls))) for first in range(0, calls, 200)]
    )


def again(bytes_: bytes, first: bytes = b"") -> Bytes:
    yield first
    many = bytes_ * max(1, PIECE // len(bytes_))
    while True:
        yield many


# What is sent after the preface, for as long as the server takes it.
FLOODS: dict[str, Callable[[], Bytes]] = {
    "rapid-reset": lambda: each_stream(lambda stream: headers(stream) + frame(RST_STREAM, 0, stream, struct.pack(">I", 8))),
    "continuation": lambda: again(frame(CONTINUATION, 0, 1, b"\0\1x\1y"), headers(1, 0)),
    "pings": lambda: again(frame(PING, 0, 0, bytes(8))),
    "settings": lambda: again(frame(SETTINGS, 0, 0)),
    "window-updates": lambda: again(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1))),
    "priorities": lambda: again(frame(PRIORITY, 0, 1, bytes([0, 0, 0, 3, 1]))),
    "empty-data": lambda: again(frame(DATA, 0, 1), headers(1)),
    "streams": lambda: each_stream(headers),
    "slow-readers": lambda: each_stream(call, 100),  # nothing of the answers is taken
    "slow-writers": lambda: iter(headers(1) + frame(DATA, 0, 1, bytes([0, 0, 1, 0, 0])) for _ in range(1)),
    "half-open": lambda: iter([]),
}
READS_NOTHING = {"slow-readers", "slow-writers", "half-open"}
MANY = {"slow-readers": 50, "slow-writers": 500, "half-open": 2000}  # connections


class Attack:
    """One connection that floods, and what it has still to send."""

    def __init__(self, address: tuple[str, int], name: str, frames: list[bytes]) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setblocking(False)
        self._reads = name not in READS_NOTHING
        self._frames = iter(frames)
        self._unsent = PREFACE[:7] if name == "half-open" else PREFACE + frame(SETTINGS, 0, 0)

    def go_on(self) -> bool:
        """Whether the server is still there."""
        try:
            if self._reads:
                with contextlib.suppress(BlockingIOError):
                    if not self.socket.recv(1 << 16):
                        return False
            with contextlib.suppress(BlockingIOError):
                self._unsent = self._unsent[self.socket.send(self._unsent) :] if self._unsent else b""
            if not self._unsent:
                self._unsent = next(self._frames, b"")
        except OSError:
            return False
        return True

    def has_more(self) -> bool:
        return bool(self._unsent)


def flood(address: tuple[str, int], name: str, connections: int, connects: float, end: float) -> None:
    os.nice(19)
    if name == "work":
        while time.monotonic() < end:
            pass
        return
    frames = list(itertools.islice(FLOODS[name](), 1000))
    silent: list[Attack] = []  # that have said all: only their being there counts
    selector = selectors.DefaultSelector()
    wanted, next_connect = MANY.get(name, connections), 0.0
    while (now := time.monotonic()) < end:
        if len(selector.get_map()) + len(silent) < wanted and (name in MANY or now >= next_connect):
            next_connect = now + 1 / connects
            with contextlib.suppress(OSError):
                attack = Attack(address, name, frames)
                selector.register(attack.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, attack)
        for key, _ in selector.select(0.01):
            if not key.data.go_on():
                selector.unregister(key.fileobj)
                key.data.socket.close()
            elif not key.data.has_more() and name in MANY:
                silent.append(key.data)
                selector.unregister(key.fileobj)


def latencies(address: str, seconds: float) -> tuple[float, float]:
    """p50 and p99 of a caller that asks without a pause, in milliseconds."""
    with grpc.insecure_channel(address) as channel:
        call: Any = channel.unary_unary(PATH)
        took: list[float] = []
        for _ in range(50):
            call(b"", timeout=30)
        end = time.monotonic() + seconds
        while (began := time.monotonic()) < end:
            call(b"", timeout=30)
            took.append(1000 * (time.monotonic() - began))
    quantiles = statistics.quantiles(took, n=100)
    return quantiles[49], quantiles[98]


def resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--floods", nargs="*", default=["work", *FLOODS], choices=["work", *FLOODS])
    parser.add_argument("--connections", type=int, default=2)
    parser.add_argument("--connects", type=float, default=20)
    options = parser.parse_args()
    command = [sys.executable, __file__, "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        host, _, port = address.rpartition(":")
        at_first = resident_mb(server.pid)
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in ("none", *options.floods)}
        grown = dict.fromkeys(found, 0.0)
        spawn = multiprocessing.get_context("spawn")
        for _ in range(options.rounds):
            for name, figures in found.items():
                end = time.monotonic() + options.seconds + 2
                arguments = ((host, int(port)), name, options.connections, options.connects, end)
                attacker = spawn.Process(target=flood, args=arguments)
                if name != "none":
                    attacker.start()
                    time.sleep(1)  # until it is at it
                figures.append(latencies(address, options.seconds))
                grown[name] = max(grown[name], resident_mb(server.pid) - at_first)
                if name != "none":
                    attacker.kill()
                    attacker.join()
        server.kill()
    medians = {name: [statistics.median(all_) for all_ in zip(*figures, strict=True)] for name, figures in found.items()}
    for name, (p50, p99) in medians.items():
        ratio = p99 / medians["none"][1]
        print(f"{name:>15}: p50 {p50:6.2f} ms, p99 {p99:6.2f} ms ({ratio:.2f} x), {grown[name]:4.0f} MB grown")


if __name__ == "__main__":
    serve() if sys.argv[1:2] == ["--serve"] else main()
