"""From the client over TorchServe, handler, middleware and shards to the scores of real Persia."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import torch

from persia.batch import IDTypeFeature, NonIDTypeFeature, PersiaBatch
from persia.config import load_embedding_config
from persia.errors import InvalidInput, PersiaError, TooLarge, Unavailable
from persia.handlers.answers import json_lines
from persia.torchserve.schema import new_message, open_channel, predictions_call
from persia.torchserve.tokens import Tokens
from tests.support.golden import GOLDEN, arrays_of, golden
from tests.support.middlewares import Deployment
from tests.support.servers import PATIENCE
from tests.support.torchserves import PERSIA_HANDLER, TorchServeRun, assert_close, make_archive, make_plain_archive

MIX = GOLDEN / "mix"
SCORED = [path for path in golden("mix/golden/*.npz") if "out" in arrays_of(path)]
BATCH = (MIX / "golden" / "batch16_0.bin").read_bytes()
SCORES = arrays_of(MIX / "golden" / "batch16_0.npz")["out"]


class Odd(torch.nn.Module):
    """More memory than there is for a lone sample; else scores of a dtype that numpy does not have, two of a sample."""

    def forward(self, dense: list[torch.Tensor], embeddings: list[torch.Tensor]) -> torch.Tensor:
        if embeddings[0].size(0) == 1:
            return torch.ones([1 << 50])
        return embeddings[0][:, :2].to(torch.bfloat16)


pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, deployment: Deployment) -> Iterator[TorchServeRun]:
    directory = tmp_path_factory.mktemp("served")
    store = directory / "store"
    warm_up = directory / "sample.bin"
    warm_up.write_bytes(BATCH)
    pth = directory / "dense.pth"  # as in Persia's guide
    pth.write_bytes((MIX / "ckpt" / "jit_dense.pt").read_bytes())
    odd = directory / "odd.pt"
    torch.jit.script(Odd()).save(str(odd))
    models = [
        make_archive(
            store, "persia", handler=PERSIA_HANDLER, extra=[warm_up], persia={"warm_up": "sample.bin", "max_answer_mib": 1}
        ),
        make_archive(store, "several", handler=PERSIA_HANDLER, batchSize=4, maxBatchDelay=200),
        make_plain_archive(store, "plain", pth),
        make_archive(store, "odd", handler=PERSIA_HANDLER, model=odd),
        make_archive(store, "counts", handler="counts_threads"),
        make_archive(store, "counts-own", handler="counts_threads", persia={"threads": 3}),
    ]
    environment = {**os.environ, "EMBEDDING_WORKER_SERVICE": deployment.middleware.address}
    with TorchServeRun(directory, store, ["--models", ",".join(models), "--threads", "2"], environment) as run:
        yield run.wait_ready(3 * PATIENCE)


@pytest.mark.parametrize("path", SCORED, ids=lambda path: path.stem)
@pytest.mark.parametrize("model", ["persia", "plain", "several"])
def test_scores_are_those_of_real_persia(served: TorchServeRun, model: str, path: Path) -> None:
    with served.client(model) as client:
        scores = client.predict(path.with_suffix(".bin").read_bytes())
    assert_close(scores, arrays_of(path)["out"])


def answer(run: TorchServeRun, **inputs: bytes) -> bytes:
    """What a client gets that knows only TorchServe."""
    request = new_message("PredictionsRequest", model_name="persia", input=inputs)
    channel = open_channel(run.address, grpc)
    try:
        metadata = Tokens(file=run.token_file).metadata("inference")
        return bytes(predictions_call(channel)(request, timeout=PATIENCE, metadata=metadata).prediction)
    finally:
        channel.close()


def test_the_answer_is_json_a_number_a_line_unless_asked_otherwise(served: TorchServeRun) -> None:
    lines = answer(served, batch=BATCH).decode().splitlines()
    assert (lines[0], lines[-1]) == ("[", "]")
    assert_close([float(line.strip(" ,")) for line in lines[1:-1]], SCORES)
    raw = np.frombuffer(answer(served, batch=BATCH, format=b"raw"), "<f4")
    assert_close(raw, SCORES)


def test_json_is_what_torchserve_itself_would_write() -> None:
    assert json_lines([]) == b"[]"
    assert json_lines([0.25]) == b"[\n  0.25\n]"
    assert json_lines([0.25, 1e-07]) == b"[\n  0.25,\n  1e-07\n]"
    assert json_lines([0.25, float("nan")]) == b"[\n  0.25,\n  null\n]"  # which Python alone would read as NaN


@pytest.mark.parametrize(
    ("inputs", "code", "message"),
    [
        ({}, "INVALID_ARGUMENT", "expected a byte batch as `batch` in the input, got nothing"),
        ({"batch": b"\1\0\0"}, "INVALID_ARGUMENT", "at byte 0: expected 4 bytes of dense tensors"),
        ({"batch": BATCH, "format": b"xml"}, "INVALID_ARGUMENT", "expected one of json, npy, npz, raw as `format`, got b'xml'"),
        ({"batch": BATCH, "deadline_unix_ms": b"soon"}, "INVALID_ARGUMENT", "expected milliseconds since 1970"),
        ({"batch": BATCH, "deadline_unix_ms": b"1000"}, "DEADLINE_EXCEEDED", "the caller's time was over"),
    ],
)
def test_errors_have_the_status_that_says_what_to_do(
    served: TorchServeRun, inputs: dict[str, bytes], code: str, message: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        answer(served, **inputs)
    assert caught.value.code().name == code
    assert message in str(caught.value.details())


def test_scores_keep_their_shape_and_come_as_float32_where_numpy_lacks_their_dtype(served: TorchServeRun) -> None:
    embedding = torch.from_numpy(arrays_of(MIX / "golden" / "batch16_0.npz")["emb0"])
    with served.client("odd") as client:
        scores = client.predict(BATCH)
    assert scores.shape == (16, 2)
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores, embedding[:, :2].bfloat16().float().numpy())


def test_a_model_without_memory_is_told_apart_from_one_that_fails(served: TorchServeRun) -> None:
    batch = PersiaBatch([IDTypeFeature("user_id", [np.array([1], np.uint64)])], requires_grad=False)
    with served.client("odd") as client, pytest.raises(TooLarge, match=r"out of memory: .*can't allocate memory"):
        client.predict(batch)


def test_a_wrong_feature_is_named(served: TorchServeRun) -> None:
    batch = PersiaBatch([IDTypeFeature("nobody", [np.array([1], np.uint64)])], requires_grad=False)
    with served.client("persia") as client, pytest.raises(InvalidInput, match="'nobody': the embedding config has no slot"):
        client.predict(batch)


def test_a_model_that_refuses_its_tensors_is_no_reason_to_try_again(served: TorchServeRun) -> None:
    """Without its dense tensor the network fails: INTERNAL with the reason, not TorchServe's UNAVAILABLE without one."""
    ids = [np.array([1], np.uint64)]
    batch = PersiaBatch(
        [IDTypeFeature("user_id", ids)],
        non_id_type_features=[NonIDTypeFeature(np.ones((1, 99), np.float32))],
        requires_grad=False,
    )
    with served.client("persia") as client:
        with pytest.raises(PersiaError, match="the model failed: ") as caught:
            client.predict(batch)
        assert not isinstance(caught.value, Unavailable)
        assert_close(client.predict(BATCH), SCORES)
    assert "Traceback" in (served.logs / "model_log.log").read_text()


