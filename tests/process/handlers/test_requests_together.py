"""Requests that TorchServe puts together: each caller hears of its own mistakes only, and nothing is scored twice."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from persia import _core
from persia.batch import IDTypeFeature, PersiaBatch
from persia.client.predict import Client
from persia.errors import DeadlineExceeded, FeatureError, InvalidInput, PersiaError, TooLarge
from persia.handlers.cached_answers import CachedAnswers, answer_key
from persia.handlers.outcomes import Outcomes
from persia.routing.lookup import Lookup
from tests.support.golden import arrays_of
from tests.support.middlewares import Deployment
from tests.support.servers import PATIENCE
from tests.support.signed_models import Answer, post
from tests.support.torchserves import MIX, PERSIA_HANDLER, TorchServeRun, assert_close, make_archive

BATCH = (MIX / "golden" / "batch16_0.bin").read_bytes()
SCORES = arrays_of(MIX / "golden" / "batch16_0.npz")["out"].reshape(-1)
TOGETHER = 3
COMPANY_SECONDS = 60  # that TorchServe waits for three requests, so that three which come are always put together

pytestmark = [pytest.mark.whole_way, pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")]


class Counts(torch.nn.Module):
    """Its scores say how often it was asked; NaN for a lone sample."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = torch.zeros(1)

    def forward(self, dense: list[torch.Tensor], embeddings: list[torch.Tensor]) -> torch.Tensor:
        if embeddings[0].size(0) == 1:
            return torch.full([1], float("nan"))
        self.asked += 1
        return self.asked.expand(embeddings[0].size(0)).clone()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, deployment: Deployment) -> Iterator[TorchServeRun]:
    directory = tmp_path_factory.mktemp("served")
    store, counts = directory / "store", directory / "counts.pt"
    torch.jit.script(Counts()).save(str(counts))
    together: dict[str, Any] = {
        "batchSize": TOGETHER,
        "maxBatchDelay": COMPANY_SECONDS * 1000,
        "responseTimeout": 2 * COMPANY_SECONDS,
    }
    kept = {"answer_cache_mib": 1}
    models = [
        make_archive(store, "together", handler=PERSIA_HANDLER, model=MIX / "ckpt" / "jit_dense.pt", **together),
        make_archive(store, "kept", handler=PERSIA_HANDLER, model=counts, persia=kept),
        make_archive(store, "kept-together", handler=PERSIA_HANDLER, model=counts, persia=kept, **together),
    ]
    environment = {**os.environ, "EMBEDDING_WORKER_SERVICE": deployment.middleware.address}
    arguments = ["--models", ",".join(models), "--no-tokens", "--http-port", "0"]
    with TorchServeRun(directory, store, arguments, environment) as run:
        yield run.wait_ready()


def client_of(run: TorchServeRun, model: str) -> Client:
    return Client(model, run.address, timeout=PATIENCE)


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """What each gives, or the error that it raises."""

    def outcome(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except PersiaError as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(outcome, calls))


def user_batch(*ids: int) -> bytes:
    return PersiaBatch([IDTypeFeature("user_id", [np.array([one], np.uint64) for one in ids])], requires_grad=False).to_bytes()


WRONG_OVER_HTTP: list[tuple[bytes, str, int, str]] = [
    (b"\1\0\0", "application/octet-stream", 400, "at byte 0: expected 4 bytes of dense tensors"),
    (b"{", "application/json", 400, "Expecting property name"),
    (b'{"features": {"nobody": [1]}}', "application/json", 400, "'nobody': the embedding config has no slot of this name"),
    (b"", "application/octet-stream", 400, "expected a byte batch as `batch` in the input"),
]


