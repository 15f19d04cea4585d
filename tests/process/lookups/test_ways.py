"""Which way lookups go: through what stands before a server, and to the addresses that a name stands for at the time."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from persia.config import load_embedding_config
from persia.errors import Unavailable
from persia.routing.lookup import RouterOptions
from persia.routing.router import Router
from tests.support.names import OFTEN, Names
from tests.support.persia_packets import CONFIG, MIX
from tests.support.proxies import Forwarder
from tests.support.replicas import Replicas, assert_golden, golden_batch, load_of, router_of
from tests.support.servers import EmbeddingServer, free_port, wait_until

NAME = "shards.test"


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    with Replicas(tmp_path_factory.mktemp("single")) as servers:
        yield servers


def test_all_shards_behind_proxies_under_load(single: Replicas) -> None:
    with contextlib.ExitStack() as stack:
        firewalls = [stack.enter_context(Forwarder(address)) for (address,) in single.addresses]
        router = stack.enter_context(router_of([[firewall.address] for firewall in firewalls]))
        load = stack.enter_context(load_of(router, threads=8))
        for _ in range(20):
            load.wait_for_more()
    assert load.failures == []


def test_a_server_that_goes_behind_a_proxy_is_noticed_too(tmp_path: Path, single: Replicas) -> None:
    with Replicas(tmp_path) as servers:
        shard = servers.shards[0][0]
        with Forwarder(shard.address) as firewall:
            addresses = [[firewall.address], servers.addresses[1]]
            with router_of(addresses, wait_for_shard=0.1) as router:
                assert_golden(router.lookup(golden_batch()))
                shard.kill()
                for _ in range(3):
                    with pytest.raises(Unavailable, match=f"shard 0 of 2, got none: {firewall.address}"):
                        router.lookup(golden_batch(), 2)
                shard.start()
                wait_until(lambda: not router.why_not_ready(), "the shard is back")
                assert_golden(router.lookup(golden_batch()))


def known_to(router: Router) -> set[str]:
    return {known.address for known in router.shards[0].replicas if known.usable}


def test_a_name_stands_for_several_servers_that_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    names, port = Names(monkeypatch, NAME), free_port()

    def start(host: str) -> EmbeddingServer:
        arguments = ("--host", host, "--port", str(port))
        return EmbeddingServer(tmp_path / host, CONFIG, checkpoint=MIX / "ckpt", arguments=arguments)

    router = Router(load_embedding_config(CONFIG), [[f"{NAME}:{port}"]], RouterOptions(wait_for_shard=60, watch=OFTEN))
    try:
        with start("127.0.0.1") as first, start("127.0.0.2") as second:
            wait_until(lambda: "no such name" in router.why_not_ready(), "it says what is wrong with the name")
            names.addresses = ["127.0.0.1", "127.0.0.2"]
            both = {f"127.0.0.1:{port}", f"127.0.0.2:{port}"}
            wait_until(lambda: known_to(router) == both, "both are found")
            with load_of(router) as load:
                load.wait_for_more()
                names.addresses = ["127.0.0.2"]
                wait_until(lambda: known_to(router) == {f"127.0.0.2:{port}"}, "the first one is forgotten")
                first.kill()
                load.wait_for_more()
                names.addresses = []  # the name server is down
                wait_until(lambda: "no such name" in router.shards[0].why_unusable(), "it has been asked")
                load.wait_for_more()
                names.addresses = ["127.0.0.1", "127.0.0.2"]
                first.start()
                wait_until(lambda: known_to(router) == both, "both are found again")
                second.kill()
                load.wait_for_more()
            assert load.failures == []
            assert "no longer stands for 127.0.0.1" in caplog.text
    finally:
        router.close()


def test_a_name_that_cannot_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    router = Router(load_embedding_config(CONFIG), [["x" * 64 + ".test:1"]], RouterOptions(wait_for_shard=60))
    try:
        wait_until(lambda: "label" in router.why_not_ready(), "it says what is wrong with the name")
        with pytest.raises(Unavailable, match="label"):
            router.lookup(golden_batch(), 0.1)
    finally:
        router.close()
