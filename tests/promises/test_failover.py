"""Servers that die, hang, leave and come back as others: what lookups give meanwhile, and that they recover by themselves."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from persia.config import load_embedding_config
from persia.ctx import InferCtx
from persia.errors import DeadlineExceeded, PersiaError, Unavailable
from persia.routing.lookup import Lookup, RouterOptions
from persia.routing.router import Router
from tests.support.golden import arrays_of
from tests.support.middlewares import Middleware
from tests.support.persia_packets import CONFIG, MIX
from tests.support.replicas import GOLDEN_BATCH, Replicas, assert_golden, golden_batch, load_of, router_of, stopped
from tests.support.servers import PATIENCE, EmbeddingServer, free_port, wait_until

pytestmark = pytest.mark.whole_way


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    with Replicas(tmp_path_factory.mktemp("single")) as servers:
        yield servers


@pytest.fixture(scope="module")
def double(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    with Replicas(tmp_path_factory.mktemp("double"), each=2) as servers:
        yield servers


def answer_or_error(router: Router) -> PersiaError | None:
    """None for an answer, which must be right. How late the error is benchmarks/bench_failover.py measures."""
    try:
        lookup = router.lookup(golden_batch(), 0.5)
    except PersiaError as error:
        return error
    assert_golden(lookup)
    return None


def recovers(router: Router) -> None:
    wait_until(lambda: answer_or_error(router) is None, "lookups are answered again")
    for _ in range(20):
        assert answer_or_error(router) is None


def test_a_killed_shard_is_named_until_it_is_back(single: Replicas) -> None:
    shard = single.shards[1][0]
    address = shard.address
    with router_of(single.addresses, wait_for_shard=0.1) as router:
        assert answer_or_error(router) is None
        for _ in range(2):
            shard.kill()
            for _ in range(5):
                error = answer_or_error(router)
                assert isinstance(error, Unavailable)
                assert f"shard 1 of 2, got none: {address}" in str(error)
            shard.start()
            recovers(router)


def test_a_lookup_waits_for_a_shard_that_restarts(single: Replicas) -> None:
    with router_of(single.addresses, wait_for_shard=60) as router:
        assert_golden(router.lookup(golden_batch()))
        single.shards[0][0].kill()
        single.shards[0][0].start()
        assert_golden(router.lookup(golden_batch(), 60))


def test_a_dead_replica_costs_no_request(double: Replicas) -> None:
    with router_of(double.addresses) as router, load_of(router) as load:
        for k in (0, 1, 0, 1):
            for replicas in double.shards:
                replicas[k].kill()
            load.wait_for_more()
            for replicas in double.shards:
                replicas[k].start()
                replicas[k].wait_ready()
            wait_until(lambda: all(r.usable for shard in router.shards for r in shard.replicas), "the router knows it")
            load.wait_for_more()
    assert load.failures == []


def test_a_replica_that_leaves_costs_no_request(double: Replicas) -> None:
    with router_of(double.addresses) as router, load_of(router) as load:
        for k in (0, 1):
            leaving = [replicas[k] for replicas in double.shards]
            load.wait_for_more()
            for server in leaving:
                server.process.send_signal(signal.SIGTERM)
            for server in leaving:
                assert server.process.wait(60) == 0
                assert "Traceback" not in server.log()
            load.wait_for_more()
            for server in leaving:
                server.kill()
                server.start()
                server.wait_ready()
            wait_until(lambda: all(r.usable for shard in router.shards for r in shard.replicas), "the router knows it")
    assert load.failures == []


def test_a_replica_that_hangs_is_hedged(double: Replicas) -> None:
    with router_of(double.addresses, hedge_after=0.05) as router, load_of(router) as load:
        for k in (0, 1):
            load.wait_for_more()
            with stopped(*[replicas[k] for replicas in double.shards]):
                load.wait_for_more()
                wait_until(lambda: any(r.standing for shard in router.shards for r in shard.replicas), "it is known as slow")
    assert load.failures == []


def test_where_every_replica_is_slow_few_lookups_are_asked_twice(double: Replicas) -> None:
    before = ids_asked(double)
    with router_of(double.addresses, hedge_after=PATIENCE) as router:
        assert_golden(router.lookup(golden_batch()))
    necessary, before = ids_asked(double) - before, ids_asked(double)
    with router_of(double.addresses, hedge_after=1e-6) as router, load_of(router) as load:
        load.wait_for_more(1000)
    asked = ids_asked(double) - before
    assert load.failures == []
    assert len(load.answers) * necessary <= asked < 1.2 * len(load.answers) * necessary


def ids_asked(servers: Replicas) -> int:
    return sum(feature.ids for server in servers.all for feature in server.status().features)


def test_a_replica_that_comes_back_hedges_one_that_hangs(double: Replicas) -> None:
    hanging, dead = double.shards[0]
    with router_of(double.addresses, hedge_after=0.05) as router:
        dead.kill()
        with stopped(hanging), load_of(router, threads=1) as load:
            wait_until(lambda: [r.usable for r in router.shards[0].replicas] == [True, False], "one of them is seen to be dead")
            dead.start()
            load.wait_for_more()
    assert load.failures == []


def test_the_only_replica_hangs(single: Replicas) -> None:
    with router_of(single.addresses) as router:
        with stopped(single.shards[0][0]):
            for _ in range(3):
                error = answer_or_error(router)
                assert isinstance(error, DeadlineExceeded)
                assert f"an answer of shard 0 of 2 in time, got none from {single.addresses[0][0]}" in str(error)
        # The requests that it was asked meanwhile are answered to nobody; another batch than before shows whose answer comes.
        other = MIX / "golden" / "batch16_1"
        wait_until(lambda: answer_or_error(router) is None, "lookups are answered again")
        for _ in range(20):
            assert answer_or_error(router) is None
            assert_tensors(router, other)


def assert_tensors(router: Router, path: Path) -> None:
    from persia import _core

    lookup = router.lookup(_core.decode_batch(path.with_suffix(".bin").read_bytes()))
    want = arrays_of(path.with_suffix(".npz"))
    for i, tensor in enumerate(lookup.tensors):
        np.testing.assert_allclose(tensor.astype(np.float32), want[f"emb{i}"].astype(np.float32), rtol=2e-3, atol=1e-6)


def test_a_lookup_that_has_failed_does_not_wait_for_a_shard_that_hangs(single: Replicas) -> None:
    (hangs,), (dies,) = single.shards
    with router_of(single.addresses, wait_for_shard=0.1) as router:
        assert_golden(router.lookup(golden_batch()))
        dies.kill()
        with stopped(hangs), pytest.raises(Unavailable, match="shard 1 of 2"):  # and not after a minute that shard 0 is late
            router.lookup(golden_batch(), PATIENCE)
        dies.start()
        recovers(router)


@pytest.mark.parametrize("hangs", [False, True], ids=["dead", "hanging"])
def test_zeros_for_a_missing_shard_if_so_configured(single: Replicas, hangs: bool) -> None:
    shard = single.shards[1][0]
    with router_of(single.addresses, zeros_for_missing_shards=True, wait_for_shard=0.1) as router:
        full = router.lookup(golden_batch())
        assert_golden(full)
        if hangs:
            with stopped(shard):
                without = router.lookup(golden_batch(), 0.5)
        else:
            shard.kill()
            without = router.lookup(golden_batch(), 0.5)
            shard.start()
        assert without.missing_shards == [1] and without.versions[1] == 0
        assert_zeros_or_equal(without, full)
        wait_until(lambda: router.lookup(golden_batch(), 5).missing_shards == [], "the shard is back")
        assert_golden(router.lookup(golden_batch()))


def test_zeros_for_a_missing_shard_come_through_the_middleware(tmp_path: Path) -> None:
    with Replicas(tmp_path / "shards") as servers:
        batch = GOLDEN_BATCH.read_bytes()
        settings = {"missing_shard": "zeros", "wait_for_shard_ms": 100}
        with (
            Middleware(tmp_path, CONFIG, servers.addresses, settings=settings) as middleware,
            InferCtx([middleware.address]) as context,
        ):
            wait_until(lambda: middleware.status().state == "serving", "every shard is there")
            assert context.get_embedding_from_bytes(batch).lookup.missing_shards == []
            servers.shards[1][0].kill()
            wait_until(lambda: "serving without shard 1 of 2" in middleware.status().state, "its status says so")
            for _ in range(3):
                context.wait_for_serving(60)
                assert context.get_embedding_from_bytes(batch).lookup.missing_shards == [1]
            servers.shards[0][0].kill()
            wait_until(lambda: not middleware.status().ready, "it says that nothing is left to serve")
            assert re.match("waiting for shard 0 of 2 .* shard 1 of 2", middleware.status().state)


def assert_zeros_or_equal(without: Lookup, full: Lookup) -> None:
    """In the slots that neither sum nor scale."""
    rows = [(a[..., :-1], b[..., :-1]) for a, b in zip(without.tensors, full.tensors, strict=True) if a.ndim == 3]
    same = np.concatenate([(a == b).all(-1).ravel() for a, b in rows])
    zero = np.concatenate([(a == 0).all(-1).ravel() for a, _ in rows])
    assert (same | zero).all() and not same.all() and not zero.all()


def test_another_shard_than_configured_is_refused(single: Replicas) -> None:
    (first,), (second,) = single.addresses
    router = Router(load_embedding_config(CONFIG), [[second], [first]], RouterOptions(wait_for_shard=30))
    try:
        refused = re.escape(f"expected an answer of shard 0 of 2, got none: {second}: expected shard 0 of 2, got shard 1 of 2")
        wait_until(lambda: "expected shard 0 of 2, got shard 1 of 2" in router.why_not_ready(), "it is refused")
        with pytest.raises(Unavailable, match=refused):
            router.lookup(golden_batch(), 0.2)
    finally:
        router.close()


def test_another_number_of_shards_is_refused(single: Replicas) -> None:
    router = Router(load_embedding_config(CONFIG), single.addresses[:1], RouterOptions())
    try:
        wait_until(lambda: "expected shard 0 of 1, got shard 0 of 2" in router.why_not_ready(), "it is refused")
        with pytest.raises(Unavailable, match="expected shard 0 of 1, got shard 0 of 2"):
            router.lookup(golden_batch(), 0.2)
    finally:
        router.close()


def test_a_server_that_restarts_as_another_shard_gives_no_rows(tmp_path: Path) -> None:
    """Also where it listens at the same port, and no probe has seen it yet."""
    ports = [("--port", str(free_port())) for _ in range(2)]

    def start(index: int, k: int) -> EmbeddingServer:
        directory = tmp_path / f"{k}-{index}"
        return EmbeddingServer(directory, CONFIG, checkpoint=MIX / "ckpt", index=index, count=2, arguments=ports[k])

    with start(0, 0) as right, start(1, 1) as changes:
        for server in (right, changes):
            server.wait_ready()
        with router_of([[right.address], [changes.address]], wait_for_shard=0.1) as router:
            assert answer_or_error(router) is None
            changes.kill()
            with start(0, 1) as changed:
                changed.wait_ready()
                for _ in range(20):
                    assert isinstance(answer_or_error(router), Unavailable)
                wait_until(lambda: "expected shard 1 of 2, got shard 0 of 2" in str(answer_or_error(router)), "it says why")
            with start(1, 1) as changed:
                changed.wait_ready()
                recovers(router)
