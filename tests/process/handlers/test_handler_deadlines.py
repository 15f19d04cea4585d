"""Deadlines where a shard hangs, and requests that TorchServe puts together, of which some are late or wrong."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
import pytest

from persia.torchserve.schema import new_message, open_channel, predictions_call
from persia.torchserve.tokens import Tokens
from tests.support.golden import arrays_of
from tests.support.middlewares import Deployment
from tests.support.servers import PATIENCE, EmbeddingServer, wait_until
from tests.support.torchserves import MIX, PERSIA_HANDLER, TorchServeRun, assert_close, make_archive, scores_of_golden

pytestmark = pytest.mark.whole_way

BATCHES = [path for path in sorted((MIX / "golden").glob("*.npz")) if "out" in arrays_of(path)]
BATCH = (MIX / "golden" / "batch16_0.bin").read_bytes()
SCORES = scores_of_golden()
# Of `pairs`, which has a request wait so long for company. No caller here waits so long: whoever gets an answer got it together
# with another one.
COMPANY_SECONDS = 3 * PATIENCE


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EmbeddingServer, str]]:
    """An embedding server that tests may halt, and the address of the middleware before it."""
    with Deployment(tmp_path_factory.mktemp("deployment"), MIX, 1) as started:
        started.middleware.wait_ready()
        yield started.shards[0], started.middleware.address


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, shard: tuple[EmbeddingServer, str]) -> Iterator[TorchServeRun]:
    directory = tmp_path_factory.mktemp("served")
    store, addresses = directory / "store", [shard[1]]
    models = [
        make_archive(store, "short", handler=PERSIA_HANDLER, persia={"addresses": addresses, "timeout_ms": 500}),
        make_archive(
            store,
            "pairs",
            handler=PERSIA_HANDLER,
            persia={"addresses": addresses, "timeout_ms": 4000},
            batchSize=2,
            maxBatchDelay=round(COMPANY_SECONDS * 1000),
        ),
    ]
    with TorchServeRun(directory, store, ["--models", ",".join(models)]) as run:
        yield run.wait_ready()


@contextmanager
def halted(server: EmbeddingServer) -> Iterator[None]:
    """It hangs: its port is open, and nothing is answered."""
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.process.pid, signal.SIGCONT)


class Calls:
    """As a client makes them that knows only TorchServe, with whatever inputs."""

    def __init__(self, run: TorchServeRun) -> None:
        self.channel, self.pool = open_channel(run.address, grpc), ThreadPoolExecutor(2)
        self.call, self.metadata = predictions_call(self.channel), Tokens(file=run.token_file).metadata("inference")

    def answer(self, model: str, inputs: dict[str, bytes], timeout: float) -> bytes | grpc.RpcError:
        request = new_message("PredictionsRequest", model_name=model, input={"batch": BATCH, "format": b"raw", **inputs})
        try:
            return bytes(self.call(request, timeout=timeout, metadata=self.metadata).prediction)
        except grpc.RpcError as error:
            return error

    def together(self, *several: dict[str, bytes], meanwhile: Any = lambda: None) -> list[bytes | grpc.RpcError]:
        """Of `pairs`, at the same time."""
        futures = [self.pool.submit(self.answer, "pairs", inputs, PATIENCE) for inputs in several]
        meanwhile()
        return [future.result() for future in futures]


@pytest.fixture
def calls(served: TorchServeRun) -> Iterator[Calls]:
    calls = Calls(served)
    with calls.pool:
        yield calls
    calls.channel.close()


def unix_ms(seconds: float) -> bytes:
    return b"%d" % round((time.time() + seconds) * 1000)


def assert_given_up(answer: bytes | grpc.RpcError) -> None:
    """By the handler: the caller's own library would not know of whom it got nothing."""
    assert isinstance(answer, grpc.RpcError)
    assert answer.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "in time, got none from" in str(answer.details())


def test_a_shard_that_hangs_costs_no_more_than_the_archives_timeout(
    served: TorchServeRun, calls: Calls, shard: tuple[EmbeddingServer, str]
) -> None:
    before = served.workers()
    with halted(shard[0]):
        # Half of what timeout_ms is by itself.
        assert_given_up(calls.answer("short", {}, timeout=5))
        for answer in calls.together({}, {}):
            assert_given_up(answer)

    def scored() -> bool:
        scores = calls.answer("short", {}, timeout=5)
        if isinstance(scores, bytes):
            assert_close(np.frombuffer(scores, "<f4"), SCORES)
        return isinstance(scores, bytes)

    wait_until(scored, "scores come again")
    assert served.workers() == before


def test_requests_that_torchserve_puts_together_are_answered_each(served: TorchServeRun) -> None:
    paths = [path for path in BATCHES if path.stat().st_size < 100_000]
    paths = paths[: len(paths) // 2 * 2]
    assert len(paths) >= 4
    with served.client("pairs") as client, ThreadPoolExecutor(len(paths)) as pool:
        answers = list(pool.map(lambda path: client.predict(path.with_suffix(".bin").read_bytes()), paths))
    for path, scores in zip(paths, answers, strict=True):
        assert_close(scores, arrays_of(path)["out"])


def test_one_who_waits_no_longer_does_not_fail_the_others(calls: Calls) -> None:
    late, scores = calls.together({"deadline_unix_ms": b"1"}, {})
    assert late == b""
    assert isinstance(scores, bytes)
    assert_close(np.frombuffer(scores, "<f4"), SCORES)


def test_one_whose_time_ends_during_the_lookup_does_not_fail_the_others(
    calls: Calls, shard: tuple[EmbeddingServer, str]
) -> None:
    with halted(shard[0]):
        end = unix_ms(0.5)

        def resume() -> None:
            wait_until(lambda: time.time() * 1000 > int(end) + 50, "the first one's time is over")
            os.kill(shard[0].process.pid, signal.SIGCONT)

        late, scores = calls.together({"deadline_unix_ms": end}, {}, meanwhile=resume)
    assert late == b""
    assert isinstance(scores, bytes), scores
    assert_close(np.frombuffer(scores, "<f4"), SCORES)


def test_where_all_are_late_they_are_told(calls: Calls) -> None:
    for error in calls.together({"deadline_unix_ms": b"1"}, {"deadline_unix_ms": b"2"}):
        assert isinstance(error, grpc.RpcError)
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "the time of all 2 callers was over" in str(error.details())


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"batch": b"\1\0\0"}, "at byte 0: expected 4 bytes"),
        ({"format": b"xml"}, "expected one of json, npy, npz, raw as `format`"),
        ({"deadline_unix_ms": b"9" * 400}, "expected milliseconds since 1970 as `deadline_unix_ms`"),
    ],
)
def test_one_that_is_wrong_fails_all_and_is_named(calls: Calls, inputs: dict[str, bytes], message: str) -> None:
    errors = calls.together(inputs, {})
    for error in errors:
        assert isinstance(error, grpc.RpcError)
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert len({str(error.details()) for error in errors if isinstance(error, grpc.RpcError)}) == 1
    assert f" of 2 that TorchServe put together: {message}" in str(errors[0].details())  # type: ignore[union-attr]
