"""What stands between a router and a server: forwards connections, and spoils what comes back."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
from typing_extensions import Self

from persia.rpc.wire import LOOKUP
from tests.support.servers import PATIENCE, EmbeddingServer


class Listener:
    """Serves each connection in a thread of its own. With `with`, all end at the end."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._listener = socket.create_server((host, port))
        self.host, self.port = self._listener.getsockname()
        self._open: list[socket.socket] = []
        self.connections = 0

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def serve(self, sock: socket.socket) -> None:
        raise NotImplementedError

    def track(self, sock: socket.socket) -> socket.socket:
        self._open.append(sock)
        return sock

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock = self.track(self._listener.accept()[0])
                self.connections += 1
                threading.Thread(target=self._run, args=(sock,), daemon=True).start()

    def _run(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            self.serve(sock)

    def cut(self) -> None:
        """Ends all connections."""
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        self.cut()


class Forwarder(Listener):
    """To one port, and no other one: as a firewall does. While `flows` is not set, nothing comes through."""

    def __init__(self, target: str, host: str = "127.0.0.2", port: int = 0) -> None:
        super().__init__(host, port)
        self.flows = threading.Event()
        self.flows.set()
        self._host, _, port_text = target.rpartition(":")
        self._port = int(port_text)

    def serve(self, sock: socket.socket) -> None:
        with self.track(socket.create_connection((self._host, self._port))) as server:
            thread = threading.Thread(target=self._copy, args=(server, sock), daemon=True)
            thread.start()
            self._copy(sock, server)
            thread.join()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                self.flows.wait()
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


class Garbler(Forwarder):
    """Each frame of HTTP/2 that comes back is what `spoil` makes of it."""

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self.spoil: Callable[[bytes], bytes] = bytes

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):  # of one that has gone already, too
            if source.getpeername()[1] != self._port:
                super()._copy(source, target)
                return
            while frame := read_frame(source):
                target.sendall(self.spoil(frame))
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


FRAME_HEADER_BYTES = 9


def read_frame(sock: socket.socket) -> bytes:
    """A whole frame of HTTP/2; empty at the end of the connection."""
    header = _read(sock, FRAME_HEADER_BYTES)
    return header + _read(sock, int.from_bytes(header[:3], "big"))


def _read(sock: socket.socket, size: int) -> bytes:
    """So many bytes, or those before the end of the connection."""
    got = b""
    while len(got) < size and (more := sock.recv(size - len(got))):
        got += more
    return got


class Spoiler:
    """A shard that answers lookups with what `spoil` makes of a real server's messages, and says what that one says of itself.

    Where `spoil` makes None of it, there is no answer.
    """

    def __init__(self, server: EmbeddingServer, address: str = "127.0.0.1:0") -> None:
        self.spoil: Callable[[bytes], bytes | None] = bytes
        self.says_start = True
        self.lookups = 0
        self._server = server
        self._ask = server.channel.unary_unary(LOOKUP, request_serializer=bytes, response_deserializer=bytes)
        self._grpc = grpc.server(ThreadPoolExecutor(32))
        handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "Lookup": grpc.unary_unary_rpc_method_handler(self._lookup, bytes, bytes),
            "Status": grpc.unary_unary_rpc_method_handler(self._status, bytes, bytes),
        }
        self._grpc.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("persia.v1.EmbeddingServer", handlers)])
        self.address = f"{address.rpartition(':')[0]}:{self._grpc.add_insecure_port(address)}"

    def _lookup(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.lookups += 1
        answer = self.spoil(self._ask(request, timeout=PATIENCE))
        if answer is None:
            gone = threading.Event()
            if context.add_callback(gone.set):
                gone.wait(PATIENCE)
            return b""
        return answer

    def _status(self, _request: bytes, _context: grpc.ServicerContext) -> bytes:
        status = self._server.ask_status()
        if not self.says_start:
            status.ClearField("server_start")
        return status.SerializeToString()

    def __enter__(self) -> Self:
        self._grpc.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._grpc.stop(0).wait()
