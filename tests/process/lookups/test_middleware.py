"""A middleware as its users meet it: a process with a port, whose answers, errors and health are to be relied on."""

from __future__ import annotations

import functools
import random
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from persia import _core
from persia.batch import IDTypeFeature, Label, PersiaBatch
from persia.ctx import InferCtx
from persia.errors import FeatureError, InvalidInput, PersiaError, TooLarge
from persia.v1 import middleware_pb2 as pb
from tests.support.golden import GOLDEN, golden
from tests.support.middlewares import Deployment, Middleware
from tests.support.servers import PATIENCE, EmbeddingServer, wait_until

MIX = GOLDEN / "mix"
CONFIG = MIX / "embedding_config.yml"
BATCH = (MIX / "golden" / "batch16_0.bin").read_bytes()
SERVICE = "persia.v1.Middleware"


def forward(deployment: Deployment, *, batch: bytes = b"", ids: bytes = b"") -> pb.ForwardResponse:
    response: pb.ForwardResponse = deployment.middleware.stub.Forward(pb.ForwardRequest(batch=batch, ids=ids), timeout=PATIENCE)
    return response


def test_its_status_names_every_shard(deployment: Deployment) -> None:
    status = deployment.middleware.status()
    assert status.ready and status.state == "serving"
    assert [shard.shard_index for shard in status.shards] == [0, 1]
    for shard, server in zip(status.shards, deployment.shards, strict=True):
        (replica,) = shard.replicas
        assert (replica.address, replica.ready, replica.state) == (server.address, True, "serving")
        assert replica.rows == server.status().rows > 0


def is_serving(stub: health_pb2_grpc.HealthStub, request: health_pb2.HealthCheckRequest) -> bool:
    return bool(stub.Check(request, timeout=PATIENCE).status == health_pb2.HealthCheckResponse.SERVING)


def test_health_and_reflection(deployment: Deployment) -> None:
    stub = health_pb2_grpc.HealthStub(deployment.middleware.channel)
    for service in ("", SERVICE):
        request = health_pb2.HealthCheckRequest(service=service)
        wait_until(functools.partial(is_serving, stub, request), f"{service!r} is serving")
    question = reflection_pb2.ServerReflectionRequest(list_services="")
    listed = reflection_pb2_grpc.ServerReflectionStub(deployment.middleware.channel).ServerReflectionInfo(iter([question]))
    assert SERVICE in {service.name for service in next(listed).list_services_response.service}