def test_an_answer_that_would_kill_the_worker_is_refused(served: TorchServeRun) -> None:
    samples = 60_000  # of some 20 bytes each in JSON
    ids = [np.array([1], np.uint64)] * samples
    names = [slot for slot in load_embedding_config(MIX / "embedding_config.yml").slots]
    width = arrays_of(SCORED[0])["dense0"].shape[1]
    dense = NonIDTypeFeature(np.zeros((samples, width), np.float32))
    batch = PersiaBatch([IDTypeFeature(name, ids) for name in names], non_id_type_features=[dense], requires_grad=False)
    request = new_message("PredictionsRequest", model_name="persia", input={"batch": batch.to_bytes()})
    channel = open_channel(served.address, grpc)
    with pytest.raises(grpc.RpcError) as caught:
        metadata = Tokens(file=served.token_file).metadata("inference")
        predictions_call(channel)(request, timeout=PATIENCE, metadata=metadata)
    channel.close()
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "expected an answer of at most 983040 bytes (1 MiB, less what TorchServe adds), got " in str(caught.value.details())


def test_the_first_request_comes_to_a_warm_model(served: TorchServeRun) -> None:
    assert "not warmed up" not in (served.logs / "model_log.log").read_text()


@pytest.mark.parametrize(("model", "threads"), [("counts", 2), ("counts-own", 3)])
def test_torch_has_the_launchers_threads_unless_the_archive_says_otherwise(
    served: TorchServeRun, model: str, threads: int
) -> None:
    with served.client(model) as client:
        assert client.predict(BATCH).tolist() == [threads]


def test_an_archive_without_a_signature_says_so_once(served: TorchServeRun) -> None:
    log = (served.logs / "model_log.log").read_text()
    assert len(re.findall(r"W-\d+-persia_1\.0\S* MODEL_LOG - .*the archive has no signature", log)) == 1
