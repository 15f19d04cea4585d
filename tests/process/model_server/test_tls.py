"""TLS of a model server for REST and gRPC: by the section `security`, and by TorchServe's own keys."""

from __future__ import annotations

import json
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner

from persia.client.infer_command import infer
from persia.client.manage_command import manage
from persia.client.text import TextClient
from persia.config import SecurityConfig
from persia.errors import Unavailable
from persia.rpc.grpcio import GrpcioSecurity
from persia.torchserve.management import Management
from persia.torchserve.schema import new_message, predictions_call
from tests.support.certified import mutual_tls, run_certificates
from tests.support.model_servers import ModelServerRun, make_mar
from tests.support.servers import PATIENCE, wait_until


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("tls") / "store"
    make_mar(store, "probe")
    return store


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("certificates")
    run_certificates(directory)
    return directory


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, store: Path, certificates: Path) -> Iterator[ModelServerRun]:
    """By TorchServe's keys."""
    with ModelServerRun(
        tmp_path_factory.mktemp("by-torchserve"),
        store,
        "--models",
        "all",
        inference_address="https://127.0.0.1:0",
        certificate_file=certificates / "server.pem",
        private_key_file=certificates / "server-key.pem",
        enable_grpc_ssl="true",
    ) as run:
        wait_until(lambda: _get(run, "ping", _trusting(certificates)) == 200, "the model is ready")
        yield run


def _trusting(certificates: Path, *protocols: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=certificates / "ca.pem")
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


def _get(server: ModelServerRun, path: str, context: ssl.SSLContext) -> int:
    url = f"https://{server.places['inference']}/{path}"
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE, context=context) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def _predict(server: ModelServerRun, certificates: Path, **pair: bytes) -> str:
    """Over gRPC. Raises grpc.RpcError."""
    credentials = grpc.ssl_channel_credentials((certificates / "ca.pem").read_bytes(), **pair)
    request = new_message("PredictionsRequest", model_name="probe", input={"do": b"echo secret"})
    with grpc.secure_channel(server.places["grpc_inference"], credentials) as channel:
        return str(predictions_call(channel)(request, timeout=PATIENCE).prediction.decode())


def _curl(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["curl", "-sS", *map(str, arguments)], capture_output=True, timeout=PATIENCE, check=False)


def test_grpc_and_rest_by_torchserves_keys(server: ModelServerRun, certificates: Path) -> None:
    assert _predict(server, certificates) == "secret"
    url = f"https://{server.places['inference']}/predictions/probe"
    run = _curl("--cacert", certificates / "ca.pem", "-T", "-", url)
    assert run.returncode == 0, run.stderr
    large = "x" * 3_000_000  # many records
    body = certificates / "body"
    body.write_text(f"echo {large}")
    run = _curl("--cacert", certificates / "ca.pem", "-H", "Content-Type: text/plain", "--data-binary", f"@{body}", url)
    assert run.stdout.decode() == large


def test_only_the_listeners_that_say_https_speak_it(server: ModelServerRun) -> None:
    with urllib.request.urlopen(server.management("models"), timeout=PATIENCE) as answer:
        assert answer.status == 200


def test_a_connection_is_used_again(server: ModelServerRun, certificates: Path) -> None:
    url = f"https://{server.places['inference']}/predictions/probe"
    one = ("--cacert", certificates / "ca.pem", "-H", "Content-Type: text/plain", "-v", url, "-d")
    run = _curl(*one, "echo 1", "--next", *one, "echo 2")
    assert run.stdout == b"12" and b"Re-using existing connection" in run.stderr


@pytest.mark.parametrize("offered", [["http/1.1"], ["h2", "http/1.1"], []])
def test_http_1_1_is_agreed_on(server: ModelServerRun, certificates: Path, offered: list[str]) -> None:
    assert _get(server, "ping", _trusting(certificates, *offered)) == 200


def test_a_client_that_speaks_other_protocols_is_refused(server: ModelServerRun, certificates: Path) -> None:
    with pytest.raises(OSError, match=r"(?i)alert"):
        _get(server, "ping", _trusting(certificates, "h2"))


def test_plain_text_is_refused(server: ModelServerRun) -> None:
    with pytest.raises(OSError):
        urllib.request.urlopen(f"http://{server.places['inference']}/ping", timeout=PATIENCE)


def test_the_log_tells_once_of_clients_that_could_not_be_spoken_with(server: ModelServerRun, certificates: Path) -> None:
    for _ in range(3):
        test_plain_text_is_refused(server)
    wait_until(lambda: "the client does not speak TLS" in server.log(), "the log tells of it")
    test_a_client_that_speaks_other_protocols_is_refused(server, certificates)  # who is told of after the others
    wait_until(lambda: "the client does not speak HTTP/1.1 (ALPN http/1.1)" in server.log(), "the log tells of it")
    told = [line for line in server.log().splitlines() if "refused the client 127.0.0.1:" in line]
    assert len([line for line in told if "the client does not speak TLS" in line]) == 1, told


def test_certificates_change_while_the_server_runs(tmp_path: Path, store: Path) -> None:
    certificates = tmp_path / "tls"
    run_certificates(certificates)
    with ModelServerRun(
        tmp_path,
        store,
        inference_address="https://127.0.0.1:0",
        certificate_file=certificates / "server.pem",
        private_key_file=certificates / "server-key.pem",
    ) as server:
        before = _shown(server)
        run_certificates(certificates)
        wait_until(lambda: _shown(server) != before, "the new certificate is shown")
        assert _get(server, "ping", _trusting(certificates)) == 200


def _shown(server: ModelServerRun) -> str:
    host, port = server.places["inference"].split(":")
    return ssl.get_server_certificate((host, int(port)), timeout=PATIENCE)


