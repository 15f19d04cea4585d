"""The example of a handler of one's own, packed by TorchServe's tool and served."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ts.torch_handler.base_handler import BaseHandler

from persia.client.text import HttpTextClient, TextClient
from persia.errors import InvalidInput
from tests.support.places import ROOT
from tests.support.servers import PATIENCE
from tests.support.torchserves import LAUNCHER, TorchServeRun

EXAMPLE = ROOT / "examples" / "custom_handler.py"

pytestmark = [pytest.mark.whole_way, pytest.mark.filterwarnings("ignore:.torch.jit.:DeprecationWarning")]


class Skeleton(BaseHandler):  # type: ignore[misc]  # TorchServe has no types
    """The guide's own, with the steps that it leaves open."""

    def initialize(self, ctx: Any) -> None:
        model_dir = ctx.system_properties.get("model_dir")
        serialized_file = ctx.manifest["model"]["serializedFile"]
        self.model = torch.jit.load(str(Path(model_dir) / serialized_file), map_location=self.device)

    def preprocess(self, requests: Any) -> Any:
        return torch.ones(len(requests), 3)

    def inference(self, input_batch: Any) -> Any:
        return self.model(input_batch)

    def handle(self, data: Any, context: Any) -> Any:
        data_preprocess = self.preprocess(data)
        data_inference = self.inference(data_preprocess)
        data_postprocess = self.data_postprocess(data_inference)
        return data_postprocess


def test_the_guides_skeleton_fails_as_the_document_says(tmp_path: Path) -> None:
    torch.jit.script(torch.nn.Linear(3, 2)).save(str(tmp_path / "model.pt"))
    handler, manifest = Skeleton(), {"model": {"serializedFile": "model.pt"}}
    handler.initialize(SimpleNamespace(system_properties={"model_dir": str(tmp_path)}, manifest=manifest))
    assert handler.device is None and handler.model.training
    with pytest.raises(AttributeError) as caught:
        handler.handle([{}], None)
    page = (ROOT / "docs" / "bert-in-production.md").read_text()
    assert str(caught.value).replace("Skeleton", "CustomHandler") in page


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> torch.nn.Module:
    return torch.nn.Linear(3, 2)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, model: torch.nn.Module) -> Iterator[TorchServeRun]:
    directory = tmp_path_factory.mktemp("custom")
    store = directory / "store"
    store.mkdir()
    torch.jit.script(model).save(str(directory / "model.pt"))
    (directory / "index_to_name.json").write_text('{"0": "no", "1": "yes"}')
    (directory / "model-config.yaml").write_text("minWorkers: 1\nmaxWorkers: 1\nbatchSize: 3\nmaxBatchDelay: 60000\n")
    (shown,) = re.findall(r"torch-model-archiver (.*?)--export-path", EXAMPLE.read_text(), re.DOTALL)
    for name, options in {"mine": [], "together": ["--config-file", "model-config.yaml"]}.items():
        words = [word for word in shown.replace("\\", "").split() if word != "examples/custom_handler.py"]
        words[words.index("mine")] = name
        words.insert(words.index("--handler") + 1, str(EXAMPLE))
        archiver = LAUNCHER.with_name("torch-model-archiver")
        subprocess.run([archiver, *words, *options, "--export-path", str(store)], cwd=directory, check=True)
    arguments = ["--models", "mine.mar,together.mar", "--no-tokens", "--http-port", "0"]
    with TorchServeRun(directory, store, arguments) as run:
        yield run.wait_ready()


def http(run: TorchServeRun, model: str) -> HttpTextClient:
    port = run.said(r"inference over HTTP on port (\d+)")[1]
    return HttpTextClient(model, f"127.0.0.1:{port}", timeout=PATIENCE)


def test_it_answers_whichever_way_a_request_comes(served: TorchServeRun, model: torch.nn.Module) -> None:
    features = [0.5, 2.0, 1.5]
    scores = model(torch.tensor(features)).detach().softmax(0)
    with TextClient("mine", served.address, timeout=PATIENCE) as grpc_client:
        answers = [
            client.predict(request)
            for client in (grpc_client, http(served, "mine"))
            for request in (features, {"features": features}, json.dumps(features))
        ]
    assert len(set(answers)) == 1
    answer = json.loads(answers[0])
    assert answer["label"] == ["no", "yes"][int(scores.argmax())]
    assert answer["score"] == pytest.approx(float(scores.max()))


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ("no JSON", "expected a JSON list of numbers"),
        ({"numbers": [1]}, "expected a JSON list of numbers"),
        ([[1, 2, 3]], "got one of the shape"),
        ([], "got one of the shape"),
        ([1, 2], "the model takes no 2 numbers"),
    ],
)
def test_what_is_wrong_is_the_callers_fault(served: TorchServeRun, request_: object, message: str) -> None:
    with TextClient("mine", served.address, timeout=PATIENCE) as over_grpc:
        for client in (over_grpc, http(served, "mine")):
            with pytest.raises(InvalidInput, match=message):
                client.predict(request_)


def test_one_that_is_wrong_does_not_fail_the_others(served: TorchServeRun) -> None:
    client = http(served, "together")

    def ask(request: list[float]) -> str | InvalidInput:
        try:
            return client.predict(request)
        except InvalidInput as error:
            return error

    with ThreadPoolExecutor(3) as pool:
        first, wrong, last = pool.map(ask, ([1, 2, 3], [1], [1, 2, 3]))
    assert isinstance(wrong, InvalidInput) and "the model takes no 1 numbers" in str(wrong)
    assert first == last and "label" in str(first)
