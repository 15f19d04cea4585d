"""`persia-launcher certificates`."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest

from persia.security import ClientSecurity, ServerSecurity
from tests.support.certified import mutual_tls, run_certificates


def test_the_section_can_be_pasted_and_used(tmp_path: Path) -> None:
    section = mutual_tls(tmp_path / "new" / "directory", "--host", "ctr.example.com", "--host", "192.0.2.7")
    assert section.certificate == str(tmp_path / "new" / "directory" / "server.pem")
    assert section.insecure is False and section.tokens is None
    server, client = ServerSecurity(section), ClientSecurity(section)
    assert server.tls is not None and server.guard is not None and client.tls is not None
    assert server.refresh() == client.refresh() == []


def test_a_directory_with_signs_of_yaml_can_be_pasted_too(tmp_path: Path) -> None:
    section = mutual_tls(tmp_path / "a: b # c")
    assert section.key == str(tmp_path / "a: b # c" / "server-key.pem")


def test_nobody_else_can_read_keys(tmp_path: Path) -> None:
    run_certificates(tmp_path / "c")
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "c").iterdir()}
    assert modes == {
        "ca.pem": 0o644,
        "ca-key.pem": 0o600,
        "server.pem": 0o644,
        "server-key.pem": 0o600,
        "client.pem": 0o644,
        "client-key.pem": 0o600,
    }
    assert (tmp_path / "c").stat().st_mode & 0o777 == 0o700


def test_other_programs_take_them(tmp_path: Path) -> None:
    """Python's ssl, with every check that it has: of names, of addresses, and of both ends' certificates."""
    run_certificates(
        tmp_path, "--host", "ctr.example.com", "--host", "*.shards.test", "--host", "[2001:db8::1]", "--client", "me"
    )
    ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tmp_path / "ca.pem"))
    ours.load_cert_chain(tmp_path / "server.pem", tmp_path / "server-key.pem")
    ours.verify_mode = ssl.CERT_REQUIRED
    theirs = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    theirs.load_cert_chain(tmp_path / "client.pem", tmp_path / "client-key.pem")
    theirs.verify_flags |= ssl.VERIFY_X509_STRICT
    for host in ("ctr.example.com", "a.shards.test", "2001:db8::1", "localhost", "127.0.0.1", "::1"):
        assert _names_seen(ours, theirs, host) == "me"
    with pytest.raises(ssl.SSLCertVerificationError):
        _names_seen(ours, theirs, "example.com")


def _names_seen(ours: ssl.SSLContext, theirs: ssl.SSLContext, host: str) -> str:
    """The client's name, as the server has it."""
    near, far = socket.socketpair()
    seen: list[str] = []

    def serve() -> None:
        try:
            with ours.wrap_socket(near, server_side=True) as connection:
                certificate: Any = connection.getpeercert()
                (((_, name),),) = certificate["subject"]
                seen.append(name)
                connection.sendall(b"!")
        except OSError:
            near.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with theirs.wrap_socket(far, server_hostname=host) as connection:
            connection.recv(1)
    finally:
        far.close()
        thread.join()
    return seen[0]


def test_once_more_renews_under_the_same_ca(tmp_path: Path) -> None:
    section = mutual_tls(tmp_path)
    ca, certificate = (tmp_path / "ca.pem").read_text(), (tmp_path / "server.pem").read_text()
    server = ServerSecurity(section)
    assert mutual_tls(tmp_path, "--host", "another.test", "--days", "7") == section
    assert (tmp_path / "ca.pem").read_text() == ca
    assert (tmp_path / "server.pem").read_text() != certificate
    assert server.refresh() == []
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--host", "a b"], "expected a DNS name or an address, got `a b`"),
        (["--host", "http://a"], "expected a DNS name or an address, got `http://a`"),
        (["--client", ""], "expected a name of 1 to 64 characters, got 0"),
    ],
)
def test_names_that_are_none(tmp_path: Path, arguments: list[str], problem: str) -> None:
    assert problem in run_certificates(tmp_path, *arguments, ends=1)


def test_a_ca_whose_key_others_can_read_signs_nothing(tmp_path: Path) -> None:
    run_certificates(tmp_path)
    (tmp_path / "ca-key.pem").chmod(0o644)
    assert f"run `chmod 600 {tmp_path}/ca-key.pem`" in run_certificates(tmp_path, ends=1)


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "Not a directory" in run_certificates(tmp_path / "file" / "c", ends=1)
