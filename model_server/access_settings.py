"""What config.properties says of who may come in: TorchServe's keys, TLS, and pages of other sites."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .properties import Properties

__all__ = ["AccessSettings", "read_access"]

_HTTP = ("inference", "management", "metrics")
_GRPC = ("grpc_inference", "grpc_management")


@dataclass(frozen=True)
class AccessSettings:
    """`encrypted`: the listeners that speak TLS by TorchServe's own keys."""

    tokens: bool = True  # whether callers need a key
    token_minutes: int = 60  # until keys that the server makes come to their end
    token_file: Path | None = None  # keys that somebody else has made
    encrypted: frozenset[str] = frozenset()
    certificate: str = ""
    key: str = ""
    keystore: str = ""
    keystore_password: str = "changeit"  # Java's
    cors: tuple[str, str, str] = ("", "", "")  # origin, methods, headers


def read_access(properties: Properties) -> AccessSettings:
    """Raises ConfigError."""
    encrypted = {name for name in _HTTP if properties.is_https(f"{name}_address")}
    if properties.flag("enable_grpc_ssl"):
        encrypted.update(_GRPC)
    kind = properties.text("keystore_type") or "PKCS12"
    if kind.upper() not in ("PKCS12", "PKCS#12"):
        raise properties.wrong("keystore_type", "PKCS12 (`keytool -importkeystore ... -deststoretype pkcs12` makes one)")
    token_file = properties.text("token_file")
    return AccessSettings(
        tokens=not properties.flag("disable_token_authorization"),
        token_minutes=properties.number("token_expiration_min", 60),
        token_file=Path(token_file) if token_file else None,
        encrypted=frozenset(encrypted),
        certificate=properties.text("certificate_file") or "",
        key=properties.text("private_key_file") or "",
        keystore=properties.text("keystore") or "",
        keystore_password=properties.text("keystore_pass") or "changeit",
        cors=(
            properties.text("cors_allowed_origin") or "",
            properties.text("cors_allowed_methods") or "",
            properties.text("cors_allowed_headers") or "",
        ),
    )
