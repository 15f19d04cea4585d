"""Embedding servers and a middleware that ask who calls: with certificates, with tokens, and what is not let in."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from click.testing import CliRunner

from persia.ctx import InferCtx
from persia.errors import Unavailable
from persia.launcher import main
from persia.v1 import embedding_pb2 as pb
from tests.support.replicas import GOLDEN_BATCH, assert_golden
from tests.support.servers import PATIENCE, ServerProcess, wait_until
from tests.support.torchserves import MIX

CONFIG = MIX / "embedding_config.yml"
BATCH = GOLDEN_BATCH.read_bytes()
TOKEN, OTHER_TOKEN, WRONG_TOKEN = "first-token-of-sixteen", "other-token-of-sixteen", "wrong-token-of-sixteen"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What `persia-launcher certificates` says is to be written to the section `security`."""
    directory = tmp_path_factory.mktemp("certificates")
    result = CliRunner().invoke(main, ["certificates", str(directory / "made"), "--host", "127.0.0.1"])
    assert result.exit_code == 0, result.output
    section: dict[str, str] = yaml.safe_load(result.output)["security"]
    return section


class Secured(ExitStack):
    """Two shards and a middleware whose global config has that section."""

    def __init__(self, directory: Path, security: dict[str, Any], arguments: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.security = security
        self._directory = directory
        self.shards = [
            self.enter_context(
                _Server(self._config(f"shard_{i}.yml"), "embedding_server", ["--replica-index", str(i), "--replica-size", "2"])
            )
            for i in range(2)
        ]
        servers = [shard.address for shard in self.shards]
        self.middleware = self.enter_context(_Server(self._config("middleware.yml", servers), "middleware", list(arguments)))

    def _config(self, name: str, servers: list[str] | None = None) -> Path:
        infer = {"embedding_checkpoint": str(MIX / "ckpt")} if servers is None else {"servers": servers}
        return self.write(name, {"common_config": {"infer_config": infer}, "security": self.security})

    def write(self, name: str, config: dict[str, Any]) -> Path:
        path = self._directory / name
        path.write_text(yaml.safe_dump(config))
        return path

    def context(self, security: dict[str, Any], address: str, directly: bool) -> InferCtx:
        """A client with that section."""
        config = {"security": security, "embedding_worker_config": {"clients_ask_shards": directly}}
        return InferCtx([address], embedding_config=CONFIG, global_config=self.write("client.yml", config), timeout=PATIENCE)


class _Server(ServerProcess[Any]):
    def __init__(self, config: Path, module: str, arguments: list[str]) -> None:
        command = [sys.executable, "-m", f"persia.{module}", "--port", "0", "--global-config", str(config)]
        super().__init__(config.with_suffix(".log"), [*command, "--embedding-config", str(CONFIG), *arguments])


def answers(context: InferCtx) -> None:
    """Its lookups are answered, and as always."""
    context.wait_for_serving(PATIENCE)
    assert_golden(context.get_embedding_from_bytes(BATCH).lookup)


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory, certificates: dict[str, str]) -> Iterator[Secured]:
    with Secured(tmp_path_factory.mktemp("encrypted"), certificates) as deployment:
        yield deployment


@pytest.mark.parametrize("directly", [True, False])
def test_lookups_over_mutual_tls_are_those_over_plain_text(
    encrypted: Secured, certificates: dict[str, str], directly: bool
) -> None:
    with encrypted.context(certificates, encrypted.middleware.address, directly) as context:
        answers(context)


def test_a_client_without_a_certificate_gets_nothing(encrypted: Secured, certificates: dict[str, str]) -> None:
    for security in ({}, {"ca": certificates["ca"]}):
        for server in (encrypted.middleware, encrypted.shards[0]):
            with encrypted.context(security, server.address, False) as context, pytest.raises(Unavailable):
                context.get_embedding_from_bytes(BATCH, timeout=1)


def test_a_client_of_grpcio_shows_its_certificate(encrypted: Secured, certificates: dict[str, str]) -> None:
    def pem(name: str) -> bytes:
        return Path(certificates[name]).read_bytes()

    trusted = grpc.ssl_channel_credentials(pem("ca"), pem("client_key"), pem("client_certificate"))
    with grpc.secure_channel(encrypted.shards[0].address, trusted) as channel:
        status = channel.unary_unary("/persia.v1.EmbeddingServer/Status", bytes, bytes)(b"", timeout=PATIENCE)
        assert pb.StatusResponse.FromString(status).ready
    nobody = grpc.ssl_channel_credentials(pem("ca"))
    with grpc.secure_channel(encrypted.shards[0].address, nobody) as channel, pytest.raises(grpc.RpcError) as error:
        channel.unary_unary("/persia.v1.EmbeddingServer/Status", bytes, bytes)(b"", timeout=PATIENCE)
    assert error.value.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNAVAILABLE)


