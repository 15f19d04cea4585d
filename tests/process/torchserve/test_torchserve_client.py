"""What a client of TorchServe gets: scores, or an error that says what is wrong."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from persia.batch import IDTypeFeature, PersiaBatch
from persia.client.predict import AsyncClient, Client
from persia.errors import AccessDenied, DeadlineExceeded, InvalidInput, NotFound, PersiaError, TooLarge, Unavailable
from persia.prelude import PyPersiaBatchData
from persia.torchserve.scores import decode_scores, encode_scores
from persia.torchserve.status import torchserve_error
from tests.support.servers import PATIENCE, wait_until
from tests.support.torchserves import MIX, TorchServeRun, make_archive, scores_of_golden

GOLDEN_BATCH = (MIX / "golden" / "batch16_0.bin").read_bytes()


def test_scores_are_those_of_real_persia(torchserve: TorchServeRun) -> None:
    with torchserve.client("golden") as client:
        np.testing.assert_allclose(client.predict(GOLDEN_BATCH), scores_of_golden(), rtol=1e-5)


def test_batches_of_both_generations_and_bytes_are_taken(torchserve: TorchServeRun) -> None:
    ids = [np.array([7], np.uint64)]
    old = PyPersiaBatchData()
    old.add_sparse([("user", ids)])
    new = PersiaBatch([IDTypeFeature("user", ids)])
    with torchserve.client("shapes") as client:
        for batch in (new, old, new.to_bytes(), bytearray(new.to_bytes())):
            assert client.predict(batch).tolist() == [[1, 1, 1, 0]]
        with pytest.raises(InvalidInput, match="expected a PersiaBatch or its bytes, got int"):
            client.predict(7)  # type: ignore[call-overload]


def test_many_threads_share_a_client(torchserve: TorchServeRun) -> None:
    with torchserve.client("golden") as client, ThreadPoolExecutor(8) as pool:
        for scores in pool.map(client.predict, [GOLDEN_BATCH] * 40):
            np.testing.assert_allclose(scores, scores_of_golden(), rtol=1e-5)


def test_scores_come_as_npy_from_a_handler_that_can(torchserve: TorchServeRun) -> None:
    with torchserve.client("shapes") as client:
        scores = client.predict(GOLDEN_BATCH)
    assert scores.shape == (16, 4) and scores.dtype == np.float32
    assert scores[0].tolist() == [16, 6, 216, 5]


@pytest.mark.parametrize(
    "array",
    [np.array([1, 2.5], np.float32), np.zeros((3, 0)), np.arange(6, dtype=">i8").reshape(2, 3), np.array(7, np.float16)],
)
def test_npy_answers_keep_dtype_and_shape(array: Any) -> None:
    back = decode_scores(encode_scores(array))
    assert back.dtype == array.dtype.newbyteorder("<")
    assert back.shape == array.shape
    np.testing.assert_array_equal(back, array)


def test_an_empty_answer_says_that_the_request_was_late() -> None:
    with pytest.raises(DeadlineExceeded, match="by the handler's clock"):
        decode_scores(b"")


@pytest.mark.parametrize(
    "answer", [b"no", b'["a"]', b"[1, [2]]", b"\x93NUMPY\x01\x00", b"null", b'{"a": 1}', b"\x93NUMPY" * 30]
)
def test_an_answer_that_is_no_scores_is_an_error(answer: bytes) -> None:
    with pytest.raises(PersiaError, match="expected scores"):
        decode_scores(answer)


ERRORS: list[tuple[str, bytes, type[PersiaError], str]] = [
    ("nowhere", b"", NotFound, "Model not found: nowhere"),
    ("probe/9.9", b"", NotFound, "version: 9.9 does not exist for model: probe"),
    ("", b"", InvalidInput, "model_name is required"),
    ("probe", b"raise quietly", PersiaError, r"the handler failed .*model_log\.log"),
    ("probe", b"refuse 400", InvalidInput, "refused in words"),
    ("probe", b"refuse 404", NotFound, "refused in words"),
    ("probe", b"refuse 429", TooLarge, "refused in words"),
    ("probe", b"refuse 503", Unavailable, "refused in words"),
    ("probe", b"refuse 504", DeadlineExceeded, "refused in words"),
    ("probe", b"text", PersiaError, "expected scores as JSON numbers or .npy"),
    ("probe", bytes(1_100_000), TooLarge, "max_request_size, got 1100"),
]


@pytest.mark.parametrize(("model", "batch", "kind", "message"), ERRORS, ids=[f"{e[0]}-{e[1][:10].decode()}" for e in ERRORS])
def test_every_failure_is_an_error_of_its_kind(
    torchserve: TorchServeRun, model: str, batch: bytes, kind: type[PersiaError], message: str
) -> None:
    name, _, version = model.partition("/")
    with torchserve.client(name, version=version) as client:
        with pytest.raises(kind, match=message) as caught:
            client.predict(batch)
        assert type(caught.value) is kind
    with torchserve.client("probe") as client:
        assert client.predict(b"").tolist() == [1.0]  # and the worker is well


class Reset(grpc.RpcError):
    """How a call ends of which TorchServe resets the stream."""

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.CANCELLED

    def details(self) -> str:
        return "Stream removed (RST_STREAM, error code 8)"


@pytest.mark.parametrize(("left", "kind"), [(10.0, TooLarge), (0.001, DeadlineExceeded), (-1.0, DeadlineExceeded)])
def test_a_reset_at_the_deadline_is_not_taken_for_a_request_that_is_too_large(left: float, kind: type[PersiaError]) -> None:
    assert type(torchserve_error(Reset(), 7, time.monotonic() + left)) is kind


def test_the_traceback_of_a_handler_is_in_the_log(torchserve: TorchServeRun) -> None:
    with torchserve.client("probe") as client, pytest.raises(PersiaError):
        client.predict(b"raise a word to look for")
    log = torchserve.logs / "model_log.log"
    wait_until(lambda: "RuntimeError: a word to look for" in log.read_text(), "the traceback is logged")
    assert "Backend received inference" not in log.read_text()


@pytest.mark.parametrize("token", [None, "nonsense", "management"])
def test_a_wrong_token_is_refused(torchserve: TorchServeRun, token: str | None) -> None:
    if token == "management":
        ((_, bearer),) = torchserve.management()._tokens.metadata("management")
        token = bearer.removeprefix("Bearer ")
    client = Client("probe", torchserve.address, token=token, timeout=PATIENCE)
    with client, pytest.raises(AccessDenied, match="refused the token, or was sent none"):
        client.predict(b"")


def test_a_token_file_is_read_again_when_it_changes(torchserve: TorchServeRun, tmp_path: Path) -> None:
    copy = tmp_path / "keys.json"
    with Client("probe", torchserve.address, token_file=str(copy), timeout=PATIENCE) as client:
        with pytest.raises(AccessDenied, match="is it running"):
            client.predict(b"")
        copy.write_text("{}")
        with pytest.raises(AccessDenied, match="key for inference"):
            client.predict(b"")
        os.replace(_copied(torchserve.token_file, tmp_path / "new.json"), copy)
        assert client.predict(b"").tolist() == [1.0]


def _copied(source: Path, target: Path) -> Path:
    target.write_bytes(source.read_bytes())
    return target


def test_the_handler_learns_the_deadline_and_the_format(torchserve: TorchServeRun) -> None:
    with (
        torchserve.client("probe") as client,
        pytest.raises(PersiaError, match='"batch", "deadline_unix_ms", "format"'),
    ):
        client.predict(b"inputs")


def test_a_deadline_ends_a_call_and_the_worker_goes_on(torchserve: TorchServeRun, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with torchserve.client("probe") as client:
        with pytest.raises(DeadlineExceeded, match="may still run"):
            client.predict(f"hold {gate}".encode(), timeout=0.2)
        gate.touch()
        assert client.predict(b"").tolist() == [1.0]


@pytest.mark.parametrize("how", ["killed", "dies by itself", "answers too much"])
def test_a_worker_that_dies_with_a_request_is_unavailable_and_comes_back(
    torchserve: TorchServeRun, tmp_path: Path, how: str
) -> None:
    gate = tmp_path / "gate"
    batch = {"killed": f"hold {gate}", "dies by itself": "die", "answers too much": "answer 2000000"}[how].encode()
    with torchserve.client("probe") as client, ThreadPoolExecutor() as pool:
        call = pool.submit(client.predict, batch)
        if how == "killed":
            started = gate.with_suffix(".started")
            os.kill(int(wait_until(lambda: started.exists() and started.read_text(), "the worker has it")), signal.SIGKILL)
        with pytest.raises(Unavailable, match="worker died"):
            call.result(PATIENCE)
        assert client.predict(b"").tolist() == [1.0]


def test_a_full_queue_is_unavailable(torchserve: TorchServeRun, store: Path, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    hold = f"hold {gate}".encode()
    with torchserve.management() as management, torchserve.client("narrow") as client, ThreadPoolExecutor() as pool:
        management.register(make_archive(store, "narrow", jobQueueSize=1))
        calls = [pool.submit(client.predict, hold)]
        wait_until(gate.with_suffix(".started").exists, "the worker has the first call")
        calls += [pool.submit(client.predict, hold) for _ in range(2)]
        try:
            refused = wait_until(lambda: next((call for call in calls if call.done()), None), "a call is refused")
            with pytest.raises(Unavailable, match="queue is full"):
                refused.result()
        finally:
            gate.touch()
        assert [call.result(PATIENCE).tolist() for call in calls if call is not refused] == [[1.0], [1.0]]
        management.unregister("narrow")


def test_without_a_server_it_is_unavailable() -> None:
    with Client("probe", "127.0.0.1:1", timeout=PATIENCE) as client, pytest.raises(Unavailable, match="connect"):
        client.predict(b"")


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -math.inf, 1e10, 0, -1])
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_timeout_that_is_none_is_refused(kind: type[Client | AsyncClient], seconds: float) -> None:
    with pytest.raises(InvalidInput, match=f"over 0 and up to 1000000000 seconds, got {seconds}"):
        kind("probe", timeout=seconds)


@pytest.mark.parametrize(
    ("seconds", "error"),
    [(math.nan, InvalidInput), (math.inf, InvalidInput), (1e10, InvalidInput), (0, DeadlineExceeded), (-1, DeadlineExceeded)],
)
def test_a_call_with_no_time_left_is_late_and_with_no_time_at_all_refused(seconds: float, error: type[PersiaError]) -> None:
    async def check() -> None:
        async with AsyncClient("probe", "127.0.0.1:1") as client:
            with pytest.raises(error, match=f" {seconds}"):
                await client.predict(b"", timeout=seconds)

    with Client("probe", "127.0.0.1:1") as client, pytest.raises(error, match=f" {seconds}"):
        client.predict(b"", timeout=seconds)
    asyncio.run(check())


def test_asyncio_gets_the_same_scores_and_errors(torchserve: TorchServeRun) -> None:
    def client(model: str) -> AsyncClient:
        return AsyncClient(model, torchserve.address, token_file=torchserve.token_file, timeout=PATIENCE)

    async def check() -> None:
        async with client("golden") as golden:
            for scores in await asyncio.gather(*(golden.predict(GOLDEN_BATCH) for _ in range(10))):
                np.testing.assert_allclose(scores, scores_of_golden(), rtol=1e-5)
        async with client("probe") as probe:
            with pytest.raises(InvalidInput, match="refused in words"):
                await probe.predict(b"refuse 400")

    asyncio.run(check())
