"""Asks all servers of a deployment how they are, many at a time."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from persia import _core
from persia.errors import PersiaError
from persia.rpc.service import native_replica
from persia.rpc.wire import MIDDLEWARE_STATUS, SHARD_STATUS
from persia.security import ClientSecurity
from persia.system.address import host_and_port, join_address
from persia.v1 import embedding_pb2, middleware_pb2

__all__ = ["Asker", "MiddlewareAnswer", "Round", "ShardAnswer"]

_AT_ONCE = 16
_SECONDS = 1.0  # for an answer
_UNIX = "unix:"


@dataclass(frozen=True)
class ShardAnswer:
    """Of one embedding server. `status`: None: there is no answer, and `problem` says why."""

    address: str
    when: float
    status: embedding_pb2.StatusResponse | None = None
    problem: str = ""


@dataclass(frozen=True)
class MiddlewareAnswer:
    """Of one middleware."""

    address: str
    when: float
    status: middleware_pb2.MiddlewareStatusResponse | None = None
    problem: str = ""


@dataclass(frozen=True)
class Round:
    """What all of them said: for each shard, in order, its replicas."""

    shards: tuple[tuple[ShardAnswer, ...], ...]
    middlewares: tuple[MiddlewareAnswer, ...]


class Asker:
    """For one thread at a time. Keeps its connections."""

    def __init__(self, shards: Sequence[Sequence[str]], middlewares: Sequence[str], security: ClientSecurity) -> None:
        """shards: the addresses of the replicas of each; where a middleware answers, those that it names count."""
        self._shards, self._middlewares, self._security = shards, middlewares, security
        self._replicas: dict[str, _core.net.Replica] = {}
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="ask")

    def ask(self) -> Round:
        """Raises nothing: who does not answer is in the answers, too."""
        middlewares = tuple(self._pool.map(self._ask_middleware, self._middlewares))
        places = self._places(middlewares)
        flat = [address for shard in places for address in shard]
        self._forget_all_but({*flat, *self._middlewares})
        answers = dict(zip(flat, self._pool.map(self._ask_shard, flat), strict=True))
        return Round(tuple(tuple(answers[address] for address in shard) for shard in places), middlewares)

    def close(self) -> None:
        self._pool.shutdown(wait=True)
        self._forget_all_but(set())

    def _places(self, middlewares: Sequence[MiddlewareAnswer]) -> list[list[str]]:
        """The replicas of each shard. What one middleware alone names is there as well."""
        found: dict[int, dict[str, None]] = {}
        for answer in middlewares:
            for shard in answer.status.shards if answer.status is not None else ():
                found.setdefault(shard.shard_index, {}).update({replica.address: None for replica in shard.replicas})
        if found:
            return [list(found.get(index, {})) for index in range(max(found) + 1)]
        return [[place for name in shard for place in _addresses_of(name)] for shard in self._shards]

    def _forget_all_but(self, wanted: set[str]) -> None:
        for address in [address for address in self._replicas if address not in wanted]:
            self._replicas.pop(address).close()

    def _ask_middleware(self, address: str) -> MiddlewareAnswer:
        request = middleware_pb2.MiddlewareStatusRequest(figures=True).SerializeToString()
        try:
            answer = self._call(address, MIDDLEWARE_STATUS, request)
            status = middleware_pb2.MiddlewareStatusResponse.FromString(answer)
        except PersiaError as error:
            return MiddlewareAnswer(address, time.monotonic(), problem=str(error))
        return MiddlewareAnswer(address, time.monotonic(), status)

    def _ask_shard(self, address: str) -> ShardAnswer:
        request = embedding_pb2.StatusRequest(figures=True).SerializeToString()
        try:
            status = embedding_pb2.StatusResponse.FromString(self._call(address, SHARD_STATUS, request))
        except PersiaError as error:
            return ShardAnswer(address, time.monotonic(), problem=str(error))
        return ShardAnswer(address, time.monotonic(), status)

    def _call(self, address: str, path: str, request: bytes) -> bytes:
        replica = self._replicas.get(address)
        if replica is None:
            host = "localhost" if address.startswith(_UNIX) else host_and_port(address)[0]
            replica = self._replicas[address] = native_replica(_addresses_of(address)[0], host, self._security)
        return replica.call(path, request, _SECONDS)


def _addresses_of(name: str) -> list[str]:
    """All that a name stands for; the name itself where nobody knows it, so that it shows."""
    if name.startswith(_UNIX):
        return [name]
    host, port = host_and_port(name)
    try:
        infos = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return [name]
    return sorted({join_address(str(info[4][0]), port) for info in infos})
