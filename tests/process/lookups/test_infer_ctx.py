"""The context that handlers use: where it finds its servers, what it gives them, and what it says when something is missing."""

from __future__ import annotations

import gc
import logging
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import persia.prelude
from persia.batch import IDTypeFeature, NonIDTypeFeature, PersiaBatch
from persia.ctx import InferCtx
from persia.errors import ConfigError, DeadlineExceeded, InvalidInput, Unavailable
from persia.prelude import current_context
from persia.service import get_embedding_worker_services
from tests.support.golden import GOLDEN, arrays_of
from tests.support.middlewares import Deployment
from tests.support.servers import PATIENCE, EmbeddingServer, free_port

MIX = GOLDEN / "mix"
CONFIG = MIX / "embedding_config.yml"
BATCH = (MIX / "golden" / "batch16_0.bin").read_bytes()
WANT = arrays_of(MIX / "golden" / "batch16_0.npz")


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EMBEDDING_WORKER_SERVICE", "PERSIA_GLOBAL_CONFIG", "PERSIA_EMBEDDING_CONFIG"):
        monkeypatch.delenv(name, raising=False)


def assert_golden(context: InferCtx) -> None:
    dense, embeddings, labels = context.prepare_features(context.get_embedding_from_bytes(BATCH))
    assert labels is None
    np.testing.assert_array_equal(dense[0].numpy(), WANT["dense0"], strict=True)
    for i, tensor in enumerate(embeddings):
        np.testing.assert_allclose(tensor.float().numpy(), WANT[f"emb{i}"].astype(np.float32), rtol=2e-3, atol=1e-6)


def global_config(directory: Path, servers: list[str]) -> Path:
    path = directory / "global.yml"
    path.write_text(yaml.safe_dump({"common_config": {"infer_config": {"servers": servers}}}))
    return path


def test_a_middleware_by_its_address(deployment: Deployment) -> None:
    with InferCtx([deployment.middleware.address]) as context:
        context.wait_for_serving()
        assert_golden(context)


