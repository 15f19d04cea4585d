"""Signatures, several outputs, details and the JSON form through a real TorchServe, middleware and shards."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import torch

from persia.batch import NonIDTypeFeature
from persia.client.predict import AsyncClient, Client
from persia.config import load_embedding_config, parse_embedding_config
from persia.errors import InvalidInput
from persia.receipts.receipt import KeptAnswer
from persia.replay.replaying import replayed
from persia.replay.sources import Sources
from persia.torchserve.archive.dense.signature_writing import signature_of
from persia.torchserve.archive.model_config import model_config
from persia.torchserve.archive.writing import write_archive
from persia.torchserve.json_form import request_of_json
from persia.torchserve.schema import new_message, open_channel, predictions_call
from persia.torchserve.scores import decode_scores
from tests.support.golden import arrays_of
from tests.support.middlewares import Deployment
from tests.support.places import ROOT
from tests.support.servers import PATIENCE
from tests.support.signed_models import CONFIG, Two, pack, post, rebuilt
from tests.support.torchserves import MIX, PERSIA_HANDLER, TorchServeRun, assert_close

MODEL = MIX / "ckpt" / "jit_dense.pt"
GOLDEN_BATCH = (MIX / "golden" / "batch16_0.bin").read_bytes()
GOLDEN = arrays_of(MIX / "golden" / "batch16_0.npz")
NAMES = ["user_id", "clicked", "query"]  # a pooled, a raw and a hash stack slot; 101, 7 and 9 may or may not have rows
PAGE = (ROOT / "docs" / "http-json.md").read_text()

pytestmark = [pytest.mark.whole_way, pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")]

FORM: dict[str, Any] = {
    "features": {"user_id": [101, -5], "clicked": [[7, 9, 7], []], "query": ["DE", "FR"]},
    "dense": {"numbers": [[0.5, 2], [1.5, 4]]},
}


def batch_of(form: dict[str, Any]) -> bytes:
    return request_of_json(form)["batch"]


def other_config() -> str:
    """One in which a slot of golden/mix has another dim."""
    return re.sub(r"(bought:\n\s+dim:) 16", r"\1 8", CONFIG.read_text())


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, deployment: Deployment, store: Path) -> Iterator[TorchServeRun]:
    directory = tmp_path_factory.mktemp("served")
    two, sample, golden = directory / "two.pt", directory / "sample.bin", directory / "golden.bin"
    torch.jit.script(Two()).save(str(two))
    sample.write_bytes(batch_of(FORM))
    golden.write_bytes(GOLDEN_BATCH)
    settings = {"extra_features": "drop", "non_finite_scores": "null"}
    options = ["--allow-nan", "--single", "user_id", "--ids", "user_id", "integer"]
    models = [
        pack(store, "signed", MODEL, golden),
        pack(store, "two", two, sample, *options, persia=settings, batchSize=4, maxBatchDelay=100),
        "other-1.0.mar",
    ]
    slots = list(load_embedding_config(CONFIG).slots)
    signature = signature_of(parse_embedding_config(other_config()), slots).to_bytes()
    write_archive(store / models[2], "other", "1.0", MODEL, PERSIA_HANDLER, model_config({}), (), signature)
    environment = {**os.environ, "EMBEDDING_WORKER_SERVICE": deployment.middleware.address}
    arguments = ["--models", ",".join(models), "--no-tokens", "--http-port", "0"]
    with TorchServeRun(directory, store, arguments, environment) as run:
        yield run.wait_ready()


def client_of(run: TorchServeRun, model: str) -> Client:
    """Without a token, which this TorchServe does not want."""
    return Client(model, run.address, timeout=PATIENCE)


def test_features_in_another_order_have_the_same_scores(served: TorchServeRun) -> None:
    names = [feature for feature in load_embedding_config(CONFIG).slots]
    with client_of(served, "signed") as client:
        for order in (names, names[::-1], [*names[3:], *names[:3]]):
            assert_close(client.predict(rebuilt(GOLDEN_BATCH, order)), GOLDEN["out"])
        wide = NonIDTypeFeature(GOLDEN["dense0"].astype(np.float64))
        assert_close(client.predict(rebuilt(GOLDEN_BATCH, dense=[wide])), GOLDEN["out"])


DENSE = GOLDEN["dense0"]


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (rebuilt(GOLDEN_BATCH, ["user_id", "clicked"]), "'bought': expected this feature, which the model takes"),
        (rebuilt(GOLDEN_BATCH, query="qery"), r"'qery': the model takes no such feature.*; did you mean 'query'\?"),
        (rebuilt(GOLDEN_BATCH, dense=[NonIDTypeFeature(DENSE[:, 1:])]), r"expected a shape of \(batch, "),
        (rebuilt(GOLDEN_BATCH, dense=[NonIDTypeFeature(DENSE * np.nan)]), "expected finite numbers, got NaN in sample 0"),
        (
            rebuilt(GOLDEN_BATCH, dense=[NonIDTypeFeature(DENSE), NonIDTypeFeature(DENSE, "label_anonymous")]),
            "'label_anonymous': expected .*, got a label: pass it as a label",
        ),
        (rebuilt(GOLDEN_BATCH, dense=[]), "as dense tensors, got none: 'non_id_type_feature_anonymous' is missing"),
    ],
)
def test_what_the_model_was_not_packed_with_is_refused_by_name(served: TorchServeRun, batch: bytes, message: str) -> None:
    with client_of(served, "signed") as client, pytest.raises(InvalidInput, match=message):
        client.predict(batch)


def test_a_model_of_another_embedding_config_is_not_served(served: TorchServeRun) -> None:
    answer = post(served, "other", GOLDEN_BATCH, "application/octet-stream")
    assert answer.status == 405 and b"bought" in answer.body and b"16" in answer.body, answer.body


def parts_of(scores: Any) -> dict[str, Any]:
    return {name: np.asarray(array).tolist() for name, array in scores.items()}


def test_several_outputs_come_by_name_and_extra_features_are_dropped(served: TorchServeRun) -> None:
    with client_of(served, "two") as client:
        scores = client.predict(batch_of(FORM))
        assert scores["first"].tolist() == [0.5, 1.5] and scores["parts"].shape == (2, 3)
        backwards = {**FORM, "features": dict(reversed(FORM["features"].items()))}
        more = {**FORM, "features": {"bought": [1, 2], **backwards["features"]}}
        for form in (backwards, more):
            assert parts_of(client.predict(batch_of(form))) == parts_of(scores)
    asked = new_message("PredictionsRequest", model_name="two", input={"batch": batch_of(FORM), "format": b"raw"})
    with pytest.raises(grpc.RpcError, match="of a model with the outputs first, parts, got raw"):
        call(served, asked)


def call(run: TorchServeRun, request: Any) -> tuple[bytes, dict[str, str]]:
    """The answer over gRPC, and all metadata that comes with it."""
    channel = open_channel(run.address, grpc)
    try:
        answer, made = predictions_call(channel).with_call(request, timeout=PATIENCE, wait_for_ready=True)
        metadata = [*(made.initial_metadata() or ()), *(made.trailing_metadata() or ())]
        return bytes(answer.prediction), {str(name): str(value) for name, value in metadata}
    finally:
        channel.close()


def test_details_name_versions_and_new_ids(served: TorchServeRun) -> None:
    with client_of(served, "signed") as client:
        scores, details = client.predict(GOLDEN_BATCH, details=True)
        fresh = client.predict(rebuilt(GOLDEN_BATCH, dense=None), details=True).details
    assert_close(scores, GOLDEN["out"])
    assert details is not None and fresh == details
    assert (details.model, details.model_version) == ("signed", "1.0")
    assert details.model_hash == hashlib.sha256(MODEL.read_bytes()).hexdigest()[:16]
    assert len(details.table_versions) == 2 and details.missing_shards == ()

    async def ask() -> Any:
        async with AsyncClient("two", served.address, timeout=PATIENCE) as client:
            return await client.predict(batch_of(FORM), details=True)

    of_two = asyncio.run(ask())
    assert of_two.details.model == "two" and of_two.details.new_ids > 0
    assert of_two.scores["first"].tolist() == [0.5, 1.5]


def test_answers_by_a_signature_and_of_several_outputs_are_made_again(
    served: TorchServeRun, store: Path, deployment: Deployment
) -> None:
    """Of servers without packets, from the checkpoint alone; the one answer has a NaN, and a feature that is dropped."""

    async def ask() -> KeptAnswer:
        async with AsyncClient("two", served.address, timeout=PATIENCE) as client:
            return await client.predict_kept(batch_of({**FORM, "features": {**FORM["features"], "seen": [[1], [2]]}}))

    with client_of(served, "signed") as client:
        kept = [client.predict_kept(GOLDEN_BATCH), client.predict_kept(rebuilt(GOLDEN_BATCH, dense=None)), asyncio.run(ask())]
    assert_close(kept[0].scores, GOLDEN["out"])
    sources = Sources(load_embedding_config(CONFIG), [MIX / "ckpt"], None, store)
    assert [(outcome.problem, outcome.difference) for outcome in replayed(kept, sources)] == [(None, "")] * 3


def test_over_grpc_torchserve_passes_no_header_on_so_details_come_in_the_answer(served: TorchServeRun) -> None:
    form = json.dumps({**FORM, "details": True}).encode()
    answer, metadata = call(served, new_message("PredictionsRequest", model_name="two", input={"json": form}))
    assert not any(name.startswith("x-persia") for name in metadata)
    assert json.loads(answer)["details"]["model_version"] == "1.0"
    npy = {"json": form, "format": b"npy"}  # a key of the input goes before the form
    answer, _ = call(served, new_message("PredictionsRequest", model_name="two", input=npy))
    assert answer.startswith(b"\x93PERSIA\x01")


def test_over_http_details_are_headers(served: TorchServeRun) -> None:
    plain = post(served, "two", FORM)
    told = post(served, "two", FORM, X_Persia_Details="1")
    both = post(served, "two", {**FORM, "details": True})
    assert plain.status == told.status == both.status == 200
    assert not any(name.startswith("x-persia") for name in plain.headers)
    assert told.body == plain.body and plain.headers["content-type"] == "application/json"
    assert told.headers["x-persia-model-version"] == both.headers["x-persia-model-version"] == "1.0"
    assert len(told.headers["x-persia-table-versions"].split(",")) == 2
    assert sum(json.loads(told.headers["x-persia-new-ids"]).values()) > 0
    assert json.loads(both.body)["scores"] == json.loads(plain.body)


def test_scores_that_are_nan_are_null_where_the_archive_says_so(served: TorchServeRun) -> None:
    answer = post(served, "two", {**FORM, "dense": {"numbers": [[None, 2], [1.5, 4]]}})
    assert json.loads(answer.body)["first"] == [None, 1.5]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "something else: Expecting property name"),
        ({"features": {"user_id": [1.5]}}, "$.features.user_id[0]: expected an id"),
        ({**FORM, "features": {"user_id": [1, 2]}}, "'clicked': expected this feature"),
        ({**FORM, "format": "xml"}, "expected one of json, npy, npz, raw as `format`, got b'xml'"),
        ([FORM], "expected a JSON object with `features`, got a list"),
        ([], "expected a JSON object with `features`, got a list"),
        ({}, "$.features is missing: expected an object with `features`"),
        (
            {**FORM, "features": {**FORM["features"], "user_id": ["101", "-5"]}},
            "$.features.user_id[0]: expected a whole number",
        ),
        (
            {**FORM, "features": {**FORM["features"], "user_id": [[1, 2], 3]}},
            "'user_id': expected exactly one id in each sample",
        ),
    ],
)
def test_a_wrong_form_is_the_callers_fault_and_names_the_place(served: TorchServeRun, body: Any, message: str) -> None:
    answer = post(served, "two", body if isinstance(body, bytes) else json.dumps(body).encode())
    assert answer.status == 400 and message in json.loads(answer.body)["message"], answer.body


def test_the_documents_error_is_what_torchserve_says(served: TorchServeRun) -> None:
    (shown,) = re.findall(r'^    (\{"code": .*)$', PAGE, re.MULTILINE)
    answer = post(served, "two", {**FORM, "features": {**FORM["features"], "user_id": [101, True]}})
    assert answer.status == 400
    assert json.loads(shown) == json.loads(answer.body.decode().replace("user_id", "user"))


def test_a_byte_batch_is_a_body_too_and_goes_together_with_others(served: TorchServeRun) -> None:
    """Four at a time, which TorchServe puts together: JSON, a byte batch, the keys `json` and `batch`."""
    batch = batch_of(FORM)
    want = json.loads(post(served, "two", FORM).body)

    def grpc_answer(**inputs: bytes) -> Any:
        return json.loads(call(served, new_message("PredictionsRequest", model_name="two", input=inputs))[0])

    ways = [
        lambda: json.loads(post(served, "two", FORM).body),
        lambda: json.loads(post(served, "two", batch, "application/octet-stream").body),
        lambda: grpc_answer(json=json.dumps(FORM).encode()),
        lambda: grpc_answer(batch=batch),
        lambda: parts_of(decode_scores(post(served, "two", {**FORM, "format": "npz"}).body)),
    ]
    with ThreadPoolExecutor(8) as pool:
        for answer in pool.map(lambda way: way(), ways * 4):
            assert answer == want


LANGUAGES = {
    "sh": ("curl.sh", ["bash"]),
    "python": ("predict.py", [sys.executable, "-W", "error"]),
    "javascript": ("predict.mjs", ["node"]),
    "java": ("Predict.java", ["java"]),
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_documents_example_gets_the_scores(served: TorchServeRun, tmp_path: Path, language: str) -> None:
    """For features of golden/mix, and the port that is free here."""
    file, command = LANGUAGES[language]
    needed = {"sh": "curl", "java": "javac"}.get(language, command[0])
    if shutil.which(needed) is None:
        pytest.skip(f"no {needed}")
    (code,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    port = served.said(r"inference over HTTP on port (\d+)")[1]
    code = code.replace("127.0.0.1:8080/predictions/ctr", f"127.0.0.1:{port}/predictions/two")
    for name, ours in (("user", "user_id"), ("tags", "clicked"), ("country", "query")):
        code = re.sub(rf"\b{name}\b(?=\"?:)", ours, code)
    (tmp_path / file).write_text(code)
    ended = subprocess.run([*command, file], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert ended.returncode == 0, ended.stderr
    with client_of(served, "two") as client:
        assert json.loads(ended.stdout.replace("'", '"')) == parts_of(client.predict(batch_of(FORM)))


def test_the_documents_form_is_that_of_the_examples() -> None:
    (form,) = re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    names = dict(zip(json.loads(form)["features"], NAMES, strict=True))
    features = {names[name]: ids for name, ids in json.loads(form)["features"].items()}
    assert {**json.loads(form), "features": features} == FORM


def test_details_count_each_feature_and_name_the_checkpoint(served: TorchServeRun) -> None:
    with client_of(served, "two") as client:
        details = client.predict(batch_of(FORM), details=True).details
    assert details is not None and details.checkpoint is not None and re.fullmatch("[0-9a-f]{16}", details.checkpoint)
    assert set(details.features) == set(NAMES)
    assert details.features["user_id"].ids == 2 and details.features["clicked"].ids == 2
    assert sum(counts.new_ids for counts in details.features.values()) == details.new_ids > 0
    headers = post(served, "two", FORM, X_Persia_Details="1").headers
    assert headers["x-persia-checkpoint"] == details.checkpoint
    assert headers["x-persia-embedding-config"] == details.embedding_config
    assert details.embedding_config == f"{load_embedding_config(MIX / 'embedding_config.yml').fingerprint_id:016x}"
    assert details.epoch is None and "x-persia-epoch" not in headers  # its servers follow none
    assert json.loads(headers["x-persia-new-ids"]) == {
        name: counts.new_ids for name, counts in details.features.items() if counts.new_ids
    }
