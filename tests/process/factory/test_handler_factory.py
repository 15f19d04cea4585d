"""The guide's model of handler_factory, packed by its own commands and served by TorchServe."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode

import grpc
import numpy as np
import pytest
import torch

from persia.torchserve.schema import new_message, predictions_call
from tests.support.factory_models import (
    HANDLER,
    build_guide_archive,
    decoded,
    expected_answer,
    form,
    guide_model,
    write_guide_files,
)
from tests.support.places import ROOT
from tests.support.servers import PATIENCE
from tests.support.signed_models import Answer, post
from tests.support.torchserves import TorchServeRun

pytestmark = pytest.mark.whole_way

FORM = "application/x-www-form-urlencoded"
SAMPLE = [0.1, -0.2, 0.3, 0.4, 0.5, -0.6]
BATCH = 8
# Imports before the handler's own, which only an archive with unpacked files can have; and without functions.
BARE = """
from base_handler import handler_factory
from model import MyNetwork

handler = handler_factory(MyNetwork, in_dim=6, layer_dims=[8, 8])
handler.__module__ = __name__
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServeRun]:
    """The guide's model alone, and in batches; and a bare one, whose archive is made by TorchServe's own tool."""
    directory = tmp_path_factory.mktemp("factory")
    store = directory / "store"
    store.mkdir()
    models = [build_guide_archive(store, "guide", write_guide_files(directory / "guide", batchSize=1))]
    files = write_guide_files(directory / "batched", batchSize=BATCH, maxBatchDelay=20_000)
    models.append(build_guide_archive(store, "batched", files))
    files = write_guide_files(directory / "bare", BARE, batchSize=1)
    models.append(archive_of_the_archiver(store, "bare", files))
    models.append(build_guide_archive(store, "scores", write_page_files(directory / "scores")))
    with TorchServeRun(directory, store, ["--models", ",".join(models), "--no-tokens", "--http-port", "0"]) as run:
        yield run.wait_ready()


def archive_of_the_archiver(store: Path, name: str, files: dict[str, Path]) -> str:
    options = {"handler": "model_file", "serialized-file": "checkpoint_file", "config-file": "config_file"}
    options |= {"requirements-file": "requirements_file", "extra-files": "extra_files"}
    arguments = [f"--{option}={files[key]}" for option, key in options.items()]
    arguments += [f"--model-name={name}", "--version=1.0", f"--export-path={store}", "--runtime=python3"]
    base_handler = ROOT / "base" / "base_handler.py"
    archiver = Path(sys.executable).with_name("torch-model-archiver")
    subprocess.run([archiver, *arguments, f"--model-file={base_handler}"], check=True)
    return f"{name}.mar"


def ask(run: TorchServeRun, model: str, sample: object = SAMPLE) -> Answer:
    return post(run, model, form(json.dumps(sample)), FORM)


def test_the_guides_client_gets_its_answer(served: TorchServeRun) -> None:
    answer = ask(served, "guide")
    assert answer.status == 200 and "content-type" not in answer.headers
    score, *rest = decoded(answer.body)
    want, *others = expected_answer(SAMPLE)
    assert rest == others and abs(score - want) < 1e-6


def test_an_archive_of_the_archiver_unpacks_what_it_imports_after_the_handlers_own(served: TorchServeRun) -> None:
    (text,) = json.loads(ask(served, "bare").body).values()
    assert "torch._utils._rebuild_tensor_v2" in text  # as the original answers without postprocess_function
    answer = post(served, "bare", form(json.dumps(SAMPLE)), FORM, Accept="application/json")
    assert answer.headers["content-type"] == "application/json"
    np.testing.assert_allclose(json.loads(answer.body)["output"], scores_of(SAMPLE), rtol=1e-6)


def scores_of(sample: list[float]) -> list[float]:
    with torch.inference_mode():
        scores: list[float] = guide_model()(torch.tensor([sample]))[0].tolist()
    return scores


