"""The section `security` of global_config.yaml: who may ask, and how a connection is encrypted."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from persia.errors import ConfigError

__all__ = ["SYSTEM_CA", "SecurityConfig"]

SYSTEM_CA = "system"

_Text = Annotated[str, Meta(min_length=1)]

# What is of no use without another key.
_NEEDS = (
    ("certificate", "key", "the key of this certificate"),
    ("key", "certificate", "the certificate of this key"),
    ("client_ca", "certificate", "a certificate of the server: without it nothing is encrypted, and clients show none"),
    ("client_certificate", "client_key", "the key of this certificate"),
    ("client_key", "client_certificate", "the certificate of this key"),
    ("client_certificate", "ca", "who signs the servers' certificates: without it clients do not speak TLS"),
    ("server_name", "ca", "who signs the servers' certificates: without it clients do not speak TLS"),
)


class SecurityConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which certificates and tokens servers demand and clients show. With `client_ca` and `tokens`, a server demands both."""

    certificate: Annotated[
        _Text | None,
        Meta(
            description="The certificate that servers show, in PEM, with the intermediate certificates. With `certificate` and "
            "`key`, servers speak TLS (1.2 or newer) only, except on unix sockets.",
        ),
    ] = None
    key: Annotated[
        _Text | None,
        Meta(description="The key of `certificate`, in PEM, without a passphrase. Only its owner may read the file."),
    ] = None
    client_ca: Annotated[
        _Text | None,
        Meta(
            description="The CA that must have signed the certificates of clients, in PEM. Without it, clients need no "
            "certificate."
        ),
    ] = None
    tokens: Annotated[
        _Text | None,
        Meta(
            description="A file with the tokens that servers accept, one in each line, as `TOKEN` or `NAME:TOKEN`. Only its "
            "owner may read the file. Without it, clients need no token."
        ),
    ] = None
    ca: Annotated[
        _Text | None,
        Meta(
            description=f"The CA that must have signed the certificates of servers, in PEM; `{SYSTEM_CA}` stands for the CAs "
            "of the system. With it, clients speak TLS."
        ),
    ] = None
    server_name: Annotated[
        _Text | None,
        Meta(
            description="The name that the certificates of all servers must have. Without it, each certificate must have the "
            "host that clients call."
        ),
    ] = None
    client_certificate: Annotated[
        _Text | None, Meta(description="The certificate that clients show, in PEM, with the intermediate certificates.")
    ] = None
    client_key: Annotated[
        _Text | None,
        Meta(description="The key of `client_certificate`, in PEM, without a passphrase. Only its owner may read the file."),
    ] = None
    token: Annotated[
        _Text | None,
        Meta(
            description="A file whose first token clients show. Only its owner may read the file, which may be that of "
            "`tokens`."
        ),
    ] = None
    insecure: Annotated[
        bool,
        Meta(
            description="Whether a server may listen where other machines reach it, in plain text and open to everybody. "
            "Without it, such a server may listen on the loopback interface and on unix sockets only."
        ),
    ] = False

    def __post_init__(self) -> None:
        for key, needed, what in _NEEDS:
            if getattr(self, key) is not None and getattr(self, needed) is None:
                raise ConfigError(f"expected `{needed}` beside `{key}`, {what}", f"$.security.{key}")
