"""Slots with f32 embeddings, default rows, a modulo and ids that are signs, through servers; and clients that are too old."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import numpy as np
import pytest
import torch

from persia.batch import PersiaBatch
from persia.config import load_embedding_config
from persia.signs import signs_of
from persia.v1 import middleware_pb2 as pb
from persia.writers import write_checkpoint
from tests.support.in_process import LocalDeployment

CONFIG = """\
slots_config:
  plain: {dim: 3}
  exact: {dim: 3, pooling: mean, output: f32, modulo: 10}
  history: {dim: 3, pooling: raw, sample_fixed_size: 2, output: f32, default_row: {id: 9}}
  keyed: {dim: 3, ids_are_signs: true, default_row: {value: 0.5}}
"""
ROWS = np.random.default_rng(1).normal(size=(10, 3)).astype(np.float32)
KEYS = np.uint64(2**64 - 10) + np.arange(10, dtype=np.uint64)
FEATURES = {
    "plain": [[1], [2, 3]],
    "exact": [[1, 2, 13], [-1]],
    "history": [[4, 99, 5], [6]],
    "keyed": [[int(KEYS[7])], [5]],
}


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalDeployment]:
    directory = tmp_path_factory.mktemp("options")
    (directory / "embedding_config.yml").write_text(CONFIG)
    slots = load_embedding_config(directory / "embedding_config.yml").slots
    ids = {name: KEYS if name == "keyed" else np.arange(10) for name in slots}
    write_checkpoint(directory / "ckpt", [(signs_of(ids[name], slot)[0], ROWS) for name, slot in slots.items()], shards=2)
    with LocalDeployment(directory, 2) as deployment:
        yield deployment


@pytest.mark.parametrize("way", ["direct", "forwarded"])
def test_tensors(deployment: LocalDeployment, way: str) -> None:
    context = deployment.direct() if way == "direct" else deployment.forwarded()
    _, embeddings, _ = context.prepare_features(context.get_embedding_from_data(PersiaBatch.from_dict(FEATURES)))
    plain, exact, history, keyed = (tensor.numpy() for tensor in embeddings)
    assert [tensor.dtype for tensor in embeddings] == [torch.float16, torch.float32, torch.float32, torch.float16]
    np.testing.assert_array_equal(plain, np.array([ROWS[1], ROWS[2] + ROWS[3]]).astype(np.float16))
    np.testing.assert_array_equal(exact, [(ROWS[1] + ROWS[2] + ROWS[3]) / np.float32(3), ROWS[9]])
    np.testing.assert_array_equal(history[:, :, :3], [[ROWS[4], ROWS[9]], [ROWS[6], [0, 0, 0]]])
    np.testing.assert_array_equal(history[:, :, 3], [[1, 1], [1, 0]])
    np.testing.assert_array_equal(keyed, np.array([ROWS[7], [0.5] * 3]).astype(np.float16))


def test_a_client_that_takes_no_floats_is_refused_unless_it_asks_for_none(deployment: LocalDeployment) -> None:
    with grpc.insecure_channel(deployment.middleware) as channel:
        forward = channel.unary_unary(
            "/persia.v1.Middleware/Forward", pb.ForwardRequest.SerializeToString, pb.ForwardResponse.FromString
        )
        batch = PersiaBatch.from_dict(FEATURES).to_bytes()
        with pytest.raises(grpc.RpcError, match="this client is too old to take: update the client") as refused:
            forward(pb.ForwardRequest(batch=batch))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        answer = forward(pb.ForwardRequest(batch=batch, takes_floats=True))
        shapes = np.frombuffer(answer.shapes, np.uint32).reshape(-1, 3).tolist()
        assert shapes == [[2, 0, 3], [2, 0, 3 + 2**31], [2, 2, 4 + 2**31], [2, 0, 3]]
        exact = np.frombuffer(answer.tensors, np.float32, 6).reshape(2, 3)
        np.testing.assert_array_equal(exact[1], ROWS[9])
        old = forward(pb.ForwardRequest(batch=PersiaBatch.from_dict({"plain": FEATURES["plain"]}).to_bytes()))
        want = np.array([ROWS[1], ROWS[2] + ROWS[3]]).astype(np.float16)
        np.testing.assert_array_equal(np.frombuffer(old.tensors, np.float16).reshape(2, 3), want)