@pytest.mark.parametrize(("body", "kind", "code", "message"), WRONG_OVER_HTTP)
def test_one_that_is_wrong_is_refused_alone_over_http(
    served: TorchServeRun, body: bytes, kind: str, code: int, message: str
) -> None:
    with client_of(served, "together") as client:
        right, wrong, over_grpc = at_once(
            lambda: post(served, "together", BATCH, "application/octet-stream"),
            lambda: post(served, "together", body, kind),
            lambda: client.predict(BATCH),
        )
    assert right.status == 200, right.body
    assert_close(json.loads(right.body), SCORES)
    assert_close(over_grpc, SCORES)
    assert wrong.status == code, wrong.body
    assert wrong.headers["content-type"] == "application/json"
    said = json.loads(wrong.body)
    assert (said["code"], said["type"]) == (code, "INVALID_ARGUMENT")
    assert message in said["message"] and "put together" not in said["message"]


def test_one_that_is_wrong_over_grpc_fails_all(served: TorchServeRun) -> None:
    """TorchServe has one status for all of them there, and an error as an answer would be taken for scores."""
    with client_of(served, "together") as client:
        outcomes = at_once(
            lambda: client.predict(b"\1\0\0"),
            lambda: client.predict(BATCH),
            lambda: post(served, "together", BATCH, "application/octet-stream"),
        )
    for error in outcomes[:2]:
        assert isinstance(error, InvalidInput)
        assert " of 3 that TorchServe put together: at byte 0: expected 4 bytes" in str(error)
    assert isinstance(outcomes[2], Answer) and outcomes[2].status == 400


def test_all_that_are_wrong_are_refused_each_for_its_own_reason(served: TorchServeRun) -> None:
    answers = at_once(*(lambda wrong=wrong: post(served, "together", *wrong[:2]) for wrong in WRONG_OVER_HTTP[:TOGETHER]))
    for answer, (_, _, code, message) in zip(answers, WRONG_OVER_HTTP, strict=False):
        assert answer.status == code
        assert message in json.loads(answer.body)["message"]


def test_a_score_that_is_nan_is_its_callers_alone(served: TorchServeRun) -> None:
    octets = "application/octet-stream"
    nan, *others = at_once(
        lambda: post(served, "kept-together", user_batch(1), octets),
        *([lambda: post(served, "kept-together", user_batch(1, 2), octets)] * 2),
    )
    assert nan.status == 500 and "the model answered NaN" in json.loads(nan.body)["message"]
    assert [answer.status for answer in others] == [200, 200]


def test_equal_requests_that_are_put_together_are_scored_once(served: TorchServeRun) -> None:
    with client_of(served, "kept-together") as client:
        predictions = at_once(*[lambda: client.predict(user_batch(3, 4), details=True)] * TOGETHER)
    assert len({tuple(prediction.scores.tolist()) for prediction in predictions}) == 1
    assert sorted(prediction.details.cached for prediction in predictions) == [False, True, True]


def test_an_answer_that_was_given_before_is_given_again(served: TorchServeRun) -> None:
    batch = user_batch(5, 6)
    with client_of(served, "kept") as client:
        first, again = client.predict(batch, details=True), client.predict(batch, details=True)
        other = client.predict(user_batch(5, 7), details=True)
    assert (first.details.cached, again.details.cached, other.details.cached) == (False, True, False)  # type: ignore[union-attr]
    assert first.scores.tolist() == again.scores.tolist() != other.scores.tolist()
    in_json = [post(served, "kept", batch, "application/octet-stream", X_Persia_Details="1") for _ in range(2)]
    assert [answer.headers.get("x-persia-cached") for answer in in_json] == [None, "1"], "another format is another answer"
    assert in_json[0].body == in_json[1].body


def test_an_error_is_not_kept(served: TorchServeRun) -> None:
    for _ in range(2):
        answer = post(served, "kept", user_batch(1), "application/octet-stream")
        assert answer.status == 500 and "the model answered NaN" in json.loads(answer.body)["message"]


