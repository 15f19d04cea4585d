"""Requests that come together share a lookup and a run of the model, and get what each of them gets alone, byte for byte."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ts.utils.util import PredictionException

from persia.batch import IDTypeFeature, NonIDTypeFeature, PersiaBatch
from persia.handlers import merged_runs
from persia.handlers.persia_handler import PersiaHandler
from persia.torchserve.details import split_details
from tests.support.examples import examples
from tests.support.golden import arrays_of, golden
from tests.support.middlewares import Deployment
from tests.support.servers import PATIENCE
from tests.support.torchserves import MIX

FEATURES = ("user_id", "clicked", "bought", "query", "seen", "scaled_query")
KNOWN = arrays_of(MIX / "golden" / "batch16_0.npz")
DENSE = KNOWN["dense0"].shape[1]
GOLDEN = [path.with_suffix(".bin").read_bytes() for path in golden("mix/golden/*.npz") if "out" in arrays_of(path)]

pytestmark = [
    pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Generating overly large repr"),  # of requests that are not answered as they should be
]


class Rows(torch.nn.Module):
    """Each row by itself, and by sums that have one order: it answers the same whatever stands beside it."""

    def forward(self, dense: list[torch.Tensor], embeddings: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        total = dense[0][:, 0]
        for tensor in embeddings:
            flat = tensor.float().reshape(tensor.size(0), -1)
            for column in range(flat.size(1)):
                total = total + flat[:, column]
        return total, torch.stack([total, -total], 1)


class Softmax(torch.nn.Module):
    """Over the samples of the batch."""

    def forward(self, dense: list[torch.Tensor], embeddings: list[torch.Tensor]) -> torch.Tensor:
        return torch.softmax(dense[0][:, 0], 0)


class Mean(torch.nn.Module):
    """One number for the whole batch."""

    def forward(self, dense: list[torch.Tensor], embeddings: list[torch.Tensor]) -> torch.Tensor:
        return dense[0].mean().reshape(1)


class NeedsDense(torch.nn.Module):
    """Fails where the first dense number is 13."""

    def forward(self, dense: list[torch.Tensor], embeddings: list[torch.Tensor]) -> torch.Tensor:
        if bool((dense[0][:, 0] == 13).any()):
            raise RuntimeError("an unlucky number")
        return dense[0][:, 0]


class Context:
    """What the model server hands to a handler."""

    takes_refusals = True

    def __init__(self, directory: Path, persia: dict[str, Any]) -> None:
        self.manifest = {"model": {"modelName": "ctr", "serializedFile": "model.pt"}}
        self.system_properties = {"model_dir": str(directory), "gpu_id": None}
        self.model_yaml_config = {"persia": persia}

    def get_all_request_header(self, i: int) -> dict[str, str]:
        return {}

    def get_request_header(self, i: int, name: str) -> None:
        return None

    def set_response_header(self, i: int, name: str, value: str) -> None:
        pass

    def get_request_id(self, i: int) -> str:
        return f"request-{i}"


class Run:
    """A handler, and what its lookups and its model were called for."""

    def __init__(self, directory: Path, deployment: Deployment, model: Path | torch.nn.Module, **persia: Any) -> None:
        directory.mkdir()
        if isinstance(model, torch.nn.Module):
            torch.jit.script(model).save(str(directory / "model.pt"))
        else:
            (directory / "model.pt").write_bytes(model.read_bytes())
        places = {"addresses": [[one] for one in deployment.addresses], "embedding_config": str(deployment.embedding_config)}
        self.context = Context(directory, places | persia)
        self.handler = PersiaHandler()
        self.handler.initialize(self.context)
        self.handler.persia_context.wait_for_serving(PATIENCE)
        self.lookups: list[int] = []  # of each, from how many requests
        self.rows: list[int] = []  # of each run of the model
        look_up, model_itself = self.handler.persia_context.get_embedding_from_decoded, self.handler.model

        def counted_lookup(batch: Any, *args: Any, **kwargs: Any) -> Any:
            self.lookups.append(batch.requests)
            return look_up(batch, *args, **kwargs)

        def counted_model(dense: list[torch.Tensor], embeddings: list[torch.Tensor]) -> Any:
            self.rows.append(embeddings[0].size(0))
            return model_itself(dense, embeddings)

        self.handler.persia_context.get_embedding_from_decoded = counted_lookup  # type: ignore[method-assign]
        self.handler.model = counted_model

    def ask(self, *requests: dict[str, Any]) -> list[Any]:
        """What each gets: bytes, or the code and the words of its refusal."""
        self.lookups.clear()
        self.rows.clear()
        try:
            answers = self.handler.handle([dict(request) for request in requests], self.context)
        except PredictionException as error:
            return [(error.error_code, error.message)] * len(requests)
        return [(one.error_code, one.message) if isinstance(one, PredictionException) else one for one in answers]

    def alone(self, *requests: dict[str, Any]) -> list[Any]:
        """The same, one after the other."""
        return [answer for request in requests for answer in self.ask(request)]

    def close(self) -> None:
        self.handler.persia_context.close()
        self.handler.threads.shutdown()


@pytest.fixture
def runs(tmp_path: Path, deployment: Deployment) -> Iterator[Any]:
    level = logging.getLogger().level
    made: list[Run] = []

    def run(model: Path | torch.nn.Module, **persia: Any) -> Run:
        made.append(Run(tmp_path / f"archive{len(made)}", deployment, model, **persia))
        return made[-1]

    yield run
    logging.getLogger().setLevel(level)
    for one in made:
        one.close()


@pytest.fixture(scope="module")
def golden_run(tmp_path_factory: pytest.TempPathFactory, deployment: Deployment) -> Iterator[Run]:
    level = logging.getLogger().level
    run = Run(tmp_path_factory.mktemp("golden") / "archive", deployment, MIX / "ckpt" / "jit_dense.pt")
    yield run
    logging.getLogger().setLevel(level)
    run.close()


def batch_of(*firsts: float, features: Sequence[str] = FEATURES, width: int = DENSE) -> bytes:
    """A sample for each number, which is the first of its dense ones."""
    ids = [IDTypeFeature(name, [KNOWN.get(f"ids_{name}", KNOWN["ids_seen"])[:2]] * len(firsts)) for name in features]
    dense = np.zeros((len(firsts), width), np.float32)
    dense[:, 0] = firsts
    return PersiaBatch(ids, [NonIDTypeFeature(dense)], requires_grad=False).to_bytes()


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    """Of any size and format, and some of them wrong."""
    if draw(st.integers(0, 9)) == 0:
        wrong = [b"\1\0\0", batch_of(1, features=["nobody"]), batch_of(1, width=DENSE + 1), batch_of(1)[:-3]]
        return {"batch": draw(st.sampled_from(wrong))}
    samples = draw(st.integers(1, 5))
    features = []
    for name in FEATURES:
        known = [int(one) for one in KNOWN[f"ids_{name}"]]
        lists = st.lists(st.sampled_from(known) | st.integers(0, 2**64 - 1), max_size=7)
        features.append(IDTypeFeature(name, [np.array(draw(lists), np.uint64) for _ in range(samples)]))
    numbers = draw(st.lists(st.floats(-4, 4, width=32), min_size=DENSE * samples, max_size=DENSE * samples))
    dense = NonIDTypeFeature(np.array(numbers, np.float32).reshape(samples, DENSE))
    request: dict[str, Any] = {"batch": PersiaBatch(features, [dense], requires_grad=False).to_bytes()}
    if asked := draw(st.sampled_from([b"", b"npy", b"raw", b"npz", b"xml"])):
        request["format"] = asked
    if draw(st.booleans()):
        request["details"] = b"1"
    return request


@given(st.lists(requests(), min_size=2, max_size=6))
@settings(
    max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
def test_each_gets_together_what_it_gets_alone(golden_run: Run, together: list[dict[str, Any]]) -> None:
    assert golden_run.ask(*together) == golden_run.alone(*together)


@pytest.mark.parametrize("count", [2, 3, 16])
def test_golden_requests_get_together_what_they_get_alone(golden_run: Run, count: int) -> None:
    for begin in range(0, len(GOLDEN), count):
        asked = [{"batch": data, "format": b"raw", "details": b"1"} for data in GOLDEN[begin : begin + count]]
        assert golden_run.ask(*asked) == golden_run.alone(*asked)


def test_requests_that_fit_share_a_lookup(golden_run: Run) -> None:
    small = {"batch": batch_of(1, 2)}
    golden_run.ask(small, small, small)
    assert golden_run.lookups == [3]
    other = {"batch": batch_of(1, features=FEATURES[::-1])}  # another order of features
    golden_run.ask(small, other, small, other)
    assert sorted(golden_run.lookups) == [2, 2]


def test_the_details_of_each_are_its_own(golden_run: Run) -> None:
    unknown = PersiaBatch(
        [IDTypeFeature(name, [np.array([2**63 + i], np.uint64)]) for i, name in enumerate(FEATURES)],
        [NonIDTypeFeature(np.zeros((1, DENSE), np.float32))],
        requires_grad=False,
    ).to_bytes()
    known, new = golden_run.ask(*({"batch": data, "details": b"1"} for data in (batch_of(1), unknown)))
    assert golden_run.lookups == [2]
    told = [split_details(answer)[0] for answer in (known, new)]
    assert told[0] is not None and told[1] is not None
    assert told[1].features["user_id"].new_ids == 1 and told[0].features["user_id"].new_ids == 0


def test_a_model_of_rows_is_run_once_where_the_archive_allows_it(runs: Any) -> None:
    run = runs(Rows(), merge="model")
    asked = [{"batch": batch_of(*numbers), "format": b"npz"} for numbers in ((1.5, 2.25), (3.125,), (0.1, 7, 9))]
    expected = run.alone(*asked)
    rows = []
    for _ in range(merged_runs.TRIALS + 1):
        assert run.ask(*asked) == expected
        rows.append(list(run.rows))
    assert rows == [[2, 1, 3, 6]] * merged_runs.TRIALS + [[6]]


@pytest.mark.parametrize("model", [Softmax(), Mean()])
def test_a_model_that_looks_at_the_whole_batch_is_run_for_each_by_itself(
    runs: Any, model: torch.nn.Module, caplog: pytest.LogCaptureFixture
) -> None:
    run = runs(model, merge="model")
    asked = [{"batch": batch_of(1, 2), "format": b"raw"}, {"batch": batch_of(3, 5), "format": b"raw"}]
    expected = run.alone(*asked)
    for _ in range(merged_runs.TRIALS + 1):
        assert run.ask(*asked) == expected
    assert run.rows == [2, 2]
    assert run.lookups == [2]
    assert "expected a model that answers each sample by itself" in caplog.text


def test_without_merging_each_has_its_own(runs: Any) -> None:
    run = runs(Rows(), merge=False)
    asked = [{"batch": batch_of(1, 2)}, {"batch": batch_of(3)}]
    assert run.ask(*asked) == run.alone(*asked)
    run.ask(*asked)
    assert run.lookups == [1, 1] and run.rows == [2, 1]
    assert run.handler.requests_at_once == 1


def test_a_request_for_which_the_model_fails_is_refused_alone(runs: Any) -> None:
    run = runs(NeedsDense())
    right, wrong = {"batch": batch_of(1)}, {"batch": batch_of(13)}
    answers = run.ask(right, wrong, right)
    code, message = answers[1]
    assert code == 500 and "the model failed" in message
    assert answers[0] == answers[2] == run.alone(right)[0]


def test_a_late_request_is_refused_alone(golden_run: Run) -> None:
    late = {"batch": batch_of(1), "deadline_unix_ms": str(int(1000 * time.time()) - 1).encode()}
    right = {"batch": batch_of(2)}
    answers = golden_run.ask(right, late, right)
    assert answers[1][0] == 504
    assert answers[0] == answers[2] == golden_run.alone(right)[0]
    assert golden_run.ask(right, late) and golden_run.lookups == [1]


def test_an_answer_that_is_too_large_is_refused_alone(runs: Any) -> None:
    run = runs(Rows(), max_answer_mib=1)
    large = {"batch": batch_of(*[0.0] * 60_000, features=["user_id"])}
    small = {"batch": batch_of(1, features=["user_id"])}
    answers = run.ask(small, large, small)
    assert answers[1][0] == 413 and "expected an answer of at most 983040 bytes" in answers[1][1]
    assert answers[0] == answers[2] == run.alone(small)[0]


def test_a_subclass_may_count_on_one_request_at_a_time(golden_run: Run) -> None:
    class Own(PersiaHandler):
        def inference(self, data: Any, *args: Any, **kwargs: Any) -> Any:
            return super().inference(data)

    assert golden_run.handler.requests_at_once == 16
    own = Own()
    own.lookups = golden_run.handler.lookups
    assert own.requests_at_once == 1
