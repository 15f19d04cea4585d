"""What stands between a router and a server: forwards connections, and spoils what comes back."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

import grpc
from servers import EmbeddingServer
from typing_extensions import Self

from persia.rpc import Server
from persia.rpc.frames import HEADER_BYTES, header_of
from persia.v1 import embedding_pb2 as pb
from persia.v1 import embedding_pb2_grpc as pb_grpc


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


class Spoiler(Listener):
    """A shard whose answers in frames are what `spoil` makes of a real server's."""

    def __init__(self, server: EmbeddingServer) -> None:
        super().__init__()
        self.spoil: Callable[[bytes], bytes] = bytes
        self.says_start = True
        self._server = server
        self._frame_port = server.status().frame_port
        self._grpc = Server("127.0.0.1:0", [])
        pb_grpc.add_EmbeddingServerServicer_to_server(_Status(self, server), self._grpc.grpc)
        self._grpc.start()

    @property
    def address(self) -> str:
        return self._grpc.address

    def serve(self, sock: socket.socket) -> None:
        with self.track(socket.create_connection(("127.0.0.1", self._frame_port))) as server:
            while request := read_frame(sock, 5):
                server.sendall(request)
                sock.sendall(self.spoil(read_frame(server, 2)))

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._grpc.stop(0)


class _Status(pb_grpc.EmbeddingServerServicer):
    def __init__(self, spoiler: Spoiler, server: EmbeddingServer) -> None:
        self._spoiler, self._server = spoiler, server

    def Status(self, request: pb.StatusRequest, context: grpc.ServicerContext) -> pb.StatusResponse:
        status = self._server.ask_status()
        status.frame_port = self._spoiler.port
        if not self._spoiler.says_start:
            status.ClearField("server_start")
        return status


def read_frame(sock: socket.socket, columns: int) -> bytes:
    """A whole frame; empty at the end of the connection."""
    header = sock.recv(HEADER_BYTES, socket.MSG_WAITALL)
    if len(header) < HEADER_BYTES:
        return b""
    size = sum(header_of(header, columns)[1])
    return header + sock.recv(size, socket.MSG_WAITALL)
