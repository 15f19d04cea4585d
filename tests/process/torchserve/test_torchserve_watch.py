"""What the launcher notes and tells of models while TorchServe's own answers about them are odd."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from persia.errors import NotFound
from persia.torchserve.management import Management
from persia.torchserve.run.health import Health
from persia.torchserve.run.options import Options
from persia.torchserve.run.process import TorchServe
from persia.torchserve.run.watch import Watch
from persia.torchserve.schema import message_class
from persia.torchserve.wanted import Wanted
from tests.process.torchserve.test_torchserve_health import Response, status
from tests.support.servers import wait_until

NOBODY = 2**22 + 1  # Linux gives no process such a number


def described(name: str, pid: int) -> list[dict[str, Any]]:
    """One version with one worker that is READY, as TorchServe tells it."""
    worker = {"id": "9000", "status": "READY", "pid": pid}
    counts = {"minWorkers": 1, "maxWorkers": 1, "batchSize": 1}
    return [{"modelName": name, "modelVersion": "1.0", "modelUrl": f"{name}.mar", "workers": [worker], **counts}]


class OddTorchServe(grpc.GenericRpcHandler):
    """The management service, which says of models what it is told to."""

    def __init__(self) -> None:
        self.models: dict[str, Any] = {}

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        method = details.method.rpartition("/")[2]

        def answer(request: Any, context: grpc.ServicerContext) -> Any:
            listed = {"models": [{"modelName": name} for name in self.models]}
            said = listed if method == "ListModels" else self.models[request.model_name]
            return message_class("ManagementResponse")(msg=json.dumps(said))

        return grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=message_class(f"{method}Request").FromString,
            response_serializer=message_class("ManagementResponse").SerializeToString,
        )

    @contextmanager
    def listening(self) -> Iterator[int]:
        server = grpc.server(ThreadPoolExecutor(2), handlers=[self])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield port
        finally:
            server.stop(0).wait()


def test_a_model_whose_last_version_has_just_gone_is_not_there() -> None:
    """TorchServe tells no version of it for as long as it has not forgotten its name."""
    odd = OddTorchServe()
    odd.models = {"leaving": [], "stays": described("stays", os.getpid())}
    with odd.listening() as port, Management(f"127.0.0.1:{port}") as management:
        assert [model.name for model in management.list()] == ["stays"]
        with pytest.raises(NotFound, match="leaving"):
            management.describe("leaving")


def test_an_answer_that_nobody_understands_does_not_leave_health_as_it_was(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    odd = OddTorchServe()
    odd.models = {"dead": described("dead", NOBODY), "probe": described("probe", NOBODY)}  # while one is dead, it looks often
    health = Health("127.0.0.1:0")
    address = f"127.0.0.1:{health.port}"
    with odd.listening() as port:
        options = Options(tmp_path, (), management_port=port, tokens=False, model_api=False)
        with Watch(TorchServe(options, tmp_path), Wanted({}), {}, health):
            odd.models["probe"] = described("probe", os.getpid())
            wait_until(lambda: status(address, "probe") == Response.SERVING, "it is looked at")
            odd.models["probe"] = [{"modelName": "probe"}]
            wait_until(lambda: status(address, "probe") == Response.NOT_SERVING, "nobody knows how it is")
            assert "the models that TorchServe has cannot be noted" in caplog.text
            odd.models["probe"] = described("probe", os.getpid())
            wait_until(lambda: status(address, "probe") == Response.SERVING, "it is looked at again")
    health.stop()
