"""Requests that wait go to a worker together if its handler says so, one that is wrong fails alone, and scores have a form."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from persia.torchserve.schema import new_message, open_channel, predictions_call
from tests.support.golden import arrays_of
from tests.support.middlewares import Deployment
from tests.support.model_servers import HANDLERS, ModelServerRun, ask, make_mar
from tests.support.servers import PATIENCE, wait_until
from tests.support.torchserves import MIX, PERSIA_HANDLER, assert_close, make_archive

BATCH = (MIX / "golden" / "batch16_0.bin").read_bytes()
SCORES = arrays_of(MIX / "golden" / "batch16_0.npz")["out"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, deployment: Deployment) -> Iterator[ModelServerRun]:
    directory = tmp_path_factory.mktemp("together")
    store = directory / "store"
    persia = {"addresses": deployment.addresses, "embedding_config": str(deployment.embedding_config)}
    models = [
        make_mar(store, "several", handler=HANDLERS / "takes_several.py", config="minWorkers: 1\nmaxWorkers: 1\n"),
        make_archive(store, "ctr", handler=PERSIA_HANDLER, persia=persia),
    ]
    with ModelServerRun(directory, store, "--models", *models) as run:
        run.wait_ready()
        yield run


def together(server: ModelServerRun, gate: Path, *calls: Callable[[], Any]) -> list[Future[Any]]:
    """Lets calls wait for the only worker until all of them are there."""
    os.mkfifo(gate)
    with ThreadPoolExecutor(len(calls) + 1) as pool:
        first = pool.submit(server.predict, "several", do=f"open {gate}")
        wait_until(lambda: 'persia_model_workers_busy{model="several",version="1.0"} 1' in server.metrics(), "the worker works")
        waiting = [pool.submit(call) for call in calls]
        queued = f'persia_model_queued{{model="several",version="1.0"}} {len(calls)}'
        wait_until(lambda: queued in server.metrics(), "the others wait")
        gate.write_text("opened")
        assert first.result() == "opened"
    return waiting


def test_requests_that_wait_come_together(server: ModelServerRun, tmp_path: Path) -> None:
    assert server.predict("several", do="count") == "1"
    over_rest = server.inference("predictions/several")
    answers = together(
        server,
        tmp_path / "gate",
        *[lambda: server.predict("several", do="count")] * 3,
        *[lambda: ask(over_rest, b"count").body.decode()] * 3,
    )
    assert sorted(answer.result() for answer in answers) == ["2", "2", "4", "4", "4", "4"]


def test_one_that_is_wrong_fails_alone_over_both_protocols(server: ModelServerRun, tmp_path: Path) -> None:
    over_rest = server.inference("predictions/several")
    over_grpc, body, right = together(
        server,
        tmp_path / "gate",
        lambda: server.failure("several", do="wrong no such feature"),
        lambda: ask(over_rest, b"wrong no such feature"),
        lambda: server.predict("several", do="count"),
    )
    assert over_grpc.result() == (grpc.StatusCode.INVALID_ARGUMENT, "no such feature")
    refused = body.result()
    assert (refused.status, refused.json["message"]) == (400, "no such feature")
    assert right.result() == "3"
    alone = ask(over_rest, b"wrong no such feature")
    assert (alone.status, alone.body) == (refused.status, refused.body)


def scores_of(answer: bytes, kind: str) -> Any:
    return np.frombuffer(answer, "<f4") if kind == "application/octet-stream" else np.load(io.BytesIO(answer))


@pytest.mark.parametrize("kind", ["application/x-npy", "application/octet-stream"])
def test_scores_come_in_the_form_that_a_caller_accepts(server: ModelServerRun, kind: str) -> None:
    answer = ask(server.inference("predictions/ctr"), BATCH, headers={"Accept": f"text/html, {kind};q=0.9, */*;q=0.1"})
    assert (answer.status, answer.headers["content-type"]) == (200, kind)
    assert_close(scores_of(answer.body, kind), SCORES)
    channel = open_channel(server.places["grpc_inference"])
    try:
        request = new_message("PredictionsRequest", model_name="ctr", input={"batch": BATCH})
        over_grpc = predictions_call(channel)(request, timeout=PATIENCE, metadata=[("accept", kind)])
        assert_close(scores_of(bytes(over_grpc.prediction), kind), SCORES)
        as_ever = bytes(predictions_call(channel)(request, timeout=PATIENCE).prediction)
    finally:
        channel.close()
    assert as_ever.startswith(b"[\n  ")
    assert ask(server.inference("predictions/ctr"), BATCH, headers={"Accept": "*/*"}).body == as_ever


@pytest.mark.parametrize(("said", "start"), [("application/json", b"["), ("text/html", b"["), ("application/x-npy;q=no", b"[")])
def test_another_wish_is_answered_with_json(server: ModelServerRun, said: str, start: bytes) -> None:
    assert ask(server.inference("predictions/ctr"), BATCH, headers={"Accept": said}).body.startswith(start)
