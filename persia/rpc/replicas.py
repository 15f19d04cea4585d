"""The servers that can do the same work: those of a list of addresses, whose names may stand for several each."""

from __future__ import annotations

import ipaddress
import itertools
import logging
import socket
import threading
import time
from collections.abc import Collection, Sequence

from persia.errors import Unavailable
from persia.rpc.methods import Method
from persia.rpc.replica import Probe, Replica

__all__ = ["ReplicaSet"]

log = logging.getLogger(__name__)

_RESOLVE_SECONDS = 5.0


class ReplicaSet:
    """Any thread may use it. `name` stands in messages, such as `shard 1 of 2`."""

    def __init__(self, name: str, method: Method, probe: Probe, addresses: Sequence[str]) -> None:
        """addresses: `host:port`. Those that are names are resolved now and then, in a thread."""
        self.name, self.addresses = name, tuple(addresses)
        self._method, self._probe = method, probe
        self._replicas: dict[tuple[str, int], Replica] = {}
        self._unresolved: dict[str, str] = {}
        self._turn = itertools.count()
        self._began = time.monotonic()
        self._closed = threading.Event()
        names = [address for address in self.addresses if not self._add_literal(address)]
        if names:
            threading.Thread(target=self._follow, args=(names,), name=f"resolve {name}", daemon=True).start()

    @property
    def replicas(self) -> list[Replica]:
        return list(self._replicas.values())

    @property
    def usable(self) -> bool:
        return any(replica.usable for replica in self.replicas)

    def choose(self, other_than: Collection[Replica] = ()) -> Replica | None:
        """In turn, one that is well; a slow one only if there is no other."""
        found = [replica for replica in self.replicas if replica.usable and replica not in other_than]
        if not found:
            return None
        fast = [replica for replica in found if not replica.is_slow] or found
        return fast[next(self._turn) % len(fast)]

    def away_since(self) -> float:
        """Since when (time.monotonic()) no replica can be used. REQUIRES: choose() has found none."""
        return max([replica.unusable_since for replica in self.replicas], default=self._began)

    def why_unusable(self) -> str:
        """What each replica says, for a message."""
        reasons = [f"{replica.address}: {replica.health.refused or replica.health.state}" for replica in self.replicas]
        reasons += [f"{name}: {problem}" for name, problem in self._unresolved.items()]
        return "; ".join(reasons) or "no address is known yet"

    def unavailable(self) -> Unavailable:
        return Unavailable(f"expected an answer of {self.name}, got none: {self.why_unusable()}")

    def close(self) -> None:
        self._closed.set()
        for replica in self.replicas:
            replica.close()

    def _add_literal(self, address: str) -> bool:
        host, port = _split(address)
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return False
        self._add(host, port)
        return True

    def _add(self, host: str, port: int) -> None:
        self._replicas[host, port] = Replica(self._method, self._probe, host, port)

    def _follow(self, names: list[str]) -> None:
        """Keeps the replicas of names what the names stand for."""
        literal = set(self._replicas)
        while not self._closed.is_set():
            found = set(literal)
            for name in names:
                host, port = _split(name)
                try:
                    infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                    self._unresolved.pop(name, None)
                except OSError as error:  # keep those that are known: it may be the name server that is down
                    self._unresolved[name] = str(error)
                    found |= {place for place in self._replicas if place not in literal}
                    continue
                found |= {(str(info[4][0]), port) for info in infos}
            for place in found - set(self._replicas):
                self._add(*place)
            for place in set(self._replicas) - found:
                log.info("%s no longer stands for %s", ", ".join(names), place[0])
                self._replicas.pop(place).close()
            self._closed.wait(_RESOLVE_SECONDS if self.usable else _RESOLVE_SECONDS / 10)


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
