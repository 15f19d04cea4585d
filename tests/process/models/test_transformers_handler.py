"""The example's own commands, and the archives that they make in a real TorchServe: by curl, forms, JSON and gRPC."""

from __future__ import annotations

import http.client
import json
import os
import runpy
import shutil
import subprocess
import sys
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
import torch
from safetensors.torch import load_file

from persia.torchserve.schema import new_message, open_channel, predictions_call
from tests.support.places import ROOT
from tests.support.servers import PATIENCE
from tests.support.text_serving import DENSE, GOLDEN, SEQUENCE_LABELS, SOURCES, model_directory
from tests.support.torchserves import TorchServeRun

pytestmark = pytest.mark.whole_way

EXAMPLE = ROOT / "examples" / "transformers"
# As the guide has them, with the blank after the comma; newer guides archive model.safetensors.
PRETRAINED = (
    "torch-model-archiver --model-name BERTSeqClassification --version 1.0 "
    "--serialized-file Transformer_model/pytorch_model.bin "
    '--handler ./Transformer_handler_generalized.py --extra-files "Transformer_model/config.json,./setup_config.json, '
    './Seq_classification_artifacts/index_to_name.json"'
)
TRACED = (
    "torch-model-archiver --model-name BERTSeqClassification_Torchscript --version 1.0 "
    "--serialized-file Transformer_model/traced_model.pt --handler ./Transformer_handler_generalized.py "
    '--extra-files "./setup_config.json,./Seq_classification_artifacts/index_to_name.json"'
)
WORKSHOP = {"model_name": "pt-jit", "do_lower_case": True, "num_labels": 2, "save_mode": "jit", "max_length": 32, "top_k": 2}
BATCHES = "batchSize: 8\nmaxBatchDelay: 2000\n"


def shell(directory: Path, command: str, **environment: str) -> str:
    """What it prints. The environment has no way to the hub, and no models of it."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    clean = {
        **os.environ,
        "PATH": path,
        "HF_HOME": str(directory / "empty"),
        "HF_ENDPOINT": "http://127.0.0.1:1",
        **environment,
    }
    ran = subprocess.run(command, shell=True, cwd=directory, env=clean, capture_output=True, text=True, timeout=PATIENCE)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def set_up(directory: Path, mode: str, save_mode: str, **settings: Any) -> Path:
    """The example's folder, with a model of one's own named in its settings."""
    shutil.copytree(EXAMPLE, directory, dirs_exist_ok=True)
    setup = json.loads((directory / "setup_config.json").read_text())
    setup |= {"model_name": str(SOURCES[mode]), "mode": mode, "save_mode": save_mode, "max_length": "32", **settings}
    (directory / "setup_config.json").write_text(json.dumps(setup))
    return directory


def archive(store: Path, name: str, directory: Path, weights: str, config: str = "") -> None:
    """Of a folder's files, by TorchServe's tool and our handler under the example's name."""
    (directory / "model-config.yaml").write_text(config)
    files = [path for path in directory.iterdir() if path.name not in (weights, "model-config.yaml", "MAR-INF")]
    handler = EXAMPLE / "Transformer_handler_generalized.py"
    shell(
        directory,
        f"torch-model-archiver --model-name {name} --version 1.0 --serialized-file {weights} --handler {handler} "
        f"--extra-files {','.join(path.name for path in files)} --export-path {store}"
        + (" --config-file model-config.yaml" if config else ""),
    )


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServeRun]:
    work, store = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("models")
    for save_mode, line in (("pretrained", PRETRAINED), ("torchscript", TRACED)):
        directory = set_up(work / save_mode, "sequence_classification", save_mode)
        said = shell(directory, "python Download_Transformer_models.py")
        assert "Transformer_model: config.json" in said
        shell(directory, line)
        for made in directory.glob("*.mar"):
            shutil.move(made, store)
    for name, mode, weights, settings in (
        ("tagging", "token_classification", "traced_model_ids_only.pt", {}),
        ("questions", "question_answering", "traced_model.pt", {"qa_span": "example"}),
        ("workshop", "sequence_classification", "traced_model.pt", WORKSHOP),
    ):
        directory = model_directory(work / name, mode, weights, settings)
        archive(store, name, directory, weights, BATCHES if name == "workshop" else "")
    models = ["my_tc=BERTSeqClassification_Torchscript.mar", "my_sc=BERTSeqClassification.mar"]
    models += [f"{name}={name}.mar" for name in ("tagging", "questions", "workshop")]
    environment = {**os.environ, "HF_HOME": str(work / "empty")}
    arguments = ["--models", ",".join(models), "--no-tokens", "--http-port", "0"]
    with TorchServeRun(work / "run", store, arguments, environment) as run:
        yield run.wait_ready(3 * PATIENCE)


