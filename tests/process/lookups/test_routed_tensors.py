"""Real Persia's batches, through real servers, give real Persia's tensors: routing by itself and through a middleware."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import grpc
import numpy as np
import pytest
import torch

from persia.ctx import InferCtx
from persia.rpc.wire import FORWARD
from persia.v1 import middleware_pb2 as pb
from persia.v1.middleware_pb2_grpc import MiddlewareStub
from tests.support.golden import GOLDEN, arrays_of
from tests.support.in_process import LocalDeployment
from tests.support.routing_reference import assert_within_one_ulp
from tests.support.servers import PATIENCE

pytestmark = pytest.mark.whole_way

ANSWERS = {"ckpt": "golden", "ckpt_mid": "golden_mid"}
SHARDS = (1, 2, 3, 7)
CASES = [
    pytest.param((model, checkpoint, shards), path.stem, id=f"{shards}-shards-{model}-{checkpoint}-{path.stem}")
    for shards in SHARDS
    for model in ("ctr", "mix")
    for checkpoint, answers in ANSWERS.items()
    for path in sorted((GOLDEN / model / answers).glob("*.npz"))
]


class Served(NamedTuple):
    model: str
    checkpoint: str
    shards: int
    middleware: str
    direct: InferCtx
    forwarded: InferCtx


@pytest.fixture(scope="module")
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    """A model and one of its checkpoints, from so many shards."""
    model, checkpoint, shards = request.param
    with LocalDeployment(GOLDEN / model, shards, checkpoint) as deployment:
        yield Served(model, checkpoint, shards, deployment.middleware, deployment.direct(), deployment.forwarded())


# What users have is TorchScript.
@pytest.mark.filterwarnings("ignore:.torch.jit.load. is deprecated:DeprecationWarning")
@pytest.mark.parametrize(("served", "batch"), CASES, indirect=["served"])
def test_tensors_and_scores_equal_those_of_real_persia(served: Served, batch: str) -> None:
    path = GOLDEN / served.model / ANSWERS[served.checkpoint] / batch
    want = arrays_of(path.with_suffix(".npz"))
    network = torch.jit.load(GOLDEN / served.model / served.checkpoint / "jit_dense.pt")
    for context in (served.direct, served.forwarded):
        got = context.get_embedding_from_bytes(path.with_suffix(".bin").read_bytes())
        dense, embeddings, labels = context.prepare_features(got)
        assert labels is None
        assert len(dense) == sum(name.startswith("dense") for name in want)
        assert len(embeddings) == sum(name.startswith("emb") for name in want)
        assert got.lookup.missing_shards == []
        assert len(got.lookup.versions) == served.shards
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


@pytest.mark.parametrize("served", [("mix", "ckpt", shards) for shards in SHARDS], indirect=True, ids=str)
def test_a_byte_batch_over_plain_grpc_gives_the_same_tensors(served: Served) -> None:
    """For clients in other languages: the whole byte batch, one unary call."""
    data = (GOLDEN / "mix" / "golden" / "batch256_0.bin").read_bytes()
    with grpc.insecure_channel(served.middleware) as channel:
        response = MiddlewareStub(channel).Forward(pb.ForwardRequest(batch=data), timeout=PATIENCE)
    want = served.direct.get_embedding_from_bytes(data)
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