def test_metrics(deployment: Deployment) -> None:
    unseen = PersiaBatch([IDTypeFeature("user_id", [np.array([2**63 + 5], np.uint64)])], requires_grad=False).to_bytes()
    forward(deployment, batch=unseen)
    with pytest.raises(grpc.RpcError):
        forward(deployment, batch=b"no batch")
    url = re.search(r"metrics on (\S+)", deployment.middleware.log())
    assert url is not None
    with urllib.request.urlopen(url[1], timeout=PATIENCE) as response:
        text = response.read().decode()

    def value(name: str) -> float:
        found = re.search(rf"^{re.escape(name)}\S* ([\d.e+]+)$", text, re.MULTILINE)
        assert found is not None, f"{name} is not in\n{text}"
        return float(found[1])

    assert value("persia_forward_seconds_count") >= 2
    assert value("persia_forward_shards_seconds_count") >= 1
    assert value("persia_forward_absent_total") >= 1
    assert value('persia_forward_errors_total{code="INVALID_ARGUMENT"') >= 1
    assert len(re.findall(r"^persia_shard_replica_usable\{.*\} 1\.0$", text, re.MULTILINE)) == 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "expected either a batch or its ids, got neither"),
        ({"batch": BATCH, "ids": b"x"}, "expected either a batch or its ids, got both"),
        ({"batch": b"\1\0\0"}, "at byte 0: expected 4 bytes of dense tensors, got 3 bytes before the end"),
        ({"ids": b"PSI3"}, "at byte 0: expected an id part, which begins with PSI1"),
    ],
)
def test_what_is_no_batch(deployment: Deployment, fields: dict[str, bytes], message: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        forward(deployment, **fields)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert message in str(caught.value.details())


HOSTILE = {
    "wrong name": (
        PersiaBatch([IDTypeFeature("nobody", [np.array([1], np.uint64)])], requires_grad=False).to_bytes(),
        "'nobody': the embedding config has no slot of this name",
    ),
    "labels only": (
        bytes.fromhex("00000000 00000000 01000000 00000000 02000000 01000000 0000803f")
        + bytes.fromhex("01000000 0100000000000000 01000000 0100000000000000 00 00000000 00 00 00"),
        "the batch has no id features",
    ),
    "remote reference": (bytes.fromhex("00000000 02000000"), "a reference to features on another server (tag 2)"),
    "tensor on a GPU": (
        bytes.fromhex(
            "01000000 00000000 02000000 01000000 0000803f 01000000 0100000000000000 01000000 0100000000000000 00 01000000"
        ),
        "a tensor on the CPU (device 0)",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_batches_are_told_what_is_wrong(contexts: list[InferCtx], deployment: Deployment, name: str) -> None:
    data, message = HOSTILE[name]
    for context in contexts:
        with pytest.raises(InvalidInput, match=re.escape(message)):
            context.get_embedding_from_bytes(data)
        assert context.get_embedding_from_bytes(BATCH).lookup.missing_shards == []
    with pytest.raises(grpc.RpcError) as caught:
        forward(deployment, batch=data)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert message in str(caught.value.details())


def test_tensors_over_the_limit_are_refused(contexts: list[InferCtx], tmp_path: Path, deployment: Deployment) -> None:
    """A batch of few bytes whose tensors would fill the memory."""
    empty = [np.empty(0, np.uint64)] * 65_535
    config = tmp_path / "wide.yml"
    config.write_text("{slots_config: {f: {dim: 16384}}}")
    with InferCtx(deployment.addresses, embedding_config=config) as context:
        context.wait_for_serving(PATIENCE)
        with pytest.raises(TooLarge):
            context.get_embedding_from_bytes(PersiaBatch([IDTypeFeature("f", empty)], requires_grad=False).to_bytes())


def test_every_mutation_ends_in_tensors_or_a_typed_error(deployment: Deployment, contexts: list[InferCtx]) -> None:
    """And the process lives on, with its memory as it was."""
    rng = random.Random(11)
    seeds = [path.read_bytes() for path in golden("mix/golden/*.bin") if path.stat().st_size < 50_000]
    memory = []
    outcomes = {"answered": 0, "refused": 0}
    for turn in range(2000):
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 3)):
            place = rng.randrange(len(data))
            data[place : place + rng.choice([1, 1, 4])] = rng.choice([rng.randbytes(1), rng.randbytes(4), b"\xff" * 4])
        try:
            if turn % 2:
                contexts[0].get_embedding_from_bytes(bytes(data))
            else:  # what a client sends that does not look at its batch
                forward(deployment, batch=bytes(data))
            outcomes["answered"] += 1
        except (InvalidInput, TooLarge):
            outcomes["refused"] += 1
        except grpc.RpcError as error:
            assert error.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED), error
            outcomes["refused"] += 1
        if turn in (500, 1999):
            memory.append(resident(deployment.middleware.process.pid))
    assert min(outcomes.values()) > 100, outcomes
    assert memory[1] < memory[0] + (32 << 20)
    assert contexts[0].get_embedding_from_bytes(BATCH).lookup.missing_shards == []


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def test_health_follows_the_shards(tmp_path: Path) -> None:
    with (
        EmbeddingServer(tmp_path, CONFIG, checkpoint=MIX / "ckpt") as shard,
        Middleware(tmp_path, CONFIG, [shard.address]) as middleware,
    ):
        middleware.wait_ready()
        health = health_pb2_grpc.HealthStub(middleware.channel)

        rows = middleware.status().shards[0].replicas[0].rows
        assert rows > 0

        serving = functools.partial(is_serving, health, health_pb2.HealthCheckRequest(service=SERVICE))
        wait_until(serving, "health says SERVING")
        shard.process.send_signal(signal.SIGKILL)
        shard.process.wait()
        wait_until(lambda: not serving(), "health says NOT_SERVING")
        status = middleware.status()
        assert not status.ready and "shard 0 of 1" in status.state and shard_address(status) in status.state
        assert status.shards[0].replicas[0].rows == rows  # as it said last
        with pytest.raises(grpc.RpcError) as caught:
            middleware.stub.Forward(pb.ForwardRequest(batch=BATCH), timeout=PATIENCE)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert "shard 0 of 1" in str(caught.value.details())


