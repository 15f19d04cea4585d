"""grpcio's channels with the section `security`, against a server of grpcio's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest

from persia.config import SecurityConfig
from persia.errors import ConfigError
from persia.rpc.grpcio import GrpcioSecurity, channel_credentials
from tests.support.certified import TOKEN, mutual_tls, token_file


class Echo(grpc.GenericRpcHandler):
    """Every call is answered with its `authorization`."""

    def service(self, _details: grpc.HandlerCallDetails) -> Any:
        def answer(_request: bytes, context: grpc.ServicerContext) -> bytes:
            return str(dict(context.invocation_metadata()).get("authorization", "")).encode()

        return grpc.unary_unary_rpc_method_handler(answer)


@contextmanager
def served(section: SecurityConfig | None) -> Iterator[str]:
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool, [Echo()])
        if section is None:
            port = server.add_insecure_port("127.0.0.1:0")
        else:
            certificate, key, ca = (Path(str(p)).read_bytes() for p in (section.certificate, section.key, section.client_ca))
            port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, certificate)], ca, True))
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()


def ask(address: str, section: SecurityConfig) -> bytes:
    security = GrpcioSecurity(section)
    with security.channel(address) as channel:
        call: Any = channel.unary_unary("/echo/Echo")
        return bytes(call(b"", timeout=30, metadata=security.metadata()))


async def ask_aio(address: str, section: SecurityConfig) -> bytes:
    security = GrpcioSecurity(section)
    async with security.aio_channel(address) as channel:
        call: Any = channel.unary_unary("/echo/Echo")
        return bytes(await call(b"", timeout=30, metadata=security.metadata()))


@pytest.mark.parametrize("with_tls", [True, False])
@pytest.mark.parametrize("with_token", [True, False])
def test_the_server_sees_certificate_and_token(tmp_path: Path, with_tls: bool, with_token: bool) -> None:
    section = mutual_tls(tmp_path) if with_tls else SecurityConfig()
    if with_token:
        section = msgspec.structs.replace(section, token=token_file(tmp_path))
    expected = f"Bearer {TOKEN}".encode() if with_token else b""
    with served(section if with_tls else None) as address:
        assert ask(address, section) == expected
        assert asyncio.run(ask_aio(address, section)) == expected


def test_the_token_is_read_again(tmp_path: Path) -> None:
    security = GrpcioSecurity(SecurityConfig(token=token_file(tmp_path)))
    assert security.metadata() == (("authorization", f"Bearer {TOKEN}"),)
    token_file(tmp_path, TOKEN[::-1])
    assert security.metadata() == (("authorization", f"Bearer {TOKEN[::-1]}"),)


def test_a_client_without_a_certificate_is_refused(tmp_path: Path) -> None:
    section = mutual_tls(tmp_path)
    with served(section) as address, pytest.raises(grpc.RpcError) as caught:
        ask(address, SecurityConfig(ca=section.ca))
    assert "UNAVAILABLE" in str(caught.value)


def test_another_name_can_be_expected(tmp_path: Path) -> None:
    section = mutual_tls(tmp_path, "--host", "shards.test")
    with served(section) as address:
        assert ask(address, msgspec.structs.replace(section, server_name="shards.test")) == b""
        with pytest.raises(grpc.RpcError):
            ask(address, msgspec.structs.replace(section, server_name="other.test"))


def test_files_that_are_of_no_use_are_refused(tmp_path: Path) -> None:
    section = mutual_tls(tmp_path)
    (tmp_path / "client-key.pem").chmod(0o644)
    with pytest.raises(ConfigError, match=r"client-key.pem: .*chmod 600 .* - at `\$.security`"):
        GrpcioSecurity(section)
    tokens = Path(token_file(tmp_path))
    tokens.chmod(0o644)
    with pytest.raises(ConfigError, match=r"tokens: .*chmod 600 .* - at `\$.security.token`"):
        GrpcioSecurity(SecurityConfig(token=str(tokens)))
    with pytest.raises(ConfigError, match=r"none.pem: No such file or directory - at `\$.security`"):
        GrpcioSecurity(SecurityConfig(ca=str(tmp_path / "none.pem")))


def test_plain_text_has_no_credentials() -> None:
    assert channel_credentials(SecurityConfig()) is None
    assert channel_credentials(SecurityConfig(ca="system")) is not None
    assert GrpcioSecurity(SecurityConfig()).metadata() == ()
