"""Our server with the clients of others: what each of them sends and understands, in plain text and with mutual TLS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from persia.rpc.status import CODE_NAMES
from tests.support.certified import run_certificates
from tests.support.echo_clients import Answer, Client, Failed, Request, payload
from tests.support.echo_servers import SERVICE, EchoServer
from tests.support.every_client import CLIENTS

pytestmark = pytest.mark.whole_way

ECHO, DESCRIBE, FAIL, HOLD, COUNT = (f"/{SERVICE}/{name}" for name in ("Echo", "Describe", "Fail", "Hold", "Count"))


@pytest.fixture(scope="module", params=["plain text", "mutual TLS"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EchoServer]:
    directory = tmp_path_factory.mktemp("echo")
    certificates: Path | None = None
    if request.param == "mutual TLS":
        certificates = directory / "certificates"
        run_certificates(certificates)
    with EchoServer(directory, certificates=certificates) as server:
        yield server


@pytest.fixture(scope="module", params=CLIENTS)
def client(request: pytest.FixtureRequest, server: EchoServer) -> Iterator[Client]:
    with CLIENTS[request.param](server.address, server.certificates) as client:
        yield client


def failure(client: Client, request: Request) -> Failed:
    with pytest.raises(Failed) as caught:
        client.call(request)
    return caught.value


@pytest.mark.parametrize("size", [0, 1, 1_000, 65_535, 65_536, 3_000_000, 40_000_000])
def test_a_message_of_any_size_comes_back(client: Client, size: int) -> None:
    assert client.echoes(ECHO, size)


def test_a_message_near_the_limit_comes_back(server: EchoServer) -> None:
    with CLIENTS["grpcio"](server.address, server.certificates) as client:
        assert client.echoes(ECHO, 200_000_000)


def test_a_message_over_the_limit_is_refused_with_both_numbers(client: Client) -> None:
    refused = failure(client, Request(ECHO, bytes((256 << 20) + 1)))
    assert CODE_NAMES[refused.code] == "RESOURCE_EXHAUSTED"
    assert "268435456" in refused.message and "268435457" in refused.message


def test_a_thousand_calls_at_a_time_over_one_channel(client: Client) -> None:
    messages = [payload(number) for number in range(1_000)]
    begun = [client.begin(Request(ECHO, message)) for message in messages]
    assert [call.result().message for call in begun] == messages


def test_metadata_of_text_and_of_bytes_both_ways(server: EchoServer, client: Client) -> None:
    metadata: dict[str, str | bytes] = {"back-text": "a b~c", "back-bytes-bin": bytes(range(256)), "x-one-way": "1"}
    answer = client.call(Request(DESCRIBE, metadata=metadata))
    described = json.loads(answer.message)
    got = {key: bytes(value) if isinstance(value, list) else value for key, value in described["metadata"].items()}
    assert {key: got[key] for key in metadata} == metadata
    assert answer.trailers.items() >= {"back-text": "a b~c", "back-bytes-bin": bytes(range(256))}.items()
    assert described["peer"].startswith("127.0.0.1:")
    assert described["identity"] == ("client" if server.certificates else "")


def test_an_error_has_its_message_and_trailers(client: Client) -> None:
    error = failure(client, Request(FAIL, "100 % für ☃\nzwei".encode()))
    assert (CODE_NAMES[error.code], error.message) == ("INVALID_ARGUMENT", "100 % für ☃\nzwei")
    assert error.trailers["why-bin"] == b"\x00\xff"


def test_an_unknown_method_is_unimplemented(client: Client) -> None:
    error = failure(client, Request("/test.Echo/Nothing"))
    assert CODE_NAMES[error.code] == "UNIMPLEMENTED"
    assert error.message == "expected a method of this server, got /test.Echo/Nothing"


def test_a_request_that_is_packed_by_gzip(client: Client) -> None:
    if not client.sends_gzip:
        pytest.skip("grpclib cannot pack messages")
    message = payload(1_000) * 1_000
    assert client.call(Request(ECHO, message, gzip=True)).message == message


@pytest.mark.parametrize("size", [16 << 10, 48 << 10])
def test_large_headers_under_the_limit(client: Client, size: int) -> None:
    metadata: dict[str, str | bytes] = {f"x-{number}": "v" * 4_000 for number in range(size // 4_096)}
    got = json.loads(client.call(Request(DESCRIBE, metadata=metadata)).message)["metadata"]
    assert got.items() >= metadata.items()


def test_headers_over_the_limit_are_refused(client: Client) -> None:
    metadata: dict[str, str | bytes] = {f"x-{number}": "v" * 4_000 for number in range(20)}
    assert CODE_NAMES[failure(client, Request(ECHO, metadata=metadata)).code] == "RESOURCE_EXHAUSTED"
    assert client.echoes(ECHO, 1)  # over the same channel


def test_a_stream_of_messages(client: Client) -> None:
    answer: Answer = client.call(Request(COUNT, b"100 50000", streams=True))
    assert answer.messages == [number.to_bytes(4, "big") + bytes(49_996) for number in range(100)]


def test_a_deadline_is_known_to_the_server(server: EchoServer, client: Client, request: pytest.FixtureRequest) -> None:
    left = json.loads(client.call(Request(DESCRIBE, seconds=50)).message)["seconds_left"]
    assert 0 < left < 51  # grpcio rounds up
    name = f"late {request.node.name}"
    assert CODE_NAMES[failure(client, Request(HOLD, name.encode(), seconds=0.5)).code] == "DEADLINE_EXCEEDED"


def test_a_call_that_is_given_up_is_seen_to_be(server: EchoServer, client: Client) -> None:
    name = f"given up by {type(client).__name__}"
    call = client.begin(Request(HOLD, name.encode()))
    server.wait_for_line(f"holds {name}")
    call.cancel()
    server.wait_for_line(f"nobody waits for {name}")
    assert client.echoes(ECHO, 1)