def test_a_middleware_from_the_environment(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDDING_WORKER_SERVICE", deployment.middleware.address)
    assert get_embedding_worker_services() == [deployment.middleware.address]
    with InferCtx() as context:
        assert_golden(context)


def test_the_name_that_deployments_of_persia_have() -> None:
    assert get_embedding_worker_services() == ["embedding_worker:8887"]


def test_embedding_servers_by_their_addresses(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSIA_EMBEDDING_CONFIG", str(CONFIG))
    with InferCtx(deployment.addresses) as context:
        context.wait_for_serving()
        assert_golden(context)


def test_embedding_servers_with_replicas(deployment: Deployment) -> None:
    with InferCtx([[address] for address in deployment.addresses], embedding_config=CONFIG) as context:
        assert_golden(context)


def test_embedding_servers_from_the_global_config(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERSIA_GLOBAL_CONFIG", str(global_config(tmp_path, deployment.addresses)))
    monkeypatch.setenv("PERSIA_EMBEDDING_CONFIG", str(CONFIG))
    with InferCtx() as context:
        assert_golden(context)


def test_handlers_of_the_first_generation(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDDING_WORKER_SERVICE", deployment.middleware.address)
    context = InferCtx()
    batch = persia.prelude.forward_directly_from_bytes(BATCH, 0)  # GPU 0, also where there is none
    denses, sparses = context.prepare_features(batch)
    np.testing.assert_array_equal(denses[0].cpu().numpy(), WANT["dense0"], strict=True)
    assert [tuple(tensor.shape) for tensor in sparses] == [WANT[f"emb{i}"].shape for i in range(len(sparses))]
    context.close()


def test_a_context_that_could_not_be_made_is_not_the_current_one() -> None:
    with InferCtx(["127.0.0.1:1"]) as context:
        with pytest.raises(InvalidInput):
            InferCtx(["no address"])
        assert current_context() is context


def test_its_tensors_can_be_written_to_and_are_the_memory_that_came(deployment: Deployment) -> None:
    with InferCtx([deployment.middleware.address]) as context:
        context.wait_for_serving()
        batch = PersiaBatch(
            [IDTypeFeature("user_id", [np.array([1], np.uint64)] * 2)],
            non_id_type_features=[NonIDTypeFeature(np.ones((2, 3), np.float32))],
            requires_grad=False,
        )
        data = batch.to_bytes()
        got = context.get_embedding_from_bytes(data)
        dense, embeddings, _ = context.prepare_features(got)
        assert embeddings[0].data_ptr() == got.lookup.tensors[0].__array_interface__["data"][0]
        dense[0].zero_()
        embeddings[0].zero_()
        assert data == batch.to_bytes()  # the caller's bytes are his own


def test_bools_are_bytes_as_dense_models_of_persia_expect_them(deployment: Deployment) -> None:
    with InferCtx([deployment.middleware.address]) as context:
        context.wait_for_serving()
        flags = NonIDTypeFeature(np.array([[True], [False]]))
        ids = IDTypeFeature("user_id", [np.array([1], np.uint64)] * 2)
        got = context.get_embedding_from_data(PersiaBatch([ids], non_id_type_features=[flags], requires_grad=False))
        assert got.features.dense[0].dtype == torch.uint8


def test_a_context_may_come_before_its_servers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    with InferCtx([f"127.0.0.1:{port}"], embedding_config=CONFIG) as context:
        with pytest.raises(DeadlineExceeded, match=rf"still waiting for .*127\.0\.0\.1:{port}"):
            context.wait_for_serving(0.3)
        with pytest.raises(Unavailable, match=rf"127\.0\.0\.1:{port}"):
            context.get_embedding_from_bytes(BATCH, timeout=0.3)
        arguments = ["--port", str(port)]
        with EmbeddingServer(tmp_path, CONFIG, checkpoint=MIX / "ckpt", arguments=arguments):
            context.wait_for_serving(PATIENCE)
            assert_golden(context)


def test_waiting_says_what_for(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "persia.ctx")
    with InferCtx([f"127.0.0.1:{free_port()}"]) as context, pytest.raises(DeadlineExceeded):
        context.wait_for_serving(1.0, say_every=0.1)
    assert re.search(r"waiting for .*127\.0\.0\.1", caplog.text)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"addresses": "127.0.0.1:1"}, InvalidInput, "expected a list of `host:port`, got '127.0.0.1:1'"),
        ({"addresses": []}, InvalidInput, "expected a list of `host:port`"),
        ({"addresses": ["localhost"]}, InvalidInput, "expected `host:port`, got `localhost`"),
        ({"addresses": [["127.0.0.1:1"], []]}, InvalidInput, "expected at least one replica"),
        ({"addresses": ["127.0.0.1:1"], "device_id": 99}, InvalidInput, "GPUs that there are, from 0, got 99"),
        ({"addresses": ["127.0.0.1:1"], "timeout": -1.0}, InvalidInput, "expected a timeout over 0 seconds"),
        ({"addresses": [["127.0.0.1:1"]]}, ConfigError, "PERSIA_EMBEDDING_CONFIG"),
        ({"addresses": ["127.0.0.1:1"], "global_config": "/nowhere/global.yaml"}, FileNotFoundError, "/nowhere/global.yaml"),
    ],
)
def test_wrong_arguments(arguments: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        InferCtx(**arguments)  # type: ignore[arg-type]


def test_a_closed_context_says_so(deployment: Deployment) -> None:
    context = InferCtx([deployment.middleware.address])
    context.get_embedding_from_bytes(BATCH)
    context.close()
    context.close()
    with pytest.raises(InvalidInput, match="the context was closed"):
        context.get_embedding_from_bytes(BATCH)


def test_a_context_that_is_forgotten_leaves_no_thread(deployment: Deployment) -> None:
    before = set(threading.enumerate())
    context = InferCtx([deployment.middleware.address])
    context.get_embedding_from_bytes(BATCH)
    watching = [thread for thread in threading.enumerate() if thread not in before and thread.name.startswith("probe")]
    assert watching
    del context
    gc.collect()
    for thread in watching:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_several_contexts_and_threads(deployment: Deployment) -> None:
    contexts = [
        InferCtx([deployment.middleware.address]),
        InferCtx(deployment.addresses, embedding_config=CONFIG),
        InferCtx([deployment.middleware.address]),
    ]
    errors: list[BaseException] = []

    def look_up(context: InferCtx) -> None:
        try:
            for _ in range(30):
                assert_golden(context)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=look_up, args=(context,)) for context in contexts for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for context in contexts:
        context.close()
    assert errors == []


def test_an_unclosed_context_lets_its_process_end(deployment: Deployment) -> None:
    program = (
        "import sys; from persia.ctx import InferCtx\n"
        "InferCtx([sys.argv[1]]).wait_for_serving(60)\n"
        "context = InferCtx([sys.argv[1]]); context.wait_for_serving(60); print('served')"
    )
    command = [sys.executable, "-c", program, deployment.middleware.address]
    run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert (run.returncode, run.stdout, run.stderr) == (0, "served\n", "")
