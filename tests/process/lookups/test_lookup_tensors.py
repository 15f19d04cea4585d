"""Tensors that are made while servers still work on their numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from persia.ctx import InferCtx
from persia.errors import DeadlineExceeded
from persia.tensors import LookupTensors
from tests.support.golden import arrays_of
from tests.support.replicas import GOLDEN_BATCH, Replicas, assert_golden, golden_batch, router_of, stopped
from tests.support.servers import PATIENCE


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    with Replicas(tmp_path_factory.mktemp("shards")) as started:
        yield started


def test_the_room_comes_before_the_answers_and_is_the_lookups(servers: Replicas) -> None:
    rooms: list[tuple[Any, Any]] = []
    with router_of(servers.addresses) as router:
        with stopped(*servers.all), pytest.raises(DeadlineExceeded):
            router.lookup(golden_batch(), 0.2, lambda *room: rooms.append(room))
        assert len(rooms) == 1
        lookup = router.lookup(golden_batch(), PATIENCE, lambda *room: rooms.append(room))
        assert_golden(lookup)
    numbers, shapes = rooms[1]
    assert numbers is lookup.numbers and shapes is lookup.shapes


def test_an_error_while_servers_work_ends_the_lookup_and_nothing_else(servers: Replicas) -> None:
    def fail(numbers: npt.NDArray[Any], shapes: npt.NDArray[Any]) -> None:
        raise MemoryError("no room")

    with router_of(servers.addresses) as router:
        for _ in range(3):
            with pytest.raises(MemoryError, match="no room"):
                router.lookup(golden_batch(), PATIENCE, fail)
            assert_golden(router.lookup(golden_batch()))  # and not the answers of the one before


def test_the_tensors_of_a_context_are_the_memory_of_its_lookup(servers: Replicas) -> None:
    want = arrays_of(GOLDEN_BATCH.with_suffix(".npz"))
    addresses = [address for (address,) in servers.addresses]
    with InferCtx(addresses, embedding_config=GOLDEN_BATCH.parents[1] / "embedding_config.yml") as context:
        context.wait_for_serving(PATIENCE)
        result = context.get_embedding_from_bytes(GOLDEN_BATCH.read_bytes())
    assert result.features.embeddings[0].data_ptr() == result.lookup.numbers.ctypes.data
    for i, tensor in enumerate(result.features.embeddings):
        np.testing.assert_allclose(tensor.float(), want[f"emb{i}"].astype(np.float32), rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize("begun", [False, True], ids=["nothing was begun", "another try was"])
def test_tensors_of_a_try_that_was_given_up_are_not_used(servers: Replicas, begun: bool) -> None:
    tensors = LookupTensors(torch.device("cpu"))
    with router_of(servers.addresses) as router:
        if begun:
            router.lookup(golden_batch(), PATIENCE, tensors.begin)
        lookup = router.lookup(golden_batch())
    first, *rest = tensors.of(lookup)
    assert first.data_ptr() == lookup.numbers.ctypes.data and len(rest) + 1 == len(lookup.tensors)
