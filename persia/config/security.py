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
    """Servers ask for what `client_ca` and `tokens` say, for both where both are there. Files are read again as they change."""

    certificate: Annotated[
        _Text | None,
        Meta(
            description="The certificate of servers, in PEM, with those between it and its CA. With it and `key`, servers "
            "speak TLS (1.2 or newer), and nothing else but on unix sockets.",
        ),
    ] = None
    key: Annotated[
        _Text | None, Meta(description="Its key, in PEM, without a passphrase. Nobody but its owner may read it.")
    ] = None
    client_ca: Annotated[
        _Text | None,
        Meta(description="Who must have signed the certificates of clients, in PEM. Without it, clients need none."),
    ] = None
    tokens: Annotated[
        _Text | None,
        Meta(
            description="The tokens that servers take, one a line, also as `NAME:TOKEN`. Nobody but its owner may read the "
            "file. Without it, clients need none."
        ),
    ] = None
    ca: Annotated[
        _Text | None,
        Meta(
            description=f"Who must have signed the certificates of servers, in PEM; `{SYSTEM_CA}`: a CA of the system's. With "
            "it, clients speak TLS."
        ),
    ] = None
    server_name: Annotated[
        _Text | None,
        Meta(description="The name that the certificates of all servers must have. Without it, the host that clients call."),
    ] = None
    client_certificate: Annotated[
        _Text | None, Meta(description="The certificate that clients show, in PEM, with those between it and its CA.")
    ] = None
    client_key: Annotated[
        _Text | None, Meta(description="Its key, in PEM, without a passphrase. Nobody but its owner may read it.")
    ] = None
    token: Annotated[
        _Text | None,
        Meta(
            description="A file whose first token clients show. Nobody but its owner may read it. It may be that of `tokens`."
        ),
    ] = None
    insecure: Annotated[
        bool,
        Meta(
            description="Whether a server may listen in plain text, to everybody, where other machines reach it. Without it, "
            "only on the loopback interface and on unix sockets."
        ),
    ] = False

    def __post_init__(self) -> None:
        for key, needed, what in _NEEDS:
            if getattr(self, key) is not None and getattr(self, needed) is None:
                raise ConfigError(f"expected `{needed}` beside `{key}`, {what}", f"$.security.{key}")