def shard_address(status: pb.MiddlewareStatusResponse) -> str:
    return str(status.shards[0].replicas[0].address)


def test_a_signal_stops_it_and_frees_the_port(tmp_path: Path, deployment: Deployment) -> None:
    with Middleware(tmp_path, CONFIG, deployment.addresses) as middleware:
        middleware.wait_ready()
        with middleware.context() as context:
            context.get_embedding_from_bytes(BATCH)
            assert middleware.terminate() == 0
            with pytest.raises(PersiaError, match="the middleware"):
                context.get_embedding_from_bytes(BATCH, timeout=5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "PERSIA_GLOBAL_CONFIG"),
        (["--global-config", "/nowhere"], "/nowhere"),
        (["--global-config", "EMPTY"], "expected embedding servers in `common_config.infer_config.servers`"),
        (["--global-config", "GOOD"], "PERSIA_EMBEDDING_CONFIG"),
        (["--global-config", "GOOD", "--embedding-config", "/nowhere"], "/nowhere"),
        (
            ["--global-config", "GOOD", "--embedding-config", str(CONFIG), "--port", "TAKEN"],
            "expected a free address to listen on",
        ),
    ],
)
def test_a_wrong_start_ends_at_once_with_a_line(
    tmp_path: Path, deployment: Deployment, arguments: list[str], message: str
) -> None:
    (tmp_path / "empty.yml").write_text("{}")
    names = {
        "EMPTY": str(tmp_path / "empty.yml"),
        "GOOD": str(deployment.middleware.global_config),
        "TAKEN": deployment.middleware.address.rpartition(":")[2],
    }
    # An embedding config as well, where it is not what the case is about.
    if "EMPTY" in arguments:
        arguments = [*arguments, "--embedding-config", str(CONFIG)]
    command = [sys.executable, "-m", "persia.middleware", *(names.get(argument, argument) for argument in arguments)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert run.returncode == 2
    assert message in run.stderr
    assert "Traceback" not in run.stderr


def test_a_shape_is_what_the_config_says(contexts: list[InferCtx]) -> None:
    """Two features of different batch sizes are the sender's error, not a tensor of zeros."""
    batch = _core.BatchEncoder()
    batch.add_id_lists("user_id", [np.array([1], np.uint64)])
    batch.add_id_lists("clicked", [np.array([1], np.uint64)] * 2)
    for context in contexts:
        with pytest.raises((FeatureError, InvalidInput), match="'clicked': expected a batch of 1 samples"):
            context.get_embedding_from_bytes(batch.to_bytes())


def test_labels_come_back(contexts: list[InferCtx]) -> None:
    batch = PersiaBatch(
        [IDTypeFeature("user_id", [np.array([1], np.uint64)] * 2)],
        labels=[Label(np.array([[1.0], [0.0]], np.float32))],
        requires_grad=False,
    )
    for context in contexts:
        dense, _, labels = context.prepare_features(context.get_embedding_from_data(batch))
        assert dense == []
        assert labels is not None
        assert labels[0].tolist() == [[1.0], [0.0]]
