"""Options of commands that ask servers, about how these are spoken to: by the config's section `security`, or one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click
from msgspec.structs import replace

from persia.config import GLOBAL_CONFIG_VARIABLE, SecurityConfig, load_global_config

from .option_groups import option_group

__all__ = ["SecurityOptions", "client_options", "security_of", "security_options"]

_Command = TypeVar("_Command", bound=Callable[..., Any])

_GLOBAL_CONFIG: dict[str, Any] = {
    "envvar": GLOBAL_CONFIG_VARIABLE,
    "show_envvar": True,
    "help": "Whose section `security` says what servers are shown.",
}
_TLS = {
    "ca": "Who signs the servers' certificates (PEM, or `system`): TLS is spoken.",
    "client_certificate": "What servers are shown that want a certificate (PEM).",
    "client_key": "The key of that certificate.",
    "server_name": "The name that the server's certificate has.",
}
_OPTIONS = (
    click.option("--global-config", **_GLOBAL_CONFIG),
    click.option("--token-file", help="A file whose first token is shown; in the place of the config's `token`."),
    *(click.option("--" + name.replace("_", "-"), help=words) for name, words in _TLS.items()),
)


@dataclass(frozen=True)
class SecurityOptions:
    """How a server is spoken to whose own key files are another option's affair."""

    global_config: str | None
    ca: str | None
    client_certificate: str | None
    client_key: str | None
    server_name: str | None

    def security(self) -> SecurityConfig:
        """Raises ConfigError, OSError."""
        return security_of(self.global_config, None, self.ca, self.client_certificate, self.client_key, self.server_name)


security_options = option_group(
    "security",
    SecurityOptions,
    "TLS",
    global_config=_GLOBAL_CONFIG,
    **{name: {"help": words} for name, words in _TLS.items()},
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