def test_mutual_tls_by_the_section(tmp_path: Path, store: Path) -> None:
    tls = tmp_path / "tls"
    section = mutual_tls(tls)
    path = tmp_path / "global_config.yaml"
    path.write_text(
        json.dumps({"security": {"certificate": section.certificate, "key": section.key, "client_ca": section.client_ca}})
    )
    environment = {"PERSIA_GLOBAL_CONFIG": str(path)}
    with ModelServerRun(tmp_path, store, "--models", "all", environment=environment) as server:
        shown = _trusting(tls)
        shown.load_cert_chain(tls / "client.pem", tls / "client-key.pem")
        wait_until(lambda: _get(server, "ping", shown) == 200, "the model is ready")
        with pytest.raises(OSError):
            _get(server, "ping", _trusting(tls))
        pair = {
            "private_key": (tls / "client-key.pem").read_bytes(),
            "certificate_chain": (tls / "client.pem").read_bytes(),
        }
        assert _predict(server, tls, **pair) == "secret"
        with pytest.raises(grpc.RpcError):
            _predict(server, tls)
        names = ("ca", "client_certificate", "client_key")
        clients = tmp_path / "clients.yaml"
        clients.write_text(json.dumps({"security": {name: getattr(section, name) for name in names}}))
        command = ["--address", server.places["grpc_management"], "--global-config", str(clients), "list"]
        listed = CliRunner().invoke(manage, command, catch_exceptions=False)
        assert listed.exit_code == 0 and "probe" in listed.output, listed.output
        metrics = _curl(
            "--cacert",
            tls / "ca.pem",
            "--cert",
            tls / "client.pem",
            "--key",
            tls / "client-key.pem",
            f"https://{server.places['metrics']}/metrics",
        )
        assert b"persia_model_answers_total" in metrics.stdout


def test_our_clients_speak_tls(server: ModelServerRun, certificates: Path) -> None:
    trusting = SecurityConfig(ca=str(certificates / "ca.pem"))
    places = server.places
    with TextClient("probe", places["grpc_inference"], security=trusting) as client:
        assert client.predict("echo secret") == "secret"
    with Management(places["grpc_management"], security=GrpcioSecurity(trusting)) as management:
        assert [model.name for model in management.list()] == ["probe"]
    command = ["--address", places["grpc_management"], "--ca", str(certificates / "ca.pem"), "list"]
    listed = CliRunner().invoke(manage, command, catch_exceptions=False)
    assert listed.exit_code == 0 and "probe  1.0      default" in listed.output, listed.output
    command = ["--model-name", "probe", "--address", places["grpc_inference"], "--ca", str(certificates / "ca.pem")]
    assert "the handler failed" in CliRunner().invoke(infer, command).output  # which understands no batches


def test_a_client_without_tls_hears_of_it(server: ModelServerRun) -> None:
    with (
        TextClient("probe", server.places["grpc_inference"]) as client,
        pytest.raises(Unavailable, match=r"it speaks TLS, which this client does not: give it a `ca`"),
    ):
        client.predict("echo secret")
    listed = CliRunner().invoke(manage, ["--address", server.places["grpc_management"], "list"])
    assert listed.exit_code == 1 and "with --ca or in the section `security`" in listed.output


def test_a_client_with_tls_hears_of_a_server_without(store: Path, tmp_path: Path, certificates: Path) -> None:
    with (
        ModelServerRun(tmp_path, store) as plain,
        TextClient("probe", plain.places["grpc_inference"], security=SecurityConfig(ca=str(certificates / "ca.pem"))) as client,
        pytest.raises(Unavailable, match="the server does not speak TLS, and the client does"),
    ):
        client.predict("echo secret")


def _keystore(certificates: Path, path: Path, password: str) -> Path:
    subprocess.run(
        [
            "openssl",
            "pkcs12",
            "-export",
            "-in",
            certificates / "server.pem",
            "-inkey",
            certificates / "server-key.pem",
            "-out",
            path,
            "-passout",
            f"pass:{password}",
        ],
        check=True,
        timeout=PATIENCE,
    )
    path.chmod(0o600)
    return path


def test_a_keystore_of_pkcs12(tmp_path: Path, store: Path, certificates: Path) -> None:
    keystore = _keystore(certificates, tmp_path / "keystore.p12", "secret")
    with ModelServerRun(
        tmp_path,
        store,
        inference_address="https://127.0.0.1:0",
        keystore=keystore,
        keystore_pass="secret",
        keystore_type="PKCS12",
    ) as server:
        assert _get(server, "ping", _trusting(certificates)) == 200


def test_keystores_that_are_of_no_use(tmp_path: Path, store: Path, certificates: Path) -> None:
    https = "https://127.0.0.1:0"
    keystore = _keystore(certificates, tmp_path / "keystore.p12", "secret")
    with pytest.raises(AssertionError, match=r"keystore's password in keystore_pass, got another one - at `config\.p"):
        ModelServerRun(tmp_path / "password", store, keystore=keystore, keystore_pass="wrong", inference_address=https)
    with pytest.raises(AssertionError, match=r"expected PKCS12 .* for keystore_type, got 'JKS'"):
        ModelServerRun(
            tmp_path / "type", store, keystore=keystore, keystore_pass="secret", keystore_type="JKS", inference_address=https
        )
    java = tmp_path / "keystore.jks"
    java.touch(mode=0o600)
    java.write_bytes(b"\xfe\xed\xfe\xed\0\0\0\2")
    with pytest.raises(AssertionError, match="expected a keystore of PKCS12, got one of JKS"):
        ModelServerRun(tmp_path / "java", store, keystore=java, inference_address=https)
    with pytest.raises(AssertionError, match="expected a certificate for TLS at inference, got none"):
        ModelServerRun(tmp_path / "none", store, inference_address=https)
