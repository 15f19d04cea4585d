"""Answers frames over plain TCP: a thread per connection, one request after the other on each."""

from __future__ import annotations

import contextlib
import logging
import math
import socket
import struct
import threading
import time
from collections.abc import Callable

from persia import _core
from persia.errors import PersiaError, Unavailable
from persia.rpc.frames import HEADER_BYTES, Frame, header_of, send

__all__ = ["FrameServer"]

log = logging.getLogger(__name__)

# A router has one connection to a shard for each lookup that it has under way.
MAX_CONNECTIONS = 1024
# The first read of a request: most come whole with it.
_FIRST_READ = 32 << 10
# What is taken at a time: a sender that announces much and sends little does not make us hold the rest.
_CHUNK = 16 << 20
# A peer that does not take its answer, stops within a request, or is gone without a word, is given up after so long.
_STUCK_SECONDS = 60

# The columns of a request, its message last -> the answer.
Answer = Callable[[list[memoryview]], Frame]
# Makes what answers a connection's requests in the native core, until one comes that it leaves to Python.
Lane = Callable[[], _core.net.FrameLane]


class _Peer:
    """The other end of a connection."""

    def __init__(self, sock: socket.socket, lane: _core.net.FrameLane | None = None) -> None:
        self.socket, self._lane = sock, lane
        self._since = time.monotonic()
        self._early = b""
        self.leaving = False  # it was told to, which takes a moment

    @property
    def waits_since(self) -> float:
        """For its next request, time.monotonic(); infinite while one is answered."""
        return self._since if self._lane is None else min(self._since, self._lane.waits_since)

    def serve(self, columns: int, answer: Answer) -> None:
        """Until the connection ends."""
        while (request := self._receive(columns)) is not None:
            turn, request_columns = request
            self._since = math.inf
            send(self.socket, answer(request_columns).in_turn(turn))
            self._since = time.monotonic()
            del request, request_columns  # not held until the next one comes

    def _receive(self, columns: int) -> tuple[int, list[memoryview]] | None:
        """The next request's turn and columns; None at the end of the connection."""
        start, self._early = self._early or self._wait(), b""
        if 0 < len(start) < HEADER_BYTES:
            start += self.socket.recv(HEADER_BYTES - len(start), socket.MSG_WAITALL)
        if len(start) < HEADER_BYTES:
            return None
        turn, lengths = header_of(start, columns)
        end = HEADER_BYTES + sum(lengths)
        if len(start) > end:  # of the next request, from one who does not wait for an answer
            self._early = start[end:]
        elif len(start) < end:
            rest = self._rest(end - len(start))
            if rest is None:
                return None
            start = b"".join([start, *rest])
        view = memoryview(start)
        request = []
        begin = HEADER_BYTES
        for length in lengths:
            request.append(view[begin : begin + length])
            begin += length
        return turn, request

    def _wait(self) -> bytes:
        if self._lane is not None:
            self._since = math.inf
            start = self._lane.serve(self.socket.fileno())
            self._since = time.monotonic()
            return start
        while True:
            try:
                return self.socket.recv(_FIRST_READ)
            except BlockingIOError:  # nothing came for _STUCK_SECONDS, and nothing need have come
                continue

    def _rest(self, left: int) -> list[bytes] | None:
        # As bytes, which no other thread can change: so nothing is copied before it is checked.
        chunks = []
        while left:
            chunk = self.socket.recv(min(left, _CHUNK), socket.MSG_WAITALL)
            if not chunk:
                return None
            chunks.append(chunk)
            left -= len(chunk)
        return chunks


class FrameServer:
    """Bound on construction; serves from start() on. `answer` is called from many threads; what it raises ends a connection."""

    def __init__(self, host: str, port: int, columns: int, answer: Answer, lane: Lane | None = None) -> None:
        """`answer` answers what the lane of a connection does not.

        Args:
            host: A name or an address (IPv6 without brackets).
            port: 0 for any.
            columns: Of a request, its message included.
            answer: Makes the answer to a request.
            lane: None: there is none.

        Raises:
            Unavailable: The address is taken, or none of this machine.
        """
        self._columns, self._answer, self._lane = columns, answer, lane
        self._peers: dict[threading.Thread, _Peer] = {}
        self._lock = threading.Lock()
        self._stopping = False
        try:
            info = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
            both = info[0] == socket.AF_INET6 and socket.has_dualstack_ipv6()  # `::` is all of IPv4 too, as it is for gRPC
            self._listener = socket.create_server(info[4][:2], family=info[0], backlog=128, dualstack_ipv6=both)
        except OSError as error:
            raise Unavailable(f"expected a free address to listen on, got {host}:{port}: {error}") from None
        self.port: int = self._listener.getsockname()[1]

    def start(self) -> None:
        threading.Thread(target=self._accept, name="frames-accept", daemon=True).start()

    def stop(self, seconds: float) -> None:
        """Takes no more requests, and lets those that run finish for so long."""
        with self._lock:
            self._stopping = True
        _shutdown(self._listener, socket.SHUT_RDWR)  # wakes the thread that accepts, which close() would not
        self._listener.close()
        with self._lock:
            peers = dict(self._peers)
        end = time.monotonic() + seconds
        for how, until in ((socket.SHUT_RD, end), (socket.SHUT_RDWR, end + 1)):
            for peer in peers.values():
                _shutdown(peer.socket, how)
            for thread in peers:
                thread.join(max(0.0, until - time.monotonic()))
            peers = {thread: peer for thread, peer in peers.items() if thread.is_alive()}

    def _accept(self) -> None:
        while not self._stopping:
            try:
                sock, _ = self._listener.accept()
            except OSError as error:
                if not self._stopping:
                    log.warning("cannot take a connection: %s", error)
                    time.sleep(0.1)  # out of file descriptors, most likely: others are about to end
                continue
            try:
                self._admit(_Peer(sock, self._lane and self._lane()))
            except RuntimeError as error:  # out of threads
                log.warning("cannot serve a connection: %s", error)
                sock.close()

    def _admit(self, peer: _Peer) -> None:
        thread = threading.Thread(target=self._serve, args=(peer,), name="frames", daemon=True)
        with self._lock:
            if self._stopping:  # which has seen all peers that are to be ended
                peer.socket.close()
                return
            if len(self._peers) >= MAX_CONNECTIONS:
                # Who has waited longest makes room: so those that hold connections without a word keep nobody out.
                staying = [other for other in self._peers.values() if not other.leaving]
                longest = min(staying, key=lambda other: other.waits_since, default=None)
                if longest is None or longest.waits_since == math.inf:
                    log.warning("refused a connection: %d are at work", len(self._peers))
                    peer.socket.close()
                    return
                log.warning("ended a connection to make room: there are %d", len(self._peers))
                _shutdown(longest.socket, socket.SHUT_RDWR)
                longest.leaving = True
            thread.start()
            self._peers[thread] = peer

    def _serve(self, peer: _Peer) -> None:
        sock = peer.socket
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _STUCK_SECONDS * 1000)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", _STUCK_SECONDS, 0))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            peer.serve(self._columns, self._answer)
        except PersiaError as error:
            log.warning("closed a connection: %s", error)
        except OSError as error:
            log.debug("lost a connection: %s", error)
        except Exception:
            log.exception("closed a connection after an internal error")
        finally:
            with self._lock:
                del self._peers[threading.current_thread()]
            sock.close()


def _shutdown(sock: socket.socket, how: int) -> None:
    with contextlib.suppress(OSError):  # its peer was faster
        sock.shutdown(how)
