"""Our server with nghttp and h2load (Debian's nghttp2-client): HTTP/2 as it stands on the wire, and many calls at a time."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.certified import run_certificates
from tests.support.echo_servers import PATIENCE, SERVICE, EchoServer

pytestmark = pytest.mark.skipif(
    shutil.which("nghttp") is None, reason="needs nghttp and h2load: apt-get install nghttp2-client"
)

HEADERS = {"content-type": "application/grpc", "te": "trailers"}


@dataclass
class Way:
    """Plain text, mutual TLS for nghttp; h2load cannot show a certificate, so TLS without for that."""

    server: EchoServer
    server_for_anyone: EchoServer
    directory: Path

    def write(self, message: bytes) -> str:
        """A file with it, as gRPC frames it."""
        path = self.directory / "request"
        path.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
        return str(path)


@pytest.fixture(scope="module", params=["plain text", "TLS"])
def way(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    directory = tmp_path_factory.mktemp("nghttp")
    if request.param == "plain text":
        with EchoServer(directory) as server:
            yield Way(server, server, directory)
        return
    certificates = directory / "certificates"
    run_certificates(certificates)
    with (
        EchoServer(directory / "mutual", certificates=certificates) as mutual,
        EchoServer(directory / "anyone", certificates=certificates, anyone=True) as anyone,
    ):
        yield Way(mutual, anyone, directory)


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, errors="replace", timeout=2 * PATIENCE).stdout


def url_of(server: EchoServer, method: str) -> str:
    return f"{'https' if server.certificates else 'http'}://{server.address}/{SERVICE}/{method}"


def nghttp(way: Way, method: str, message: bytes, headers: Mapping[str, str] = HEADERS, *options: str) -> str:
    """What went over the wire, one line a header."""
    shown = [argument for key, value in headers.items() for argument in ("-H", f"{key}: {value}")]
    files = way.server.certificates
    certificate = ["--cert", str(files / "client.pem"), "--key", str(files / "client-key.pem")] if files else []
    url = url_of(way.server, method)
    return run("nghttp", "-v", "-n", *certificate, *shown, *options, "-d", way.write(message), url)


def answer_headers(said: str) -> dict[str, str]:
    return dict(re.findall(r"recv \(stream_id=\d+(?:, sensitive)?\) (:?[^:\n]+): (.*)", said))


def test_headers_data_and_trailers(way: Way) -> None:
    said = nghttp(way, "Echo", b"x" * 1_000)
    got = answer_headers(said)
    assert (got[":status"], got["content-type"], got["grpc-status"]) == ("200", "application/grpc", "0")
    assert "grpc-message" not in got
    assert re.search(r"recv DATA frame <length=1005, flags=0x00", said)
    assert re.search(r"recv HEADERS frame <length=\d+, flags=0x05, stream_id=\d+>\n +; END_STREAM \| END_HEADERS", said)


def test_the_server_itself_says_that_the_deadline_is_over(way: Way) -> None:
    got = answer_headers(nghttp(way, "Hold", b"late", {**HEADERS, "grpc-timeout": "300m"}))
    assert (got["grpc-status"], got["grpc-message"]) == ("4", "expected an answer before the deadline, got none in time")
    way.server.wait_for_line("nobody waits for late")


def test_a_refusal_is_of_trailers_only(way: Way) -> None:
    said = nghttp(way, "Nothing", b"")
    assert (answer_headers(said)["grpc-status"], said.count("recv HEADERS frame"), "recv DATA" in said) == ("12", 1, False)
    assert "flags=0x05" in said


def test_what_is_no_grpc_gets_a_status_of_http(way: Way) -> None:
    assert answer_headers(nghttp(way, "Echo", b"", {"content-type": "application/json"}))[":status"] == "415"
    files = way.server.certificates
    certificate = ["--cert", str(files / "client.pem"), "--key", str(files / "client-key.pem")] if files else []
    assert answer_headers(run("nghttp", "-v", "-n", *certificate, url_of(way.server, "Echo")))[":status"] == "405"


def test_bytes_that_are_percent_encoded_in_a_message(way: Way) -> None:
    got = answer_headers(nghttp(way, "Fail", "100 % ☃".encode()))
    assert (got["grpc-status"], got["grpc-message"]) == ("3", "100 %25 %E2%98%83")
    assert got["why-bin"].rstrip("=") == "AP8"


def test_headers_in_many_frames(way: Way) -> None:
    """Of more than 16 KiB, so that CONTINUATION frames follow."""
    many = {**HEADERS, **{f"x-{number}": "v" * 4_000 for number in range(12)}}
    said = nghttp(way, "Echo", b"", many)
    assert answer_headers(said)["grpc-status"] == "0"


def test_a_padded_message(way: Way) -> None:
    assert answer_headers(nghttp(way, "Echo", b"x" * 10_000, HEADERS, "--padding", "200"))["grpc-status"] == "0"


@pytest.mark.parametrize(("clients", "streams", "size"), [(1, 1_000, 16), (50, 20, 16), (4, 10, 300_000)])
def test_h2load_gets_an_answer_to_each_call(way: Way, clients: int, streams: int, size: int) -> None:
    calls = clients * streams * (2 if size > 1_000 else 10)
    shown = [argument for key, value in HEADERS.items() for argument in ("-H", f"{key}: {value}")]
    load = ["-n", str(calls), "-c", str(clients), "-m", str(streams)]
    said = run("h2load", *load, *shown, "-d", way.write(b"x" * size), url_of(way.server_for_anyone, "Echo"))
    counted = re.search(
        r"(\d+) total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", said
    )
    assert counted is not None and [*map(int, counted.groups())] == [calls, calls, 0, 0, 0], said
