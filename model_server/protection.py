"""What each listener of a model server asks of its callers: TorchServe's keys, and the section `security`.

Where the section has `tokens`, they take the place of TorchServe's keys. Where it has a `certificate`, all listeners but unix
sockets speak TLS with it; else those that TorchServe's own keys name.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path

import msgspec

from persia import _core
from persia.config.listening import check_listen
from persia.config.security import SecurityConfig
from persia.errors import ConfigError
from persia.security import ServerSecurity
from persia.security.ends import made_of_files

from .access_settings import AccessSettings
from .keys import API, INFERENCE, KEY_FILE, MANAGEMENT, GivenKeys, Keys, MadeKeys

__all__ = ["Protection"]

log = logging.getLogger(__name__)

_KINDS = {"inference": INFERENCE, "grpc_inference": INFERENCE, "management": MANAGEMENT, "grpc_management": MANAGEMENT}


class Protection:
    """`keys`: None: TorchServe's do not count here."""

    def __init__(self, access: AccessSettings, security: SecurityConfig, directory: Path) -> None:
        """directory: where keys are written that the server makes. Nobody has one before open(). Raises ConfigError."""
        self._access = access
        self._security = security
        self._section = ServerSecurity(security)
        self._contexts: dict[bool, _core.security.TlsContext] = {}
        self._check_files()
        self.keys: Keys | None = None
        if access.tokens and not security.tokens:
            needs_certificate = bool(security.client_ca)
            if access.token_file is None:
                self.keys = MadeKeys((directory / KEY_FILE).absolute(), access.token_minutes, needs_certificate)
            else:
                given = access.token_file
                self.keys = made_of_files(lambda: GivenKeys(given, needs_certificate), str(given))

    def check(self, listener: str, address: str) -> None:
        """Raises ConfigError: it would be open to all who reach this machine."""
        encrypts = self._encrypts(listener)
        asks = self._security.tokens or (KEY_FILE if self.keys is not None and listener in _KINDS else None)
        files = (self._files[0] or self._access.keystore, self._files[1] or self._access.keystore) if encrypts else (None, None)
        try:
            check_listen(address, msgspec.structs.replace(self._security, certificate=files[0], key=files[1], tokens=asks))
        except ConfigError as error:
            raise ConfigError(
                f"{error.problem}; in the section `security` of global_config.yaml, which --global-config or "
                "$PERSIA_GLOBAL_CONFIG names. TorchServe's keys are a way, too, where disable_token_authorization is left out",
                error.path,
            ) from None

    def guard(self, listener: str) -> _core.security.Guard | None:
        """Who may ask; None: everybody."""
        if self.keys is not None and listener in _KINDS:
            return self.keys.guards[_KINDS[listener]]
        return self._section.guard

    def guards_of_paths(self, listeners: Collection[str]) -> dict[str, _core.security.Guard | None]:
        """Who may ask by the first segment of a path, in the place of the guard of the first listener of one address."""
        guards: dict[str, _core.security.Guard | None] = {}
        if "management" in listeners:
            guards |= dict.fromkeys(("models", "workflows"), self.guard("management"))
            if self.keys is not None:
                guards["token"] = self.keys.guards[API]
        if "metrics" in listeners:
            guards["metrics"] = self.guard(next(name for name in ("management", *listeners) if name in listeners))
        return guards

    def tls(self, listener: str) -> _core.security.TlsContext | None:
        """What its connections are encrypted with; None: they are not. Raises ConfigError."""
        if not self._encrypts(listener):
            return None
        http1 = not listener.startswith("grpc_")
        if http1 not in self._contexts:
            certificate, key = self._files
            access = self._access
            self._contexts[http1] = made_of_files(
                lambda: _core.security.TlsContext.for_server(
                    certificate,
                    key,
                    self._security.client_ca or "",
                    keystore="" if certificate else access.keystore,
                    keystore_password=access.keystore_password,
                    http1=http1,
                ),
                "$.security" if self._is_of_section else "config.properties",
            )
        return self._contexts[http1]

    def refresh(self) -> list[str]:
        """As of SecurityFiles."""
        problems = [problem for context in self._contexts.values() if (problem := context.refresh())]
        problems += self._section.refresh()
        return problems + (self.keys.refresh() if self.keys is not None else [])

    @property
    def key_file(self) -> str:
        """Where TorchServe's keys stand; empty: they do not count here."""
        return "" if self.keys is None else str(self.keys.file)

    def open(self) -> None:
        """Makes the keys that the server itself makes: when it listens, so that it takes no other server's away.

        Raises OSError.
        """
        if isinstance(self.keys, MadeKeys):
            self.keys.open()
            log.info("callers need a key of %s; --disable-token-auth lets them in without", self.keys.file)

    def close(self) -> None:
        """The server has stopped."""
        if isinstance(self.keys, MadeKeys):
            self.keys.close()

    @property
    def _files(self) -> tuple[str, str]:
        """Of the certificate and its key."""
        section = self._security
        if section.certificate and section.key:
            return section.certificate, section.key
        return self._access.certificate, self._access.key

    @property
    def _is_of_section(self) -> bool:
        """Whether the certificate is."""
        return bool(self._security.certificate and self._security.key)

    def _encrypts(self, listener: str) -> bool:
        return self._security.certificate is not None or listener in self._access.encrypted

    def _check_files(self) -> None:
        access = self._access
        if bool(access.certificate) != bool(access.key):
            raise ConfigError("expected both certificate_file and private_key_file, got one of them", "config.properties")
        if access.encrypted and not any((self._files[0], access.keystore)):
            names = ", ".join(sorted(access.encrypted))
            raise ConfigError(
                f"expected a certificate for TLS at {names}, got none: write certificate_file and private_key_file, or "
                "keystore, or `certificate` and `key` in the section `security` of global_config.yaml",
                "config.properties",
            )
