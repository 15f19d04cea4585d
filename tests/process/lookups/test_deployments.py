"""An address that is given to a server of another deployment, as pods' addresses are: nobody takes its rows for those meant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import pytest

from persia import _core
from persia.config import load_embedding_config, parse_global_config
from persia.embedding_server.options import ShardOptions
from persia.embedding_server.service import EmbeddingService
from persia.embedding_server.shard import ShardServer
from persia.errors import Unavailable
from persia.middleware.metrics import SECONDS
from persia.middleware.service import MiddlewareService
from persia.routing.forwarded import MiddlewareClient
from persia.routing.lookup import Lookup, RouterOptions, RowsKey
from persia.routing.router import Router
from persia.routing.shards import shard_services
from persia.rpc.prober import WatchTimes
from persia.serving.runner import Service
from persia.serving.server import Server
from tests.support.persia_packets import CONFIG, MIX
from tests.support.replicas import golden_batch
from tests.support.servers import PATIENCE, free_port, wait_until

QUICKLY = WatchTimes(well=0.05, gone=0.05)
RED = RouterOptions(deployment="red", watch=QUICKLY, wait_for_shard=0.2)


@contextmanager
def served(service: Service, address: str = "127.0.0.1:0") -> Iterator[str]:
    server = Server([])
    service.add_to(server)
    at = server.listen(address)
    server.start()
    try:
        yield at
    finally:
        server.stop(0)


@contextmanager
def shard(deployment: str, address: str = "127.0.0.1:0", count: int = 1) -> Iterator[str]:
    """The first shard of a deployment, mostly the only one."""
    one = ShardServer(ShardOptions(0, count, MIX / "ckpt", deployment=deployment))
    one.load()
    try:
        with served(EmbeddingService(one), address) as at:
            yield at
    finally:
        one.stop()


@contextmanager
def router(address: str, options: RouterOptions) -> Iterator[Router]:
    one = Router(load_embedding_config(CONFIG), [[address]], options)
    try:
        yield one
    finally:
        one.close()


def has_answered(client: MiddlewareClient) -> bool:
    return client.service.replicas[0].health.state != "not reached yet"


def looked_up(one: Router) -> Lookup:
    wait_until(lambda: not one.why_not_ready(), "the router is ready")
    return one.lookup(golden_batch(), PATIENCE)


def test_a_server_of_another_deployment_at_the_same_address_is_not_asked() -> None:
    address = f"127.0.0.1:{free_port()}"
    with ExitStack() as red:
        red.enter_context(shard("red", address))
        with router(address, RED) as one:
            looked_up(one)
            red.close()
            with shard("blue", address):
                wait_until(lambda: "got one of 'blue'" in one.why_not_ready(), "it is seen to be another one")
                with pytest.raises(Unavailable, match="expected a server of the deployment 'red', got one of 'blue'"):
                    one.lookup(golden_batch(), PATIENCE)
            with shard("red", address):
                looked_up(one)


@pytest.mark.parametrize(("asker", "server"), [("red", ""), ("", "red"), ("red", "red")])
def test_without_two_names_there_is_nothing_to_compare(asker: str, server: str) -> None:
    with shard(server) as address, router(address, RouterOptions(deployment=asker)) as one:
        looked_up(one)


def test_a_middleware_of_another_deployment_is_not_asked() -> None:
    config = load_embedding_config(CONFIG)
    with shard("") as address, router(address, RouterOptions(deployment="blue", watch=QUICKLY)) as one:
        service = MiddlewareService(one, _core.net.ForwardCounts(SECONDS), config)
        with served(service) as middleware:
            said = {}
            for deployment in ("red", "blue"):
                client = MiddlewareClient([middleware], RouterOptions(deployment=deployment, watch=QUICKLY))
                try:
                    wait_until(partial(has_answered, client), "it has answered")
                    said[deployment] = client.why_not_ready()
                finally:
                    client.close()
        assert said["blue"] == "" and "expected a server of the deployment 'red', got one of 'blue'" in said["red"]


class Watched:
    """Notes what servers say of the epochs that may be read for somebody."""

    def __init__(self) -> None:
        self.noted = 0

    def watched(self) -> list[RowsKey]:
        return [(1, 2, 0)]

    def note_readable(self, rows_for: RowsKey, first: int, last: int) -> None:
        self.noted += 1

    def note_variants(self, names: Iterable[str]) -> None: ...


@pytest.mark.parametrize(("count", "believed"), [(1, True), (2, False)])
def test_what_a_server_of_another_shard_says_of_epochs_is_not_believed(count: int, believed: bool) -> None:
    watch = Watched()
    with shard("", count=count) as address:
        (service,) = shard_services([[address]], RouterOptions(watch=QUICKLY), readable=watch)
        try:
            wait_until(lambda: service.replicas[0].health.ready, "it has answered")
        finally:
            service.close()
    assert (watch.noted > 0) == believed


def test_the_name_is_one_of_the_global_config() -> None:
    assert parse_global_config("common_config: {deployment: red}").common_config.deployment == "red"
    assert parse_global_config("security: {}").common_config.deployment == ""
