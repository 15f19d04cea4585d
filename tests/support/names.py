"""A name server's answers, as a test wants them."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from persia.rpc.prober import WatchTimes

OFTEN = WatchTimes(well=0.05, names=0.05)


class Names:
    """What a name stands for in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self._name = name
        self.addresses: list[str] = []
        self._real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self._look_up)

    def _look_up(self, host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        if host != self._name:
            return self._real(host, port, *arguments, **options)
        if not self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in self.addresses]
