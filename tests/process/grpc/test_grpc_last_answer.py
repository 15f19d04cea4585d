"""The last answer of a server that stops reaches a client that takes it slowly."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

from hpack import Decoder, Encoder
from hyperframe import frame as frames

from tests.support.echo_servers import PATIENCE, SERVICE, EchoServer
from tests.support.grpc_echo_server import HELD_BYTES

# So that half of the answer is still with the server's system when the server itself has nothing more to say.
SMALL_BUFFER, SMALL_READ = 64 << 10, 16 << 10
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
STREAM = 1


def connect(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
    client.settimeout(PATIENCE)
    client.connect((host, int(port)))
    return client


def ask_to_hold(client: socket.socket) -> None:
    headers = {":method": "POST", ":scheme": "http", ":authority": "echo", ":path": f"/{SERVICE}/Hold"}
    headers |= {"content-type": "application/grpc", "te": "trailers"}
    block = frames.HeadersFrame(STREAM, Encoder().encode([*headers.items()]), flags=["END_HEADERS"])
    data = frames.DataFrame(STREAM, b"\0\0\0\0\4slow", flags=["END_STREAM"])
    client.sendall(PREFACE + b"".join(frame.serialize() for frame in (frames.SettingsFrame(), block, data)))


def read_frames(client: socket.socket) -> Iterator[frames.Frame]:
    """Each as it comes, in small reads."""
    came, head = bytearray(), 9
    while True:
        while len(came) >= head:
            frame, length = frames.Frame.parse_frame_header(memoryview(came)[:head])
            if len(came) < head + length:
                break
            frame.parse_body(memoryview(bytes(came[head : head + length])))
            del came[: head + length]
            yield frame
        data = client.recv(SMALL_READ)
        assert data, "the server has closed before its answer was whole"
        came += data


def read_answer(client: socket.socket, server: EchoServer) -> tuple[int, dict[str, str]]:
    """The size of the message, with what stands before it, and the trailers. Grants what it takes, as every client does."""
    size, decoder = 0, Decoder()
    for frame in read_frames(client):
        if isinstance(frame, frames.DataFrame):
            size += len(frame.data)
            updates = [frames.WindowUpdateFrame(stream, len(frame.data)) for stream in (0, STREAM)]
            client.sendall(b"".join(update.serialize() for update in updates))
        elif isinstance(frame, frames.PingFrame) and "ACK" not in frame.flags:  # so that the server knows that GOAWAY was read
            client.sendall(frames.PingFrame(0, frame.opaque_data, flags=["ACK"]).serialize())
            server.process.send_signal(signal.SIGUSR1)
        elif isinstance(frame, frames.HeadersFrame):
            headers = {str(key): str(value) for key, value, *_ in decoder.decode(frame.data)}
            if "END_STREAM" in frame.flags:
                return size, headers
    raise AssertionError


def test_a_slow_client_gets_all_of_the_last_answer(tmp_path: Path) -> None:
    with EchoServer(tmp_path) as server:
        with connect(server.address) as client:
            ask_to_hold(client)
            server.wait_for_line("holds slow")
            server.process.send_signal(signal.SIGTERM)
            server.wait_for_line("stopping")
            size, trailers = read_answer(client, server)
        assert (size, trailers["grpc-status"]) == (HELD_BYTES + 5, "0")
        assert server.process.wait(PATIENCE) == 0
