"""Model servers for tests, each a process of its own, and archives for them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from email.message import Message
from pathlib import Path
from typing import Any, NamedTuple

import grpc

from persia.torchserve.schema import management_call, new_message, open_channel, predictions_call
from tests.support.servers import PATIENCE, wait_until

HANDLERS = Path(__file__).parent / "model_server_handlers"
LAUNCHER = Path(sys.executable).with_name("persia-launcher")


def make_mar(
    store: Path,
    name: str,
    version: str = "1.0",
    handler: Path = HANDLERS / "probe.py",
    config: str | None = None,
    requirements: str | None = None,
) -> str:
    """A new archive in the store, as torch-model-archiver would make it. Returns its name."""
    store.mkdir(parents=True, exist_ok=True)
    model = {"modelName": name, "modelVersion": version, "handler": handler.name}
    path = store / f"{name}-{version}.mar"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(handler, handler.name)
        if config is not None:
            archive.writestr("model-config.yaml", config)
            model["configFile"] = "model-config.yaml"
        if requirements is not None:
            archive.writestr("requirements.txt", requirements)
            model["requirementsFile"] = "requirements.txt"
        archive.writestr(
            "MAR-INF/MANIFEST.json", json.dumps({"runtime": "python", "model": model, "archiverVersion": "0.12.0"})
        )
    return path.name


class Answer(NamedTuple):
    """What came over HTTP."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def dict_of(headers: Message) -> Mapping[str, str]:
    return defaultdict(lambda: "", {name.lower(): value for name, value in headers.items()})


def ask(
    url: str,
    data: bytes | None = None,
    method: str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = PATIENCE,
) -> Answer:
    """Whatever the status is."""
    request = urllib.request.Request(
        url, data=data, method=method, headers={"Content-Type": "application/octet-stream", **(headers or {})}
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return Answer(answer.status, answer.reason, dict_of(answer.headers), answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.reason, dict_of(error.headers), error.read())


class ModelServerRun:
    """`persia-launcher model-server` on free ports. With `with`, it is stopped at the end, and killed if it must."""

    def __init__(
        self,
        directory: Path,
        store: Path,
        *arguments: str,
        workers: int = 1,
        environment: Mapping[str, str] | None = None,
        **properties: object,
    ) -> None:
        """environment: besides that of the tests. properties: keys of config.properties; None: the key is left out."""
        directory.mkdir(parents=True, exist_ok=True)
        self.store = store
        config = directory / "config.properties"
        places: dict[str, object] = {
            "inference_address": "http://127.0.0.1:0",
            "management_address": "http://127.0.0.1:0",
            "grpc_inference_port": 0,
            "grpc_management_port": 0,
            "metrics_address": "http://127.0.0.1:0",
            "disable_token_authorization": "true",
        }
        if "--models" in arguments:
            places["default_workers_per_model"] = workers
        values = {**places, **properties}
        config.write_text("".join(f"{key}={value}\n" for key, value in values.items() if value is not None))
        self.log_path = directory / "server.log"
        command = [str(LAUNCHER), "model-server", "--ts-config", str(config), "--model-store", str(store), *arguments]
        with self.log_path.open("w") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, cwd=directory, env={**os.environ, **(environment or {})}
            )
        try:
            wait_until(
                lambda: "Model server started." in self.log() or self.process.poll() is not None, "the model server starts"
            )
            assert self.process.poll() is None, self.log()
            self.places = dict(re.findall(r'(\w+) listens at ([^\s"]+)', self.log()))
            self._channels = [open_channel(self.places["grpc_inference"]), open_channel(self.places["grpc_management"])]
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise

    def __enter__(self) -> ModelServerRun:
        return self

    def __exit__(self, *_: object) -> None:
        for channel in self._channels:
            channel.close()
        self.stop()

    def stop(self) -> int:
        """Its exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def log(self) -> str:
        return self.log_path.read_text()

    def wait_ready(self) -> None:
        """Until all of its models have their workers."""
        wait_until(lambda: ask(self.inference("ping")).status == 200, "all models are ready")

    def inference(self, path: str) -> str:
        return f"http://{self.places['inference']}/{path}"

    def metrics(self, query: str = "") -> str:
        """The page of metrics."""
        return ask(f"http://{self.places['metrics']}/metrics{query}").body.decode()

    def management(self, path: str) -> str:
        return f"http://{self.places['management']}/{path}"

    def predict(self, model: str, version: str = "", timeout: float = PATIENCE, **inputs: str) -> str:
        """Over gRPC. Raises grpc.RpcError."""
        request = new_message(
            "PredictionsRequest",
            model_name=model,
            model_version=version,
            input={name: value.encode() for name, value in inputs.items()},
        )
        answer = predictions_call(self._channels[0])(request, timeout=timeout)
        return bytes(answer.prediction).decode()

    def failure(self, model: str, **inputs: str) -> tuple[grpc.StatusCode, str]:
        """The code and the words of a prediction that fails."""
        try:
            answer = self.predict(model, "", PATIENCE, **inputs)
        except grpc.RpcError as error:
            return error.code(), error.details() or ""
        raise AssertionError(f"expected a failure, got {answer!r}")

    def manage(self, operation: str, **fields: Any) -> str:
        """Over gRPC. Raises grpc.RpcError."""
        call = management_call(self._channels[1], operation)
        return str(call(new_message(f"{operation}Request", **fields), timeout=PATIENCE).msg)

    def workers(self, model: str) -> Sequence[Mapping[str, Any]]:
        """As described."""
        return list(ask(self.management(f"models/{model}")).json[0]["workers"])
