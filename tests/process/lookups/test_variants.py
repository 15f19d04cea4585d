"""Lookups of variants through real servers, a router and a middleware, while packets come to the shared rows and to theirs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import pytest

from persia import _core
from persia.ctx import InferCtx
from persia.errors import InvalidInput, NotFound
from persia.routing.forwarded import MiddlewareClient
from persia.writers import VariantCommitter
from tests.support.epoch_deployments import PATIENT, EpochDeployment, routers_of
from tests.support.epoch_rows import BATCH, IDS
from tests.support.histories import Judge, Recorder, numbers_of
from tests.support.middlewares import Middleware

SOME = np.arange(40)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EpochDeployment]:
    with ExitStack() as stack:
        yield EpochDeployment(tmp_path_factory.mktemp("variants"), stack, replicas=(1, 1))


@pytest.fixture(scope="module")
def middleware(deployment: EpochDeployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MiddlewareClient]:
    with Middleware(tmp_path_factory.mktemp("middleware"), deployment.config, deployment.addresses) as running:
        running.wait_ready()
        client = MiddlewareClient([running.address], PATIENT)
        yield client
        client.close()


def commit(deployment: EpochDeployment, name: str, places: np.ndarray = SOME) -> int:
    """A packet of a variant; returns its epoch, which all servers have."""
    directory = deployment.trainer.of_variant(name).leave(places)
    epoch = VariantCommitter(deployment.packets, name).commit([directory])
    deployment.wait_for_epoch(epoch)
    return epoch


def test_both_ways_give_the_rows_of_a_variant_and_say_which(deployment: EpochDeployment, middleware: MiddlewareClient) -> None:
    oracle, batch = deployment.oracle(), _core.decode_batch(BATCH)
    with routers_of(deployment, 1) as (router,):
        epoch = commit(deployment, "b")
        for lookups in (router, middleware):
            for variant in ("b", ""):
                lookup = lookups.lookup(batch, 30.0, None, epoch, variant)
                assert (lookup.epoch, lookup.variant) == (epoch, variant)
                assert numbers_of(lookup) == oracle.answer(epoch, variant)
            with pytest.raises(
                NotFound, match=r"variant 'c': .*shard . of 2 .* expected a variant of the newest epoch \(b\), got another one"
            ):
                lookups.lookup(batch, 30.0, None, 0, "c")
            with pytest.raises(InvalidInput, match="expected the name of a variant"):
                lookups.lookup(batch, 30.0, None, 0, "../b")
        assert oracle.answer(epoch, "b") != oracle.answer(epoch)


def test_a_context_asks_for_a_variant(deployment: EpochDeployment) -> None:
    epoch = commit(deployment, "b")
    addresses = deployment.addresses
    with InferCtx(addresses, embedding_config=deployment.config) as context:
        found = context.get_embedding_from_bytes(BATCH, min_epoch=epoch, variant="b")
        assert found.lookup.variant == "b" and numbers_of(found.lookup) == deployment.oracle().answer(epoch, "b")


def test_each_answer_is_of_its_epoch_and_variant_while_packets_come(
    deployment: EpochDeployment, middleware: MiddlewareClient
) -> None:
    commit(deployment, "b")
    commit(deployment, "c", np.arange(100, IDS))
    with routers_of(deployment, 1) as (router,):
        recorder = Recorder([router, middleware])
        recorder.ask_for("", "b", "c")
        try:
            for number in range(8):
                deployment.trainer.leave()
                epoch = commit(deployment, "bc"[number % 2], np.random.default_rng(number).choice(IDS, 30, replace=False))
                if number == 4:
                    deployment.run("revert", "--to", str(epoch - 2))
                recorder.wait_for_epoch(epoch)
        finally:
            recorder.stop()
    assert recorder.failures == []
    judge = Judge(deployment.oracle())
    judge.take(answers := recorder.take())
    verdict = judge.verdict
    assert not verdict.wrong and {answer.variant for answer in answers} == {"", "b", "c"}, [str(verdict), *verdict.examples]


def test_the_status_tells_of_variants(deployment: EpochDeployment) -> None:
    commit(deployment, "b", np.arange(IDS))
    own = [next(one for one in server.status().variants if one.name == "b") for server in deployment.servers]
    assert sum(one.rows for one in own) >= IDS and all(one.bytes > 0 for one in own)


def test_lookups_are_counted_by_variant(deployment: EpochDeployment, middleware: MiddlewareClient) -> None:
    epoch, batch = commit(deployment, "counted"), _core.decode_batch(BATCH)
    with routers_of(deployment, 1) as (router,):
        for lookups in (router, middleware, middleware):
            lookups.lookup(batch, 30.0, None, epoch, "counted")
        before = [server.status().unknown_variant_lookups for server in deployment.servers]
        with pytest.raises(NotFound):
            router.lookup(batch, 30.0, None, 0, "misspelt")
    for server, unknown in zip(deployment.servers, before, strict=True):
        status = server.status()
        assert {one.name: one.lookups for one in status.variants}["counted"] == 3
        assert status.unknown_variant_lookups in (unknown, unknown + 1)  # one refusal is enough for a lookup
    assert sum(server.status().unknown_variant_lookups for server in deployment.servers) > sum(before)


def test_a_variant_that_ends_is_not_found(deployment: EpochDeployment) -> None:
    batch = _core.decode_batch(BATCH)
    with routers_of(deployment, 1) as (router,):
        began = commit(deployment, "d")
        assert router.lookup(batch, 30.0, None, began, "d").epoch >= began
        assert "ends variant d" in deployment.run("variant", "d", "--end")
        deployment.wait_for_epoch(deployment.newest())
        with pytest.raises(NotFound, match="variant 'd'"):
            router.lookup(batch, 30.0, None, 0, "d")
