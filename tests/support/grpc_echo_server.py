"""A server for tests of gRPC itself, with the clients of others: it does nothing but what a call asks for.

    python -m tests.support.grpc_echo_server [--certificates DIRECTORY [--anyone]] ADDRESS...

With certificates (of `persia-launcher certificates`) it wants mutual TLS; with --anyone clients need none. SIGUSR1 lets go of
the calls that are held; SIGUSR2 makes it say how many calls it has; SIGTERM ends it, with a drain.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from persia import _core
from persia.errors import InvalidInput
from persia.serving.answering import Handler
from persia.serving.server import Server
from persia.system.signals import StopSignal

SERVICE = "test.Echo"
DRAIN_SECONDS = 30.0
LOOK_SECONDS = 0.005
HELD_BYTES = 8_000_000


def say(*words: object) -> None:
    """One line, whole: tests read it."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def echo(request: memoryview, _call: _core.net.ServerCall) -> memoryview:
    """The request."""
    return request


def describe(_request: memoryview, call: _core.net.ServerCall) -> bytes:
    """What the server knows of the call, in JSON. Keys that begin with `back-` come back as trailers, as they are."""
    metadata = {}
    for key, value in call.metadata.items():
        if key.startswith("back-"):
            call.add_trailer(key, value)
        metadata[key] = value if isinstance(value, str) else list(value)
    known = {"metadata": metadata, "identity": call.identity, "peer": call.peer, "seconds_left": call.seconds_left}
    return json.dumps(known).encode()


def fail(request: memoryview, call: _core.net.ServerCall) -> bytes:
    """INVALID_ARGUMENT, with the request as its message, and a trailer."""
    call.add_trailer("why-bin", b"\x00\xff")
    raise InvalidInput(str(request, "utf-8"))


class Holder:
    """Calls that are held until they are let go, and answered with 8 MB. It says when they begin, and how they end."""

    def __init__(self) -> None:
        self._let_go = threading.Event()

    def let_go(self) -> None:
        self._let_go.set()

    def hold(self, request: memoryview, call: _core.net.ServerCall) -> bytes:
        name = str(request, "utf-8")
        say("holds", name)
        while not call.has_ended and not self._let_go.wait(LOOK_SECONDS):
            pass
        say("nobody waits for" if call.has_ended else "lets go of", name)
        return bytes(HELD_BYTES)


class Counter:
    """Streams `count` messages of `size` bytes, as the request says: `count size`."""

    def __init__(self) -> None:
        self.made = 0

    def count(self, request: memoryview, _call: _core.net.ServerCall) -> Iterator[bytes]:
        count, size = map(int, str(request, "utf-8").split())
        try:
            for number in range(count):
                self.made = number + 1
                yield number.to_bytes(4, "big") + bytes(size - 4)
        except GeneratorExit:
            say("stops after", self.made)
            raise

    def how_many(self, _request: memoryview, _call: _core.net.ServerCall) -> bytes:
        return str(self.made).encode()


def on_signals(actions: dict[signal.Signals, Callable[[], None]]) -> None:
    """In a thread: the main one hears of nothing while it waits in the core for the end of calls."""
    signal.pthread_sigmask(signal.SIG_BLOCK, actions)  # also of the threads to come

    def listen() -> None:
        while True:
            actions[signal.Signals(signal.sigwait(actions))]()

    threading.Thread(target=listen, daemon=True).start()


def main() -> None:
    """Serves until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--certificates", type=Path)
    parser.add_argument("--anyone", action="store_true")
    parser.add_argument("addresses", nargs="+")
    arguments = parser.parse_args()
    guard = tls = None
    if arguments.certificates:
        certificate, key, ca = (str(arguments.certificates / name) for name in ("server.pem", "server-key.pem", "ca.pem"))
        tls = _core.security.TlsContext.for_server(certificate, key, "" if arguments.anyone else ca)
        guard = None if arguments.anyone else _core.security.Guard.of("", True)
    server = Server([SERVICE], guard=guard, tls=tls)
    holder, counter = Holder(), Counter()
    handlers: dict[str, Handler] = {"Echo": echo, "Describe": describe, "Fail": fail}
    handlers |= {"Hold": holder.hold, "Made": counter.how_many}
    for name, handler in handlers.items():
        server.add_handler(f"/{SERVICE}/{name}", handler)
    server.add_stream(f"/{SERVICE}/Count", counter.count)
    stop = StopSignal()
    on_signals({signal.SIGUSR1: holder.let_go, signal.SIGUSR2: lambda: say("calls", server.native.counts()["calls"])})
    addresses = [server.listen(address) for address in arguments.addresses]
    server.set_serving(True)
    server.start()
    stop.serving()
    for address in addresses:
        say("listening on", address)
    stop.wait()
    say("stopping")
    server.stop(DRAIN_SECONDS)
    say("stopped with", json.dumps(server.native.counts()))


if __name__ == "__main__":
    main()