def base(run: TorchServeRun) -> str:
    port = run.said(r"inference over HTTP on port (\d+)")[1]
    return f"127.0.0.1:{port}"


def send(
    run: TorchServeRun, model: str, body: str | bytes, kind: str | None = None, path: str = "predictions", **headers: str
) -> tuple[int, str]:
    """Status and body. Without a kind there is no Content-Type, as of `curl -T`."""
    connection = http.client.HTTPConnection(base(run), timeout=PATIENCE)
    try:
        given = {"Content-Type": kind} if kind else {}
        connection.request("POST", f"/{path}/{model}", body.encode() if isinstance(body, str) else body, {**given, **headers})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def call(run: TorchServeRun, model: str, inputs: Mapping[str, str]) -> str:
    with open_channel(run.address) as channel:
        asked = new_message(
            "PredictionsRequest", model_name=model, input={key: value.encode() for key, value in inputs.items()}
        )
        return str(predictions_call(channel)(asked, timeout=PATIENCE).prediction.decode())


def golden(handler: str, mode: str, save_mode: str) -> list[tuple[str, Any]]:
    (run,) = (
        run
        for run in GOLDEN
        if (run["handler"], run["mode"], run["save_mode"], run["max_length"]) == (handler, mode, save_mode, 32)
    )
    return [(case["bodies"][0], case["answers"][0]) for case in run["cases"] if len(case["bodies"]) == 1]


@pytest.mark.parametrize("model", ["my_tc", "my_sc"])
def test_archives_of_the_guides_commands_answer_as_the_example(served: TorchServeRun, model: str) -> None:
    cases = golden("v011", "sequence_classification", "torchscript" if model == "my_tc" else "pretrained")
    for text, answer in cases:
        assert send(served, model, text) == (200, answer)
    for text, answer in cases[:3]:
        form = urllib.parse.urlencode({"data": text})
        assert send(served, model, form, "application/x-www-form-urlencoded") == (200, answer)
        assert send(served, model, json.dumps({"text": text}), "application/json") == (200, answer)
        assert send(served, model, json.dumps(text), "application/json") == (200, answer)
        assert send(served, model, text, "text/plain; charset=utf-8") == (200, answer)
        for key in ("data", "body", "text"):
            assert call(served, model, {key: text}) == answer


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl, which the guide's command is made of")
def test_the_guides_curl(served: TorchServeRun, tmp_path: Path) -> None:
    command = f"curl -s -X POST http://{base(served)}/predictions/my_tc -T ./Seq_classification_artifacts/sample_text.txt"
    assert shell(EXAMPLE, command) in ("Accepted", "Not Accepted")
    refused = json.loads(shell(tmp_path, f"curl -s http://{base(served)}/predictions/my_tc -d 'a text in a form'"))
    assert refused["code"] == 400
    assert "curl -H 'Content-Type: text/plain' --data-binary" in refused["message"]


def test_tags_and_spans_are_those_of_the_example(served: TorchServeRun) -> None:
    for text, answer in golden("v011", "token_classification", "torchscript"):
        assert send(served, "tagging", text) == (200, json.dumps(answer, indent=2))
    for text, answer in golden("v0120", "question_answering", "torchscript"):
        assert send(served, "questions", text) == (200, answer)
        assert call(served, "questions", {"data": text}) == answer


def test_explanations(served: TorchServeRun) -> None:
    status, explained = send(served, "my_sc", "it is a new virus", path="explanations")
    assert status == 200
    assert json.loads(explained)["words"][1:3] == ["it", "is"]
    status, refused = send(served, "my_tc", "it is a new virus", path="explanations")
    assert status == 400
    assert "TorchScript" in json.loads(refused)["message"]


def test_more_is_said_to_those_who_ask(served: TorchServeRun) -> None:
    status, answer = send(served, "my_sc", "it is a new virus", Accept="application/json")
    assert status == 200
    assert set(json.loads(answer)) == {"label", "score", "token_count", "truncated"}
    assert json.loads(call(served, "my_sc", {"text": "it is a new virus", "format": "json"})) == json.loads(answer)
    instances = json.dumps({"instances": [{"data": "it is a new virus"}]})
    status, answered = send(served, "my_sc:predict", instances, "application/json", path="v1/models")
    assert (status, json.loads(answered)) == (200, {"predictions": [json.loads(answer)["label"]]})


def test_eight_callers_of_whom_one_sends_no_text_and_one_a_long_one(served: TorchServeRun) -> None:
    texts: list[str | bytes] = [text for text, _ in golden("v011", "sequence_classification", "torchscript")[:6]]
    texts[3:3] = [b"\xff\xfe", "report " * 14_300]
    with ThreadPoolExecutor(len(texts)) as threads:
        answers = list(threads.map(lambda text: send(served, "workshop", text), texts))
    assert [status for status, _ in answers] == [200, 200, 200, 400, 200, 200, 200, 200]
    assert "UTF-8" in json.loads(answers[3][1])["message"]
    best = [next(iter(json.loads(answers[i][1])[0])) for i in (0, 1, 2, 5, 6, 7)]
    assert best == [answer for _, answer in golden("v011", "sequence_classification", "torchscript")[:6]]