def test_each_request_of_a_batch_gets_what_it_gets_alone(served: TorchServeRun) -> None:
    samples: list[object] = [[value * i for value in SAMPLE] for i in range(BATCH)]
    hostile = json.dumps({"py/reduce": [{"py/function": "os.mkdir"}, {"py/tuple": ["/tmp/persia-was-here"]}]})
    bodies = [form(json.dumps(sample)) for sample in samples]
    bodies[1] = form(hostile)
    bodies[3] = form(json.dumps(SAMPLE[:4]))
    bodies[5] = form("no JSON")
    with ThreadPoolExecutor(BATCH) as pool:
        answers = list(pool.map(lambda body: post(served, "batched", body, FORM), bodies))
    assert [answer.status for answer in answers] == [400 if i in (1, 3, 5) else 200 for i in range(BATCH)]
    for i in (0, 2, 4, 6, 7):
        alone = decoded(post(served, "guide", bodies[i], FORM).body)
        score, *rest = decoded(answers[i].body)
        assert rest == [*alone[1:]] and abs(score - alone[0]) < 1e-6
    messages = [json.loads(answers[i].body)["message"] for i in (1, 3, 5)]
    assert "got py/reduce" in messages[0] and "the model failed" in messages[1] and "got b'no JSON'" in messages[2]
    assert not Path("/tmp/persia-was-here").exists()


def npy(array: object) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.asarray(array))
    return stream.getvalue()


def saved(tensor: torch.Tensor) -> bytes:
    stream = io.BytesIO()
    torch.save(tensor, stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (json.dumps(SAMPLE).encode(), "application/json"),
        (json.dumps({"data": SAMPLE}).encode(), "application/json"),
        (json.dumps({"data": json.dumps(SAMPLE)}).encode(), "application/json"),
        (json.dumps(SAMPLE).encode(), "text/plain"),
        (json.dumps({"py/tuple": SAMPLE}).encode(), "application/octet-stream"),
        (npy(np.array(SAMPLE, np.float32)), "application/octet-stream"),
        (saved(torch.tensor(SAMPLE)), "application/octet-stream"),
    ],
    ids=["json", "data", "text in data", "text", "bytes", "npy", "torch"],
)
@pytest.mark.filterwarnings("ignore:To copy construct from a tensor")
def test_data_may_come_as_a_body_of_any_kind(served: TorchServeRun, body: bytes, kind: str) -> None:
    answer = post(served, "guide", body, kind)
    assert answer.status == 200, answer.body
    assert abs(decoded(answer.body)[0] - expected_answer(SAMPLE)[0]) < 1e-6


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "expected a form field named data, or a body, got nothing"),
        (urlencode({"dato": "1"}).encode(), "got the fields 'dato'"),
        (form("[[1], [2, 3]]"), "preprocess_function failed for this request: ValueError: expected sequence"),
        (form('{"py/object": "os.system"}'), "got py/object of something else, which this server never makes"),
        (form('"\\ud800"'), "preprocess_function failed"),
        (b"data=%ff%fe", "expected JSON, or the text of jsonpickle.encode"),
    ],
    ids=["empty", "field", "ragged", "object", "text", "bytes"],
)
def test_a_bad_request_is_told_what_is_wrong(served: TorchServeRun, body: bytes, message: str) -> None:
    answer = post(served, "guide", body, FORM)
    assert answer.status == 400 and message in json.loads(answer.body)["message"], answer.body
    assert ask(served, "guide").status == 200


def write_page_files(directory: Path) -> dict[str, Path]:
    """The model of our own page, letter by letter."""
    page = (ROOT / "docs" / "handler-factory.md").read_text()
    source, handler = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (config,) = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    files = write_guide_files(directory, handler, source)
    files["config_file"].write_text(config)
    torch.save(torch.nn.ModuleDict({"linear": torch.nn.Linear(3, 2)}).state_dict(), files["checkpoint_file"])
    return files


def test_the_model_of_the_page_answers(served: TorchServeRun) -> None:
    (text,) = json.loads(ask(served, "scores", [1.0, 2.0, 3.0]).body).values()
    score, word = json.loads(text)["py/tuple"]
    assert 0 < score < 1 and word == "high"


def test_grpc_has_the_same_input_and_answer(served: TorchServeRun) -> None:
    with grpc.insecure_channel(served.address) as channel:
        ask = predictions_call(channel)

        def answer(text: str) -> bytes:
            request = new_message("PredictionsRequest", model_name="guide", input={"data": text.encode()})
            prediction: bytes = ask(request, timeout=PATIENCE).prediction
            return prediction

        assert abs(decoded(answer(json.dumps(SAMPLE)))[0] - expected_answer(SAMPLE)[0]) < 1e-6
        with pytest.raises(grpc.RpcError, match="got py/type of something else") as caught:
            answer('{"py/type": "os.system"}')
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_the_steps_before_the_model_ran_once(served: TorchServeRun) -> None:
    assert HANDLER.count("installed.txt") == 1
    (worker, *_) = [Path(f"/proc/{pid}/cwd") for pid in served.workers() if (Path(f"/proc/{pid}/cwd") / "names.txt").exists()]
    assert (worker / "installed.txt").read_text() == "installed\n"
    assert (worker / "model.py").exists()
