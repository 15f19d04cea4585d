"""The health service of TorchServe's launcher, and clients that go by it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from persia.client.predict import AsyncClient
from persia.errors import PersiaError, Unavailable
from persia.torchserve.run.health import Health
from tests.support.servers import PATIENCE, wait_until
from tests.support.torchserves import TorchServeRun, make_archive

Response = health_pb2.HealthCheckResponse


def status(address: str, service: str = "") -> int:
    with grpc.insecure_channel(address) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        return int(health_pb2_grpc.HealthStub(channel).Check(request, timeout=PATIENCE, wait_for_ready=True).status)


@pytest.fixture
def health() -> Iterator[tuple[Health, str]]:
    """One that says what a test wants."""
    service = Health("127.0.0.1:0")
    yield service, f"127.0.0.1:{service.port}"
    service.stop()


def test_each_model_and_version_is_a_service(health: tuple[Health, str]) -> None:
    service, address = health
    assert status(address) == Response.NOT_SERVING
    service.tell({"a": True, "a/1": True, "b": False})
    found = [status(address, name) for name in ("", "a", "a/1", "b")]
    assert found == [Response.NOT_SERVING, Response.SERVING, Response.SERVING, Response.NOT_SERVING]
    service.tell({"a": True})
    assert [status(address, name) for name in ("", "a", "b")] == [Response.SERVING, Response.SERVING, Response.SERVICE_UNKNOWN]
    service.leave()
    service.tell({"a": True})
    assert status(address) == status(address, "a") == Response.NOT_SERVING


def test_a_port_that_is_taken_is_named(health: tuple[Health, str]) -> None:
    with pytest.raises(Unavailable, match=f"expected a free address for --health-port, got {health[1]}"):
        Health(health[1])


def test_a_worker_that_dies_is_told_until_there_is_another(torchserve: TorchServeRun, store: Path, tmp_path: Path) -> None:
    address = torchserve.said(r"health on (\S+),")[1]
    gate = tmp_path / "gate"
    gate.touch()
    with torchserve.management() as management:
        model = management.register(make_archive(store, "mortal", handler="loads_when_told", persia={"gate": str(gate)}))
        assert status(address, "mortal") == status(address, "mortal/1.0") == Response.SERVING
        gate.unlink()
        os.kill(model.workers[0]["pid"], signal.SIGKILL)
        wait_until(lambda: status(address, "mortal") == Response.NOT_SERVING, "its death is told")
        assert status(address, "probe") == Response.SERVING
        gate.touch()
        # A TorchServe that has not seen its worker die sees it when it asks it, and starts another one.
        with suppress(PersiaError), torchserve.client("mortal") as client:
            client.predict(b"nap 0")
        wait_until(lambda: status(address, "mortal") == Response.SERVING, "it is back")
        management.unregister("mortal")
        assert status(address, "mortal") == Response.SERVICE_UNKNOWN


@pytest.mark.parametrize(("services", "given_up"), [({"probe": False}, True), ({"probe": True}, False), ({}, False)])
def test_a_client_that_knows_of_health_gives_a_call_up_where_no_worker_is(
    torchserve: TorchServeRun, health: tuple[Health, str], services: dict[str, bool], given_up: bool
) -> None:
    """Whoever does not know of the model, or does not answer, says nothing against it."""
    service, address = health
    service.tell(services)
    said = "probe has no worker that is READY"
    with torchserve.client("probe", health_address=address) as client:
        if given_up:
            with pytest.raises(Unavailable, match=said):
                client.predict(b"nap 1.5")
        else:
            assert client.predict(b"nap 0.6").tolist() == [1.0]

    async def ask() -> None:
        token_file = str(torchserve.token_file)
        async with AsyncClient(
            "probe", torchserve.address, token_file=token_file, timeout=PATIENCE, health_address=address
        ) as asking:
            if given_up:
                with pytest.raises(Unavailable, match=said):
                    await asking.predict(b"nap 1.5")
            else:
                assert (await asking.predict(b"nap 0.6")).tolist() == [1.0]

    asyncio.run(ask())


def test_a_launcher_that_does_not_answer_ends_no_call(torchserve: TorchServeRun) -> None:
    with torchserve.client("probe", health_address="127.0.0.1:1") as client:
        assert client.predict(b"nap 0.6").tolist() == [1.0]
