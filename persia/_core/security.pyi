"""TLS and tokens. Use persia.security rather than this.

`from persia import _core`, then `_core.security`: it is a part of that extension, not a module of a package.
"""

from collections.abc import Sequence
from typing import Literal

class TlsContext:
    """Encrypted connections. Any thread may use it."""

    @staticmethod
    def for_server(
        certificate: str, key: str, client_ca: str, *, keystore: str = "", keystore_password: str = "", http1: bool = False
    ) -> TlsContext:
        """What a server shows, and what it asks for.

        client_ca: who must have signed a client's certificate; empty: none is asked for. keystore: of PKCS12, in place of
        certificate and key. http1: clients speak HTTP/1.1 in place of HTTP/2. InvalidInput, OSError.
        """
    @staticmethod
    def for_client(ca: str, certificate: str, key: str) -> TlsContext:
        """ca: empty: those of the system. certificate, key: empty: none is shown. InvalidInput, OSError."""
    def refresh(self) -> str:
        """Reads the files again if they have changed. Wrong ones leave what was there. Returns what is wrong; or nothing."""

class Guard:
    """Who may call. Any thread may use it."""

    @staticmethod
    def of(tokens: str, needs_certificate: bool) -> Guard:
        """tokens: a file; empty: none is asked for. InvalidInput, OSError."""
    def identity_of(self, authorization: str, certificate: str) -> str | None:
        """None: the caller is refused."""
    def refresh(self) -> str:
        """As of TlsContext."""

class TokenSource:
    """The token that a client shows."""

class Tokens(TokenSource):
    """Bearer tokens of a file. Any thread may use it."""

    def __init__(self, path: str) -> None:
        """InvalidInput, OSError."""
    def token(self) -> str:
        """The first token of the file; empty: it has none."""
    def refresh(self) -> str:
        """As of TlsContext."""

def read_secret(path: str) -> bytes:
    """A file that nobody but its owner may read. InvalidInput, OSError."""

def make_authority(name: str, valid_from: int, valid_until: int) -> tuple[str, str]:
    """A CA: its certificate and its key, in PEM. Times are seconds since 1970. InvalidInput."""

def make_certificate(
    authority: tuple[str, str],
    name: str,
    hosts: Sequence[str],
    usage: Literal["server", "client"],
    valid_from: int,
    valid_until: int,
) -> tuple[str, str]:
    """A certificate that the authority signs, and its key, in PEM. InvalidInput."""
