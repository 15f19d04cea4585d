"""Clients that a middleware directs to its embedding servers: they save the hop where they can, and else nothing changes."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from persia.ctx import InferCtx
from persia.errors import DeadlineExceeded, PersiaError
from persia.routing import bypass
from persia.routing.bypass import BypassRouter
from persia.routing.lookup import RouterOptions
from persia.v1 import middleware_pb2 as pb
from tests.support.load import Load
from tests.support.middlewares import Middleware
from tests.support.names import OFTEN, Names
from tests.support.persia_packets import CONFIG, MIX
from tests.support.proxies import Forwarder
from tests.support.replicas import GOLDEN_BATCH, Replicas, assert_golden
from tests.support.servers import PATIENCE, EmbeddingServer, free_port, wait_until

pytestmark = pytest.mark.whole_way

# A name that the middleware finds its shards by, and the client what a test wants.
NAME = "localhost"
BATCH = GOLDEN_BATCH.read_bytes()
WITH_METRICS = ("--metrics-port", "0")
SHORT = RouterOptions(watch=OFTEN, bypass_rest=0.05)


@pytest.fixture(scope="module")
def double(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    with Replicas(tmp_path_factory.mktemp("double"), each=2) as servers:
        yield servers


def look(context: InferCtx, timeout: float | None = None) -> None:
    assert_golden(context.get_embedding_from_bytes(BATCH, timeout=timeout).lookup)


def skips(middleware: Middleware, context: InferCtx) -> bool:
    before = middleware.lookups()
    for _ in range(5):
        look(context)
    return middleware.lookups() == before


def named(address: str) -> str:
    return f"{NAME}:{address.rpartition(':')[2]}"


def test_lookups_go_on_without_the_middleware(double: Replicas, tmp_path: Path) -> None:
    with (
        Middleware(tmp_path, CONFIG, double.addresses, arguments=WITH_METRICS).wait_ready() as middleware,
        InferCtx([middleware.address], options=SHORT) as context,
    ):
        wait_until(lambda: skips(middleware, context), "the shards are asked")
        middleware.kill()
        for _ in range(20):
            look(context)


def test_shards_out_of_reach_are_left_to_the_middleware(
    double: Replicas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = Names(monkeypatch, NAME)
    servers = [[named(address) for address in replicas] for replicas in double.addresses]
    with (
        Middleware(tmp_path, CONFIG, servers, arguments=WITH_METRICS).wait_ready() as middleware,
        InferCtx([middleware.address], options=SHORT) as context,
    ):
        for count in range(1, 50):
            look(context)
            assert middleware.lookups() == count
        names.addresses = ["127.0.0.1"]
        wait_until(lambda: skips(middleware, context), "the shards are asked once they are reached")


def test_another_server_at_the_same_address_is_never_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    names, port = Names(monkeypatch, NAME), str(free_port())
    names.addresses = ["127.0.0.2"]
    arguments = ("--port", port)
    with (
        EmbeddingServer(tmp_path, CONFIG, checkpoint=MIX / "ckpt", arguments=arguments),
        EmbeddingServer(
            tmp_path / "other", CONFIG, checkpoint=MIX / "ckpt_mid", arguments=("--host", "127.0.0.2", *arguments)
        ).wait_ready(),
        Middleware(tmp_path, CONFIG, [f"{NAME}:{port}"], arguments=WITH_METRICS).wait_ready() as middleware,
        InferCtx([middleware.address], options=SHORT) as context,
    ):
        for _ in range(50):
            look(context)
        assert not skips(middleware, context)
        names.addresses = ["127.0.0.2", "127.0.0.1"]
        wait_until(lambda: skips(middleware, context), "the right one is found")
        for _ in range(50):
            look(context)


def test_replicas_may_be_killed_one_after_the_other(tmp_path: Path) -> None:
    with (
        Replicas(tmp_path, each=2) as servers,
        Middleware(tmp_path, CONFIG, servers.addresses, arguments=WITH_METRICS).wait_ready() as middleware,
        InferCtx([middleware.address], options=SHORT) as context,
    ):
        wait_until(lambda: skips(middleware, context), "the shards are asked")
        with Load(lambda: look(context)) as load:
            for one in servers.shards[0] * 2:
                one.kill()
                load.wait_for_more()
                one.start()
                one.wait_ready()
                wait_until(
                    lambda: all(known.ready for shard in middleware.status().shards for known in shard.replicas),
                    "the middleware uses it",
                )
                load.wait_for_more()
        assert load.failures == []
        wait_until(lambda: skips(middleware, context), "the new ones are asked")


def test_a_middleware_may_come_back_with_other_servers(double: Replicas, tmp_path: Path) -> None:
    with (
        Replicas(tmp_path / "one", count=1) as single,
        Middleware(
            tmp_path, CONFIG, double.addresses, arguments=(*WITH_METRICS, "--port", str(free_port()))
        ).wait_ready() as middleware,
        InferCtx([middleware.address], options=SHORT) as context,
    ):
        wait_until(lambda: skips(middleware, context), "the shards are asked")
        with Load(lambda: len(context.get_embedding_from_bytes(BATCH).lookup.versions)) as load:
            middleware.kill()
            config = yaml.safe_load(middleware.global_config.read_text())
            config["common_config"]["infer_config"]["servers"] = single.addresses
            middleware.global_config.write_text(yaml.safe_dump(config))
            middleware.start()
            wait_until(lambda: load.answers[-1:] == [1], "the new servers are asked")
            load.wait_for_more()
        assert load.failures == []
        wait_until(lambda: skips(middleware, context), "without the middleware")


def test_a_middleware_may_come_back_and_want_to_be_asked_itself(double: Replicas, tmp_path: Path) -> None:
    arguments = (*WITH_METRICS, "--port", str(free_port()))
    with (
        Middleware(tmp_path, CONFIG, double.addresses, arguments=arguments).wait_ready() as middleware,
        InferCtx([middleware.address], options=replace(SHORT, wait_for_shard=0.001)) as context,
    ):
        context.wait_for_serving()
        wait_until(lambda: skips(middleware, context), "the shards are asked")
        with Load(lambda: look(context)) as load:
            middleware.kill()
            load.wait_for_more()
            config = yaml.safe_load(middleware.global_config.read_text())
            config["embedding_worker_config"]["clients_ask_shards"] = False
            middleware.global_config.write_text(yaml.safe_dump(config))
            middleware.start()
            middleware.wait_ready()
            wait_until(lambda: middleware.lookups() > 100 or load.failures, "it is asked")
        assert load.failures == []


def test_what_hangs_on_the_way_is_left_to_the_middleware(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = replace(SHORT, watch=replace(OFTEN, answer=0.2))
    names, port = Names(monkeypatch, NAME), free_port()
    names.addresses = ["127.0.0.2"]
    with (
        EmbeddingServer(tmp_path, CONFIG, checkpoint=MIX / "ckpt", arguments=("--port", str(port))),
        Forwarder(f"127.0.0.1:{port}", port=port) as way,
        Middleware(tmp_path, CONFIG, [f"{NAME}:{port}"], arguments=WITH_METRICS).wait_ready() as middleware,
        InferCtx([middleware.address], options=options) as context,
    ):
        wait_until(lambda: skips(middleware, context), "the shard is asked")
        way.flows.clear()
        try:
            for _ in range(30):  # the connections themselves are given up much later
                with contextlib.suppress(DeadlineExceeded):
                    look(context, timeout=0.3)
                    break
            else:
                pytest.fail("the middleware is not asked")
            before = middleware.lookups()
            for _ in range(20):
                look(context)
            assert middleware.lookups() == before + 20
        finally:
            way.flows.set()


@pytest.mark.parametrize("settings", [{"missing_shard": "zeros"}, {"clients_ask_shards": False}], ids=str)
def test_no_directions_where_only_the_middleware_does_what_is_configured(
    double: Replicas, tmp_path: Path, settings: dict[str, Any]
) -> None:
    with Middleware(tmp_path, CONFIG, double.addresses, settings=settings).wait_ready() as middleware:
        assert middleware.stub.Directions(pb.DirectionsRequest()) == pb.DirectionsResponse()


def test_closed_under_load_it_ends_with_typed_errors_and_leaves_no_thread(double: Replicas, tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with Middleware(tmp_path, CONFIG, double.addresses).wait_ready() as middleware:
        for _ in range(5):
            with InferCtx([middleware.address], options=SHORT) as context, Load(lambda: look(context), threads=8) as load:
                load.wait_for_more()
                context.close()
                wait_until(lambda: len(load.failures) > 20, "lookups fail")
            assert all(isinstance(error, PersiaError) for error in load.failures), load.failures
    wait_until(lambda: set(threading.enumerate()) <= before, "its threads end")


def test_the_thread_that_follows_directions_may_close_it(
    double: Replicas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the garbage collector does with a context that nobody has any more, in whichever thread it runs."""
    before = set(threading.enumerate())
    closed = threading.Event()

    class ClosingBypass(bypass._Bypass):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            way.close()
            closed.set()

    monkeypatch.setattr(bypass, "_Bypass", ClosingBypass)
    with Middleware(tmp_path, CONFIG, double.addresses).wait_ready() as middleware:
        way = BypassRouter([middleware.address], RouterOptions())
        way.why_not_ready()  # connects
        assert closed.wait(PATIENCE)
        wait_until(lambda: set(threading.enumerate()) <= before, "its threads end")
