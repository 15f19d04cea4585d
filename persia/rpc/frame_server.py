"""Answers frames over plain TCP: a thread per connection, one request after the other on each."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable

from typing_extensions import Buffer

from persia.errors import PersiaError, Unavailable
from persia.rpc.frames import HEADER_BYTES, lengths_of, send

__all__ = ["FrameServer"]

log = logging.getLogger(__name__)

# A router has one connection to a shard for each lookup that it has under way.
MAX_CONNECTIONS = 1024
# What is taken at a time: a sender that announces much and sends little does not make us hold the rest.
_CHUNK = 16 << 20
# A peer that does not take its answer, or is gone without a word, is given up after so long.
_STUCK_MS = 60_000

# The columns of a request, its message last -> the pieces of the answer (frames.frame).
Answer = Callable[[list[memoryview]], list[Buffer]]


class FrameServer:
    """Bound on construction; serves from start() on. `answer` is called from many threads; what it raises ends a connection."""

    def __init__(self, host: str, port: int, columns: int, limit: int, answer: Answer) -> None:
        """host: a name or an address (IPv6 without brackets); port: 0 for any; columns, limit: see frames.lengths_of.

        Raises:
            Unavailable: The address is taken, or none of this machine.
        """
        self._columns, self._limit, self._answer = columns, limit, answer
        self._connections: dict[threading.Thread, socket.socket] = {}
        self._lock = threading.Lock()
        self._stopping = False
        try:
            info = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
            self._listener = socket.create_server(info[4][:2], family=info[0], backlog=128)
        except OSError as error:
            raise Unavailable(f"expected a free address to listen on, got {host}:{port}: {error}") from None
        self.port: int = self._listener.getsockname()[1]

    def start(self) -> None:
        threading.Thread(target=self._accept, name="frames-accept", daemon=True).start()

    def stop(self, seconds: float) -> None:
        """Takes no more requests, and lets those that run finish for so long."""
        self._stopping = True
        _shutdown(self._listener, socket.SHUT_RDWR)  # wakes the thread that accepts, which close() would not
        self._listener.close()
        with self._lock:
            connections = dict(self._connections)
        end = time.monotonic() + seconds
        for how, until in ((socket.SHUT_RD, end), (socket.SHUT_RDWR, end + 1)):
            for sock in connections.values():
                _shutdown(sock, how)
            for thread in connections:
                thread.join(max(0.0, until - time.monotonic()))
            connections = {thread: sock for thread, sock in connections.items() if thread.is_alive()}

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError as error:
                if self._stopping:
                    return
                log.warning("cannot take a connection: %s", error)
                time.sleep(0.1)  # out of file descriptors, most likely: others are about to end
                continue
            with self._lock:
                full = len(self._connections) >= MAX_CONNECTIONS
                if not full:
                    thread = threading.Thread(target=self._serve, args=(sock,), name="frames", daemon=True)
                    self._connections[thread] = sock
            if full:
                log.warning("refused a connection: there are %d", MAX_CONNECTIONS)
                sock.close()
            else:
                thread.start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _STUCK_MS)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            while (columns := self._receive(sock)) is not None:
                send(sock, self._answer(columns))
                del columns  # not held until the next one comes
        except PersiaError as error:
            log.warning("closed a connection: %s", error)
        except OSError as error:
            log.debug("lost a connection: %s", error)
        except Exception:
            log.exception("closed a connection after an internal error")
        finally:
            with self._lock:
                del self._connections[threading.current_thread()]
            sock.close()

    def _receive(self, sock: socket.socket) -> list[memoryview] | None:
        """The next request's columns; None at the end of the connection."""
        header = sock.recv(HEADER_BYTES, socket.MSG_WAITALL)
        if len(header) < HEADER_BYTES:
            return None
        lengths = lengths_of(header, self._columns, self._limit)
        left = sum(lengths)
        chunks = []
        while left:
            # As bytes, which no other thread can change: so nothing is copied before it is checked.
            chunk = sock.recv(min(left, _CHUNK), socket.MSG_WAITALL)
            if not chunk:
                return None
            chunks.append(chunk)
            left -= len(chunk)
        view = memoryview(chunks[0] if len(chunks) == 1 else b"".join(chunks))
        columns = []
        begin = 0
        for length in lengths:
            columns.append(view[begin : begin + length])
            begin += length
        return columns


def _shutdown(sock: socket.socket, how: int) -> None:
    with contextlib.suppress(OSError):  # its peer was faster
        sock.shutdown(how)
