"""Real Persia's batches, through real servers, give real Persia's tensors: routing by itself and through a middleware."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from persia.ctx import InferCtx
from persia.rpc.wire import FORWARD
from persia.v1 import middleware_pb2 as pb
from tests.support.golden import GOLDEN, arrays_of
from tests.support.middlewares import Deployment
from tests.support.routing_reference import assert_within_one_ulp

ANSWERS = {"ckpt": "golden", "ckpt_mid": "golden_mid"}
CASES = [
    pytest.param(model, checkpoint, path.stem, id=f"{model}-{checkpoint}-{path.stem}")
    for model in ("ctr", "mix")
    for checkpoint, answers in ANSWERS.items()
    for path in sorted((GOLDEN / model / answers).glob("*.npz"))
]


class Contexts(NamedTuple):
    deployment: Deployment
    direct: InferCtx
    forwarded: InferCtx


class Deployments:
    """Started when they are first needed: one for each model and checkpoint."""

    def __init__(self, directory: Path, shards: int) -> None:
        self._directory, self._shards = directory, shards
        self._contexts = ExitStack()
        self._started: dict[tuple[str, str], Contexts] = {}

    def get(self, model: str, checkpoint: str) -> Contexts:
        if (model, checkpoint) not in self._started:
            self.close()  # two cores are few for more than one of them
            deployment = Deployment(self._directory / f"{model}-{checkpoint}", GOLDEN / model, self._shards, checkpoint)
            direct = InferCtx(deployment.addresses, embedding_config=deployment.embedding_config)
            direct.wait_for_serving(60)
            forwarded = self._contexts.enter_context(deployment.middleware.context())
            self._started[model, checkpoint] = Contexts(deployment, direct, forwarded)
        return self._started[model, checkpoint]

    def close(self) -> None:
        self._contexts.close()
        for deployment, direct, _ in self._started.values():
            direct.close()
            deployment.close()
        self._started.clear()


@pytest.fixture(scope="module", params=[1, 2, 3, 7], ids=lambda shards: f"{shards}-shards")
def deployments(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployments]:
    started = Deployments(tmp_path_factory.mktemp("shards"), request.param)
    yield started
    started.close()


# What users have is TorchScript.
@pytest.mark.filterwarnings("ignore:.torch.jit.load. is deprecated:DeprecationWarning")
@pytest.mark.parametrize(("model", "checkpoint", "batch"), CASES)
def test_tensors_and_scores_equal_those_of_real_persia(
    deployments: Deployments, model: str, checkpoint: str, batch: str
) -> None:
    contexts = deployments.get(model, checkpoint)
    path = GOLDEN / model / ANSWERS[checkpoint] / batch
    want = arrays_of(path.with_suffix(".npz"))
    network = torch.jit.load(GOLDEN / model / checkpoint / "jit_dense.pt")
    for context in (contexts.direct, contexts.forwarded):
        got = context.get_embedding_from_bytes(path.with_suffix(".bin").read_bytes())
        dense, embeddings, labels = context.prepare_features(got)
        assert labels is None
        assert len(dense) == sum(name.startswith("dense") for name in want)
        assert len(embeddings) == sum(name.startswith("emb") for name in want)
        assert got.lookup.missing_shards == []
        assert len(got.lookup.versions) == len(contexts.deployment.shards)
        for i, tensor in enumerate(dense):
            np.testing.assert_array_equal(tensor.numpy(), want[f"dense{i}"], strict=True)
        for i, tensor in enumerate(embeddings):
            assert tensor.dtype == torch.float16
            assert_within_one_ulp(tensor.numpy(), want[f"emb{i}"])
        if "out" not in want:  # a batch without all of the network's features
            continue
        with torch.no_grad():
            scores = network(dense, embeddings).numpy()
            # Where sums were added in another order, the network gets to see another last bit of f16.
            exact = [torch.from_numpy(want[f"emb{i}"]) for i in range(len(embeddings))]
            equal = all(torch.equal(ours, theirs) for ours, theirs in zip(embeddings, exact, strict=True))
            np.testing.assert_allclose(scores, want["out"], atol=1e-6 if equal else 1e-3, rtol=0, strict=True)


def test_a_byte_batch_over_plain_grpc_gives_the_same_tensors(deployments: Deployments) -> None:
    """For clients in other languages: the whole byte batch, one unary call."""
    deployment, direct, _ = deployments.get("mix", "ckpt")
    data = (GOLDEN / "mix" / "golden" / "batch256_0.bin").read_bytes()
    response = deployment.middleware.stub.Forward(pb.ForwardRequest(batch=data), timeout=60)
    want = direct.get_embedding_from_bytes(data)
    numbers = np.frombuffer(response.tensors, np.float16)
    begin = 0
    for shape, tensor in zip(np.frombuffer(response.shapes, "<u4").reshape(-1, 3), want.features.embeddings, strict=True):
        extents = [int(extent) for extent in shape if extent]
        assert extents == list(tensor.shape)
        end = begin + int(np.prod(extents))
        np.testing.assert_array_equal(numbers[begin:end].reshape(extents), tensor.numpy())
        begin = end
    assert begin == len(numbers)
    assert list(response.versions) == want.lookup.versions
    assert (response.absent, response.wrong_dim) == (want.lookup.absent, want.lookup.wrong_dim)
    assert FORWARD == "/persia.v1.Middleware/Forward"
