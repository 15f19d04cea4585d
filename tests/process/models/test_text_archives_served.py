"""Archives that `persia-launcher archive --transformers` wrote, behind TorchServe."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from persia.client.text import HttpTextClient
from persia.text.tokenizer import Text
from persia.torchserve.archive.text.answers import load_text_model
from tests.support.text_models import pack
from tests.support.text_serving import DENSE, SOURCES
from tests.support.torchserves import TorchServeRun

pytestmark = pytest.mark.whole_way

CASES = json.loads((DENSE / "logits.json").read_text())["models"]["bert_seq"]
TEXTS = ["Bloomberg has decided to publish a new report", "herbal tea", "it is a nice day " * 9, "naïve café"] * 2
TOGETHER = ["--batch-size", "8", "--max-batch-delay", "300"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("store")
    folder = SOURCES["sequence_classification"]
    for name, options in (("plain", []), ("int8", ["--quantize", "dynamic"])):
        run = pack(store, folder, *TOGETHER, *options, name=name)
        assert run.exit_code == 0, run.output
    return store


@pytest.fixture(scope="module")
def served(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServeRun]:
    """Its workers find no hub, and nothing that was loaded from one before."""
    directory = tmp_path_factory.mktemp("ts")
    arguments = ["--models", "all", "--no-tokens", "--http-port", "0", "--state", str(directory / "s")]
    environment = {**os.environ, "HF_HOME": str(directory / "empty"), "HTTPS_PROXY": "http://127.0.0.1:1"}
    with TorchServeRun(directory, store, arguments, environment) as run:
        yield run.wait_ready()


def client_of(served: TorchServeRun, model: str) -> HttpTextClient:
    port = served.said(r"inference over HTTP on port (\d+)")[1]
    return HttpTextClient(model, f"127.0.0.1:{port}", timeout=60)


def test_the_folder_answers_over_http(served: TorchServeRun) -> None:
    client = client_of(served, "plain")
    for case in CASES[1::2]:
        best = int(np.argmax(case["logits_ids_mask"]))
        assert client.predict(case["text"][0]) == f"LABEL_{best}"


@pytest.mark.parametrize("model", ["plain", "int8"])
def test_requests_that_come_together_get_the_answers_of_lone_ones(served: TorchServeRun, store: Path, model: str) -> None:
    client = client_of(served, model)

    def logits_of(text: str) -> list[float]:
        answer = json.loads(client.predict({"text": text, "format": "logits"}))
        return [entry["logit"] for entry in answer["scores"]]

    alone = {text: logits_of(text) for text in TEXTS}
    with ThreadPoolExecutor(len(TEXTS)) as threads:
        assert list(threads.map(logits_of, TEXTS)) == [alone[text] for text in TEXTS]
    for outcome in load_text_model(store / f"{model}-1.0.mar").answer([Text(text) for text in alone]):
        assert alone[outcome.text.first] == pytest.approx(outcome.numbers[0].tolist(), abs=1e-5)
