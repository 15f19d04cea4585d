"""The servers that can do the same work: those of a list of addresses, whose names may stand for several each."""

from __future__ import annotations

import ipaddress
import itertools
import logging
import socket
import threading
import time
from collections.abc import Callable, Collection, Sequence

from persia.rpc.bell import Bell
from persia.rpc.methods import Method
from persia.rpc.replica import HANGS, Probe, Replica

__all__ = ["ReplicaSet"]

log = logging.getLogger(__name__)

_RESOLVE_SECONDS = 5.0

_Place = tuple[str, int]  # a host's address, and a port


class ReplicaSet:
    """Any thread may use it. `name` stands in messages, such as `shard 1 of 2`."""

    def __init__(
        self, name: str, method: Method, probe: Probe, addresses: Sequence[str], on_change: Callable[[], None] = lambda: None
    ) -> None:
        """addresses: `host:port`. Those that are names are resolved now and then, in a thread. on_change: as for a Replica."""
        self.name, self.addresses = name, tuple(addresses)
        self._method, self._probe, self._on_change = method, probe, on_change
        self._replicas: dict[_Place, Replica] = {}
        self._places: dict[str, set[_Place]] = {}  # that a name stood for last
        self._unresolved: dict[str, str] = {}
        self._turn = itertools.count()
        self._began = time.monotonic()
        self._bell, self._closed = Bell(), False
        names = [address for address in self.addresses if not self._add_literal(address)]
        if names:
            threading.Thread(target=self._follow, args=(names,), name=f"resolve {name}", daemon=True).start()

    @property
    def replicas(self) -> list[Replica]:
        return list(self._replicas.values())

    @property
    def usable(self) -> bool:
        return any(replica.usable for replica in self.replicas)

    @property
    def hanging(self) -> bool:
        return all(replica.trouble >= HANGS for replica in self.replicas if replica.usable)

    def choose(self, other_than: Collection[Replica] = ()) -> Replica | None:
        """In turn, one of those with the least trouble."""
        replicas = self.replicas
        if len(replicas) == 1:  # no choice
            (only,) = replicas
            return only if only.usable and only not in other_than else None
        best: list[Replica] = []
        least = 0
        for replica in replicas:
            if not replica.usable or replica in other_than:
                continue
            trouble = replica.trouble
            if not best or trouble < least:
                best, least = [replica], trouble
            elif trouble == least:
                best.append(replica)
        return best[next(self._turn) % len(best)] if best else None

    def away_since(self) -> float:
        """Since when (time.monotonic()) no replica can be used. REQUIRES: choose() has found none."""
        return max([replica.unusable_since for replica in self.replicas], default=self._began)

    def why_unusable(self) -> str:
        """What each replica says, for a message."""
        reasons = [f"{replica.address}: {replica.why_unusable()}" for replica in self.replicas]
        reasons += [f"{name}: {problem}" for name, problem in list(self._unresolved.items())]
        return "; ".join(reasons) or "no address is known yet"

    def close(self) -> None:
        self._closed = True
        self._bell.ring()
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
        self._replicas[host, port] = Replica(self._method, self._probe, host, port, self._on_change)

    def _follow(self, names: list[str]) -> None:
        """Keeps the replicas of names what the names stand for."""
        literal = set(self._replicas)
        while not self._closed:
            found = literal.union(*[self._resolve(name) for name in names])
            for place in found - set(self._replicas):
                self._add(*place)
            for place in set(self._replicas) - found:
                log.info("%s no longer stands for %s", ", ".join(names), place[0])
                self._replicas.pop(place).close()
                self._on_change()
            end = time.monotonic() + _RESOLVE_SECONDS
            # In small steps, for it is looked up at once when nobody is left.
            while not self._bell.wait(_RESOLVE_SECONDS / 10) and self.usable and time.monotonic() < end:
                pass
        self.close()  # also those that were found meanwhile

    def _resolve(self, name: str) -> set[_Place]:
        host, port = _split(name)
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:  # UnicodeError: no host may be called so
            self._unresolved[name] = str(error)
            return self._places.get(name, set())  # those that are known: it may be the name server that is down
        self._unresolved.pop(name, None)
        places = self._places[name] = {(str(info[4][0]), port) for info in infos}
        return places


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