def lookup_of(numbers: list[float], samples: int = 1) -> Lookup:
    shapes = np.array([samples, 0, len(numbers) // samples], np.uint32)
    counts = np.empty(0, np.uint32)
    return Lookup(
        numbers=np.array(numbers, np.float16),
        shapes=shapes,
        versions=[1],
        absent=0,
        wrong_dim=0,
        missing_shards=[],
        rpc_seconds=0.0,
        batch=_core.decode_batch(BATCH),
        counts=counts,
    )


def test_the_key_has_all_that_an_answer_is_made_of() -> None:
    request: dict[str, Any] = {"batch": BATCH, "format": b"npy"}
    key = answer_key(request, lookup_of([1, 2]))
    assert key == answer_key({"format": bytearray(b"npy"), "batch": bytearray(BATCH)}, lookup_of([1, 2]))
    assert key == answer_key({**request, "deadline_unix_ms": b"1", "details": b"1"}, lookup_of([1, 2]))
    others = [
        answer_key(request, lookup_of([1, 2.5])),
        answer_key(request, lookup_of([1, 2, 0])),
        answer_key(request, lookup_of([1, 2], samples=2)),
        answer_key({**request, "batch": BATCH[:-1] + b"\1"}, lookup_of([1, 2])),
        answer_key({**request, "format": b"npz"}, lookup_of([1, 2])),
        answer_key({**request, "country": "DE"}, lookup_of([1, 2])),
        answer_key({**request, "country": b"'DE'"}, lookup_of([1, 2])),
        answer_key({"batch": BATCH + b"npy"}, lookup_of([1, 2])),
    ]
    assert len({key, *others}) == 1 + len(others)


def test_what_a_subclass_made_without_a_lookup_is_always_scored() -> None:
    before = CachedAnswers(1 << 20)
    for _ in range(2):
        answers, kept = before.answers([{"batch": BATCH}], [object()], lambda indexes: [b"scored" for _ in indexes])
        assert (answers, kept) == ([b"scored"], [False])
    assert before.counts().misses == 0


class Came:
    """A context of TorchServe that knows only how requests came."""

    def __init__(self, *ways: str) -> None:
        self.ways = ways

    def get_request_header(self, i: int, name: str) -> str | None:
        assert name == "explain"
        return "False" if self.ways[i] == "http" else None


def test_a_step_is_for_those_that_go_on() -> None:
    outcomes = Outcomes(Came("http", "http", "grpc"), 3)
    error, late = FeatureError("age", "expected one"), DeadlineExceeded("too late")
    assert outcomes.step(lambda going: [error, "one", "two"]) == {1: "one", 2: "two"}
    assert outcomes.step(lambda going: ["more" if i == 1 else late for i in going]) == {1: "more"}
    assert outcomes.all({1: b"answer"}) == [error, b"answer", b""]


def test_a_late_one_is_refused_over_http_and_told_nothing_over_grpc() -> None:
    outcomes, late = Outcomes(Came("http", "grpc", "http"), 3), DeadlineExceeded("too late")
    outcomes.step(lambda going: [late, late, "goes on"])
    assert outcomes.all({2: b"answer"}) == [late, b"", b"answer"]


def test_no_step_is_done_for_none() -> None:
    outcomes = Outcomes(Came("http", "http"), 2)
    wrong = InvalidInput("no")
    assert outcomes.step(lambda going: [wrong] * len(going)) == {}
    assert outcomes.step(lambda going: pytest.fail("none goes on")) == {}
    assert outcomes.all({}) == [wrong, wrong]


@pytest.mark.parametrize(
    ("error", "kind"),
    [(FeatureError("age", "no"), InvalidInput), (TooLarge("no"), TooLarge), (PersiaError("NaN"), PersiaError)],
)
def test_over_grpc_the_error_says_whose_it_is(error: PersiaError, kind: type[PersiaError]) -> None:
    with pytest.raises(kind, match="request 2 of 2 that TorchServe put together: ") as caught:
        Outcomes(Came("grpc", "grpc"), 2).step(lambda going: ["fine", error])
    assert type(caught.value) is kind


def test_a_lone_one_is_refused_by_raising() -> None:
    error = FeatureError("age", "no")
    with pytest.raises(FeatureError) as caught:
        Outcomes(Came("http"), 1).step(lambda going: [error])
    assert caught.value is error