def test_predictions_and_explanations_may_come_together(served: TorchServeRun) -> None:
    """TorchServe treats a batch as its first request; here the model is one that cannot explain."""
    paths = ["explanations", "predictions"] * 4
    with ThreadPoolExecutor(len(paths)) as threads:
        answers = list(threads.map(lambda path: send(served, "workshop", "it is a new virus", path=path), paths))
    assert [status for status, _ in answers] == [400, 200] * 4
    assert {body for _, body in answers[1::2]} == {send(served, "workshop", "it is a new virus")[1]}


def test_the_workshops_requests_alone_and_together(served: TorchServeRun) -> None:
    requests = [json.dumps({"text": text, "request_id": "test_id"}) for text in ("herbal tea", "it is", "a new virus", "jim")]
    alone = [send(served, "workshop", request, "application/json") for request in requests]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda request: send(served, "workshop", request, "application/json"), requests * 2))
    assert together == alone * 2
    for status, body in alone:
        ((labels),) = json.loads(body)
        assert (status, set(labels)) == (200, set(SEQUENCE_LABELS.values()))


def test_over_grpc_a_bad_request_has_its_status(served: TorchServeRun) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        call(served, "my_sc", {"txt": "jim", "more": "jim"})
    assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "the fields" in str(raised.value.details())


def test_too_many_texts_are_another_status_alone_than_in_company(served: TorchServeRun) -> None:
    """TorchServe makes 507 of the 413 with which a whole batch is refused, and leaves the one of a request of several."""
    many = json.dumps(["jim"] * 257)
    status, answer = send(served, "my_sc", many, "application/json")
    assert status == 507 and "at most 256" in answer
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(send, served, "workshop", text, "application/json") for text in (many, json.dumps("jim"))]
    assert [future.result()[0] for future in both] == [413, 200]


def test_no_text_of_a_request_is_in_the_logs(served: TorchServeRun) -> None:
    secret = "bumblebees"
    assert send(served, "workshop", f"{secret} are nice")[0] == 200
    assert send(served, "workshop", json.dumps({"txt": secret}), "application/json")[0] == 400
    send(served, "my_sc", secret, path="explanations")
    logs = served.log() + "".join(path.read_text(errors="replace") for path in served.logs.glob("*.log"))
    assert "workshop" in logs
    assert secret not in logs


@pytest.fixture
def prepared_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> Callable[[Path, str], str]:
    """What the script says in a directory, of a file of settings, without a process of its own."""

    def prepare(directory: Path, settings: str) -> str:
        monkeypatch.chdir(directory)
        runpy.run_path("Download_Transformer_models.py")["main"](Path(settings))
        captured = capsys.readouterr()
        return captured.out + captured.err + caplog.text

    return prepare


def test_the_script_says_what_is_random_and_what_it_cannot_find(
    tmp_path: Path, prepared_here: Callable[[Path, str], str]
) -> None:
    directory = set_up(tmp_path / "base", "sequence_classification", "pretrained")
    yaml = f"handler:\n  model_name: {DENSE / 'bert_qa'}\n  mode: sequence_classification\n  num_labels: 5\n"
    (directory / "model-config.yaml").write_text(yaml)
    said = prepared_here(directory, "model-config.yaml")
    assert "classifier.bias, classifier.weight" in said and "are random numbers" in said
    assert len(json.loads((directory / "Transformer_model" / "config.json").read_text())["id2label"]) == 5
    nowhere = set_up(tmp_path / "nowhere", "sequence_classification", "pretrained", model_name="no/such-model")
    said = shell(nowhere, "python Download_Transformer_models.py || true", HF_HUB_OFFLINE="1")
    assert "Set model_name to a folder that save_pretrained of the model and of its tokenizer wrote" in said
    assert "Traceback" not in said


def test_the_script_keeps_a_trained_head_of_another_number_of_labels(
    tmp_path: Path, prepared_here: Callable[[Path, str], str]
) -> None:
    directory = set_up(tmp_path, "token_classification", "pretrained", num_labels="2")
    said = prepared_here(directory, "setup_config.json")
    assert "num_labels is 2, but the head of" in said and "was trained for 9 labels: it is kept" in said
    assert "random numbers" not in said
    written = load_file(directory / "Transformer_model" / "model.safetensors")["classifier.weight"]
    assert torch.equal(written, load_file(SOURCES["token_classification"] / "model.safetensors")["classifier.weight"])
