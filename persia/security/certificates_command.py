"""`persia-launcher certificates`: a CA and certificates for a trial."""

from __future__ import annotations

import os
import time
from pathlib import Path

import click
import yaml

from persia import _core
from persia.errors import PersiaError
from persia.system.durable import replacing

__all__ = ["certificates"]

_DAY = 86_400
_CA_DAYS = 3_650
# So that a clock which is a little behind takes a new certificate.
_CLOCK_SECONDS = 3_600
_OWN_HOSTS = ("localhost", "127.0.0.1", "::1")


@click.command(context_settings={"show_default": True})
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="A DNS name or an address by which clients call the servers, `*.NAME` too; as often as there are some. localhost and "
    "the addresses of the loopback interface are always there.",
)
@click.option("--client", "client", default="client", help="The name that servers know the client by.")
@click.option("--days", type=click.IntRange(1, _CA_DAYS), default=365, help="For how long the certificates are valid.")
def certificates(directory: Path, hosts: tuple[str, ...], client: str, days: int) -> None:
    """Makes a CA, a certificate for servers and one for clients, and prints the section `security` that uses them.

    Where DIR has a CA already, it signs: so the certificates are renewed, and servers that run take them by themselves. It is
    for a trial: who has the CA's key, DIR/ca-key.pem, lets himself in.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        authority = _authority(directory)
        begin = int(time.time()) - _CLOCK_SECONDS
        end = begin + _CLOCK_SECONDS + days * _DAY
        names = list(dict.fromkeys([*(host.strip("[]") for host in hosts), *_OWN_HOSTS]))
        server = _core.security.make_certificate(authority, names[0][:64], names, "server", begin, end)
        _write_pair(directory, "server", server)
        _write_pair(directory, "client", _core.security.make_certificate(authority, client, [], "client", begin, end))
    except PersiaError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from error
    click.echo(_section(directory.resolve()))


def _authority(directory: Path) -> tuple[str, str]:
    certificate, key = directory / "ca.pem", directory / "ca-key.pem"
    if certificate.exists() and key.exists():
        return certificate.read_text(), _core.security.read_secret(str(key)).decode()
    begin = int(time.time()) - _CLOCK_SECONDS
    made = _core.security.make_authority("persia trial CA", begin, begin + _CLOCK_SECONDS + _CA_DAYS * _DAY)
    _write_pair(directory, "ca", made)
    return made


def _write_pair(directory: Path, name: str, pair: tuple[str, str]) -> None:
    """The key first: until its certificate is there too, a server that runs keeps the last pair."""
    _write(directory / f"{name}-key.pem", pair[1], 0o600)
    _write(directory / f"{name}.pem", pair[0], 0o644)


def _write(path: Path, text: str, mode: int) -> None:
    """In one step, and never to be read by others in between."""
    with replacing(path) as temporary:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(text)


def _section(directory: Path) -> str:
    files = {
        "certificate": "server.pem",
        "key": "server-key.pem",
        "client_ca": "ca.pem",
        "ca": "ca.pem",
        "client_certificate": "client.pem",
        "client_key": "client-key.pem",
    }
    section = {"security": {key: str(directory / name) for key, name in files.items()}}
    head = (
        f"# For global_config.yaml, of servers and of clients; clients elsewhere need ca.pem, client.pem and client-key.pem.\n"
        f"# {directory}/ca-key.pem is for the next certificates: no process needs it.\n"
    )
    return head + yaml.safe_dump(section, sort_keys=False, width=1_000).rstrip()
