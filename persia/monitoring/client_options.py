"""Options of commands that ask servers, about how these are spoken to: by the config's section `security`, or one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
from msgspec.structs import replace

from persia.config import GLOBAL_CONFIG_VARIABLE, SecurityConfig, load_global_config

__all__ = ["client_options", "security_of"]

_Command = TypeVar("_Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--global-config",
        envvar=GLOBAL_CONFIG_VARIABLE,
        show_envvar=True,
        help="Whose section `security` says what servers are shown.",
    ),
    click.option("--token-file", help="A file whose first token is shown; in the place of the config's `token`."),
    click.option("--ca", help="Who signs the servers' certificates (PEM, or `system`): TLS is spoken."),
    click.option("--client-certificate", help="What servers are shown that want a certificate (PEM)."),
    click.option("--client-key", help="The key of that certificate."),
    click.option("--server-name", help="The name that the server's certificate has."),
)


def client_options(command: _Command) -> _Command:
    """Adds the options, of which security_of() makes a section."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def security_of(
    global_config: str | None,
    token_file: str | None,
    ca: str | None,
    client_certificate: str | None,
    client_key: str | None,
    server_name: str | None,
) -> SecurityConfig:
    """Options go before the config. Raises ConfigError, OSError."""
    config = load_global_config(global_config).security if global_config else SecurityConfig()
    given = {
        "token": token_file,
        "ca": ca,
        "client_certificate": client_certificate,
        "client_key": client_key,
        "server_name": server_name,
    }
    return replace(config, **{key: value for key, value in given.items() if value is not None})