def token_file(path: Path, *tokens: str) -> str:
    path.write_text("".join(f"{token}\n" for token in tokens))
    path.chmod(0o600)
    return str(path)


def test_tokens_are_asked_for_and_can_be_rotated(tmp_path: Path) -> None:
    served = token_file(tmp_path / "served", TOKEN)
    shown = {name: token_file(tmp_path / name, token) for name, token in (("old", TOKEN), ("new", OTHER_TOKEN))}
    with Secured(tmp_path, {"tokens": served, "token": served}) as deployment:
        address = deployment.middleware.address
        with deployment.context({"token": shown["old"]}, address, True) as context:
            answers(context)
        for security in ({}, {"token": token_file(tmp_path / "wrong", WRONG_TOKEN)}):
            with deployment.context(security, address, False) as context, pytest.raises(Unavailable, match="token"):
                context.get_embedding_from_bytes(BATCH, timeout=1)
        token_file(tmp_path / "served", OTHER_TOKEN, TOKEN)  # no restart
        with deployment.context({"token": shown["new"]}, address, False) as context:
            answers(context)


def test_callers_without_a_token_are_told_why(tmp_path: Path) -> None:
    served = token_file(tmp_path / "served", TOKEN)
    config = tmp_path / "server.yml"
    config.write_text(yaml.safe_dump({"security": {"tokens": served}}))
    with _Server(config, "embedding_server", []) as server, grpc.insecure_channel(server.address) as channel:
        for path in ("/persia.v1.EmbeddingServer/Lookup", "/grpc.health.v1.Health/Check", "/no.such/Method"):
            for metadata in ((), (("authorization", f"Bearer {WRONG_TOKEN}"),), (("authorization", TOKEN),)):
                with pytest.raises(grpc.RpcError) as error:
                    channel.unary_unary(path, bytes, bytes)(b"", metadata=metadata, timeout=PATIENCE)
                assert error.value.code() == grpc.StatusCode.UNAUTHENTICATED
        health = channel.unary_unary("/grpc.health.v1.Health/Check", bytes, bytes)
        assert health(b"", metadata=(("authorization", f"Bearer {TOKEN}"),), timeout=PATIENCE)


@pytest.mark.parametrize("module", ["embedding_server", "middleware"])
def test_a_server_for_all_the_world_without_protection_does_not_start(tmp_path: Path, module: str) -> None:
    config = tmp_path / "server.yml"
    config.write_text(yaml.safe_dump({"common_config": {"infer_config": {"servers": ["127.0.0.1:1"]}}}))
    with _Server(config, module, ["--host", "0.0.0.0"]) as server:
        assert server.process.wait(PATIENCE) == 2
        assert "insecure: true" in server.log()
    config.write_text(
        yaml.safe_dump({"common_config": {"infer_config": {"servers": ["127.0.0.1:1"]}}, "security": {"insecure": True}})
    )
    with _Server(config, module, ["--host", "0.0.0.0"]) as server:
        assert server.address


def test_a_server_listens_on_a_unix_socket_too(tmp_path: Path) -> None:
    config = tmp_path / "server.yml"
    config.write_text(yaml.safe_dump({"common_config": {"infer_config": {"embedding_checkpoint": str(MIX / "ckpt")}}}))
    place = f"unix:{tmp_path}/socket"
    with _Server(config, "embedding_server", ["--listen", place]) as server:
        assert server.address
        with InferCtx([[place]], embedding_config=CONFIG) as context:
            answers(context)


def test_the_log_knows_of_clients_that_could_not_be_spoken_with(tmp_path: Path, certificates: dict[str, str]) -> None:
    with Secured(tmp_path, {"certificate": certificates["certificate"], "key": certificates["key"]}) as secured:
        shard = secured.shards[0]
        host, port = shard.address.split(":")
        for _ in range(3):
            with socket.create_connection((host, int(port)), PATIENCE) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")  # no TLS
                while connection.recv(100):
                    pass
        wait_until(lambda: "refused the client " in shard.log(), "the log tells of it")
        assert shard.log().count("refused the client ") == 1  # within ten seconds
