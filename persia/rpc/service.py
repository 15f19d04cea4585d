"""The servers that can do the same work: those of a list of addresses, whose names may stand for several each."""

from __future__ import annotations

import ipaddress
import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence

from persia import _core
from persia.rpc.prober import Health, Probe, Prober, WatchTimes
from persia.security import ClientSecurity, Refreshing
from persia.system.address import host_and_port, join_address

__all__ = ["Service", "native_replica"]

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.5
_UNIX = "unix:"

_Place = tuple[str, int]  # a host's address, and a port; or the path of a socket, and 0


class Service:
    """Any thread may use it. `native` is what is asked."""

    def __init__(
        self,
        name: str,
        probe: Probe,
        addresses: Sequence[str],
        security: ClientSecurity | None = None,
        on_change: Callable[[], None] = lambda: None,
        times: WatchTimes | None = None,
    ) -> None:
        """A service that is watched from now on.

        Args:
            name: Stands in messages, such as `shard 1 of 2`.
            probe: Asks one of the servers how it is.
            addresses: `host:port` or `unix:/path`. Those that are names are resolved now and then, in a thread.
            security: How they are spoken to; None: in plain text, and without a token.
            on_change: As for a Prober.
            times: How often they are asked; None: as often as is usual.
        """
        self.name, self.addresses = name, tuple(addresses)
        self.native = _core.net.ReplicaSet(name, [])
        self._security, self._on_change, self._times = security, on_change, times or WatchTimes()
        files = Refreshing(security) if security is not None else None

        def ask(replica: _core.net.Replica, seconds: float) -> Health:
            if files is not None:
                files.look()
            return probe(replica, seconds)

        self._probe = ask
        self._replicas: dict[_Place, _core.net.Replica] = {}
        self._places: dict[str, set[_Place]] = {}  # that a name stood for last
        self._unresolved: dict[str, str] = {}
        self._closed = False
        names = [address for address in self.addresses if not self._add_literal(address)]
        self._publish()
        if names:
            threading.Thread(target=self._follow, args=(names,), name=f"resolve {name}", daemon=True).start()

    @property
    def replicas(self) -> list[_core.net.Replica]:
        return self.native.replicas

    @property
    def usable(self) -> bool:
        return self.native.usable

    @property
    def hanging(self) -> bool:
        """Whether no replica that can be used answers even probes."""
        return self.native.hanging

    def why_unusable(self) -> str:
        """What each replica says, for a message."""
        return self.native.why_unusable()

    def __repr__(self) -> str:
        states = ", ".join(f"{one.address} {'usable' if one.usable else one.why_unusable()}" for one in self.replicas)
        return f"Service({self.name}: {states or 'no replica'}{', closed' if self._closed else ''})"

    def close(self) -> None:
        self._closed = True
        self.native.close()

    def _publish(self) -> None:
        self.native.set_replicas(
            list(self._replicas.values()), "; ".join(f"{name}: {problem}" for name, problem in self._unresolved.items())
        )

    def _add_literal(self, address: str) -> bool:
        if address.startswith(_UNIX):
            self._add(address, 0, address, "localhost")
            return True
        host, port = host_and_port(address)
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return False
        self._add(host, int(port), address, host)
        return True

    def _add(self, host: str, port: int, address: str, name: str) -> None:
        """name: whose certificate the server has to show."""
        if (host, port) not in self._replicas:
            replica = native_replica(address, name, self._security)
            self._replicas[host, port] = replica
            Prober(replica, self._probe, self._on_change, self._times)

    def _follow(self, names: list[str]) -> None:
        """Keeps the replicas of names what the names stand for."""
        literal = set(self._replicas)
        while not self._closed:
            found = literal.union(*[self._resolve(name) for name in names])
            for host, port in found - set(self._replicas):
                self._add(host, port, join_address(host, port), self._name_of(host, port))
            gone = [self._replicas.pop(place) for place in set(self._replicas) - found]
            self._publish()
            for replica in gone:
                log.info("%s no longer stands for %s", ", ".join(names), replica.address)
                replica.close()
                self._on_change()
            self._pause()
        self.close()  # also those that were found meanwhile

    def _pause(self) -> None:
        """In small steps: names are looked up at once when nobody is left that can be used."""
        end = time.monotonic() + self._times.names
        while not self._closed and time.monotonic() < end:
            time.sleep(_LOOK_SECONDS)
            if not self.usable:
                return

    def _name_of(self, host: str, port: int) -> str:
        return next(host_and_port(name)[0] for name, places in self._places.items() if (host, port) in places)

    def _resolve(self, name: str) -> set[_Place]:
        host, port = host_and_port(name)
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:  # UnicodeError: no host may be called so
            self._unresolved[name] = str(error)
            return self._places.get(name, set())  # those that are known: it may be the name server that is down
        self._unresolved.pop(name, None)
        places = self._places[name] = {(str(info[4][0]), int(port)) for info in infos}
        return places


def native_replica(address: str, name: str, security: ClientSecurity | None) -> _core.net.Replica:
    """A server that may be asked. name: whose certificate it has to show, where `security` says no other."""
    if security is None:
        return _core.net.Replica(address, name)
    return _core.net.Replica(address, security.server_name or name, security.tls, security.tokens)
