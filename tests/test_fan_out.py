"""Asking several servers at once: what ends the wait for those that hang."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from persia_packets import CONFIG
from replicas import Replicas, assert_golden, golden_batch, router_of, stopped
from servers import PATIENCE

from persia import _core
from persia.config import load_embedding_config
from persia.config.global_config import EmbeddingWorkerConfig
from persia.errors import InvalidInput, Unavailable
from persia.routing import make_slots
from persia.routing.lookup import RouterOptions
from persia.routing.shards import lookup_messages, of_size
from persia.rpc.connection import FrameConnection
from persia.rpc.fan_out import Patience, Question, ask_all


def test_a_lookup_that_has_failed_does_not_wait_for_a_shard_that_hangs(tmp_path: Path) -> None:
    with Replicas(tmp_path) as servers, router_of(servers.addresses, wait_for_shard=0.1) as router:
        assert_golden(router.lookup(golden_batch()))
        (hangs,), (dies,) = servers.shards
        dies.kill()
        with stopped(hangs), pytest.raises(Unavailable, match="shard 1 of 2"):  # and not after a minute that shard 0 is late
            router.lookup(golden_batch(), PATIENCE)


def test_a_refusal_is_known_while_another_shard_hangs(tmp_path: Path) -> None:
    """Also where nobody would look again before the end."""
    with Replicas(tmp_path) as servers, router_of(servers.addresses) as router:
        assert_golden(router.lookup(golden_batch()))
        plan = _core.make_plan(golden_batch(), make_slots(load_embedding_config(CONFIG)), 2)
        sizes = [of_size(request.answer_size, request.part_count) for request in plan.requests]
        late = Question(router.shards[0], lookup_messages(2)[0], plan.requests[0], sizes[0])
        wrong = Question(router.shards[1], lookup_messages(2)[1], [b"x", b"", b"", b""], sizes[1])
        with stopped(servers.shards[0][0]):
            ask_all([late, wrong], time.monotonic() + 2 * PATIENCE, Patience(2 * PATIENCE, 1.0))
        assert isinstance(wrong.error, InvalidInput) and not late.done


def test_how_long_a_lookup_stays_awake_is_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exchange, awake = _core.net.exchange, set()

    def recorded(calls: list[_core.net.FrameCall], descriptors: list[int], seconds: float, at_most: float) -> None:
        awake.add(at_most)
        exchange(calls, descriptors, seconds, at_most)

    monkeypatch.setattr(_core.net, "exchange", recorded)
    with Replicas(tmp_path) as servers:
        for microseconds in (0, 250):
            configured = RouterOptions.of(EmbeddingWorkerConfig(stay_awake_us=microseconds)).stay_awake
            with router_of(servers.addresses, stay_awake=configured) as router:
                assert_golden(router.lookup(golden_batch()))
    assert awake == {0.0, 250e-6}


def test_one_connection_carries_messages_that_differ(tmp_path: Path) -> None:
    """Each request and each answer is the one of its turn, whether or not it is like the one before."""
    with Replicas(tmp_path) as servers, router_of(servers.addresses) as router:
        assert_golden(router.lookup(golden_batch()))
        plan = _core.make_plan(golden_batch(), make_slots(load_embedding_config(CONFIG)), 2)
        here, elsewhere = lookup_messages(2)
        _, connection = router.shards[0].replicas[0].connect()
        assert isinstance(connection, FrameConnection)
        got = []
        for message in (here, here, elsewhere, elsewhere, here):
            connection.ask(message, plan.requests[0], PATIENCE)
            while (answer := connection.answer()) is None:
                _core.net.exchange([connection.waits_on], [], PATIENCE)
            got.append((answer.message.HasField("error"), answer.columns[0].nbytes))
        connection.close()
    rows, refused = (False, 4 * plan.requests[0].answer_size), (True, 0)
    assert got == [rows, rows, refused, refused, rows]
