"""Versions side by side: keys and their versions, what is counted, and two versions on a real TorchServe."""

from __future__ import annotations

import math
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persia.client.split import Split, parse_split
from persia.client.split_client import SplitClient, split_model
from persia.client.text import TextClient
from persia.client.version_results import VersionResults
from persia.errors import DeadlineExceeded, InvalidInput, NotFound, PersiaError, Unavailable
from tests.support.places import ROOT
from tests.support.servers import PATIENCE, wait_until
from tests.support.torchserves import TorchServeRun, make_archive

KEYS = [f"user{i}" for i in range(20_000)]
VERSIONS = st.dictionaries(st.sampled_from(["1.0", "1.1", "2.0", "3.0"]), st.integers(0, 100), min_size=1).filter(
    lambda weights: any(weights.values())
)


@given(VERSIONS)
def test_versions_get_their_share_of_the_keys(weights: dict[str, int]) -> None:
    split = Split(weights)
    got = Counter(split.version_of(key) for key in KEYS[:2000])
    for version, weight in weights.items():
        share = weight / sum(weights.values())
        # Six standard deviations: the hash is what it is, and so is this test's outcome.
        assert abs(got[version] - 2000 * share) <= 6 * math.sqrt(2000 * share * (1 - share)), version


@given(VERSIONS, VERSIONS)
def test_keys_change_their_version_only_where_a_weight_says_so(before: dict[str, int], after: dict[str, int]) -> None:
    old, new = Split(before), Split(after)
    shares = [{version: weight / sum(of.values()) for version, weight in of.items()} for of in (before, after)]
    unit = {version: weight for version, weight in before.items() if after.get(version, 0) == weight}
    for key in KEYS[:300]:
        was, now = old.version_of(key), new.version_of(key)
        if was in unit and now in unit:
            assert was == now, "of two versions whose weights stayed, a key does not go from one to the other"
    if shares[0] == shares[1]:
        assert [old.version_of(key) for key in KEYS[:300]] == [new.version_of(key) for key in KEYS[:300]]


def test_more_weight_takes_keys_and_gives_none_back() -> None:
    tenth, half = Split({"1.0": 90, "2.0": 10}), Split({"1.0": 50, "2.0": 50})
    moved = Counter((tenth.version_of(key), half.version_of(key)) for key in KEYS)
    assert moved[("2.0", "1.0")] == 0
    assert moved[("1.0", "2.0")] == pytest.approx(0.4 * len(KEYS), rel=0.05)


def test_a_key_has_its_version_in_every_process() -> None:
    split = Split({"1.0": 3, "2.0": 1}, salt="autumn")
    keys = KEYS[:200]
    code = (
        "import sys; from persia.client.split import Split; split = Split({'2.0': 10, '1.0': 30}, 'autumn'); "
        "print(*map(split.version_of, sys.argv[1:]))"
    )
    run = subprocess.run([sys.executable, "-c", code, *keys], cwd=ROOT, check=True, capture_output=True, text=True)
    assert run.stdout.split() == [split.version_of(key) for key in keys]
    # What processes of other releases must find as well.
    assert "".join(split.version_of(key)[0] for key in keys[:32]) == PINNED
    assert split.version_of(7) == split.version_of("7") == split.version_of(b"7")


PINNED = "21111121111212112111211111211211"


def test_another_salt_deals_the_keys_out_anew() -> None:
    splits = [Split({"1.0": 1, "2.0": 1}, salt) for salt in ("spring", "autumn")]
    both = sum(splits[0].version_of(key) == splits[1].version_of(key) for key in KEYS)
    assert both == pytest.approx(len(KEYS) / 2, rel=0.05)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Split({}), "at least one version with a weight over 0"),
        (lambda: Split({"1.0": 0}), "at least one version with a weight over 0"),
        (lambda: Split({"1.0": -1}), "a weight of 0 or more for version 1.0, got -1"),
        (lambda: Split({"1.0": math.nan}), "got nan"),
        (lambda: Split({"1.0": "90"}), "got '90'"),  # type: ignore[dict-item]
        (lambda: Split({"1.0": 1}).version_of(None), "expected text, bytes or a whole number as the key, got None"),  # type: ignore[arg-type]
        (lambda: parse_split("1.0"), "expected VERSION=WEIGHT"),
        (lambda: parse_split("1.0=90;2.0=10"), "expected VERSION=WEIGHT"),
        (lambda: parse_split("=1"), "expected VERSION=WEIGHT"),
        (lambda: parse_split("1.0=1,1.0=2"), "expected VERSION=WEIGHT"),
        (lambda: SplitClient({"1.0": Fake(1)}, {"2.0": 1}), "one of the versions 1.0, got '2.0'"),
        (lambda: SplitClient({"1.0": Fake(1)}, {"1.0": 1}, shadow="2.0"), "one of the versions 1.0, got '2.0'"),
        (lambda: SplitClient({"1.0": Fake(1)}, {"1.0": 1}).predict(b"", version="2.0"), "one of the versions 1.0, got '2.0'"),
        (lambda: SplitClient({"1.0": Fake(1)}, {"1.0": 1}).predict(b""), "either the key .* or the version"),
        (lambda: SplitClient({"1.0": Fake(1)}, {"1.0": 1}).shadow_results(), "the client has no shadow"),
    ],
)
def test_mistakes_are_named(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        make()


def test_a_split_is_read_from_a_command_line() -> None:
    assert parse_split("1.0=90, 2.0=10") == {"1.0": 90, "2.0": 10}


class Fake:
    """A version that answers with its scores, or does what it is told."""

    def __init__(self, *scores: float, does: Callable[[], None] = lambda: None) -> None:
        self.scores, self.does = np.array(scores, np.float32), does
        self.requests: list[Any] = []
        self.timeouts: list[float | None] = []

    def predict(self, request: Any, timeout: float | None = None) -> Any:
        self.requests.append(request)
        self.timeouts.append(timeout)
        self.does()
        return self.scores

    def close(self) -> None:
        self.requests.append("closed")


def fails(error: PersiaError) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


def test_results_are_counted_by_version() -> None:
    with SplitClient({"1.0": Fake(1, 3), "2.0": Fake(5)}, {"1.0": 1, "2.0": 1}) as split:
        got = Counter(split.predict(b"", key)[0] for key in KEYS[:100])
        results = split.results()
        assert {version: of.requests for version, of in results.items()} == got
        assert (results["1.0"].score_mean, results["2.0"].score_mean) == (2, 5)
        assert all(0 < of.p50 <= of.p90 <= of.p99 for of in results.values())
        assert "2.0 " in split.table()


def test_weights_change_while_it_runs() -> None:
    with SplitClient({"1.0": Fake(1), "2.0": Fake(2)}, {"1.0": 1}) as split:
        assert {split.predict(b"", key)[0] for key in KEYS[:50]} == {"1.0"}
        split.set_weights({"1.0": 0, "2.0": 1})
        assert {split.predict(b"", key)[0] for key in KEYS[:50]} == {"2.0"}
        assert split.version_of("any") == "2.0"
        with pytest.raises(InvalidInput):
            split.set_weights({"3.0": 1})
        assert split.weights == {"1.0": 0, "2.0": 1}


@pytest.mark.parametrize("error", [NotFound("no such version"), Unavailable("no worker"), PersiaError("the handler failed")])
def test_a_version_that_fails_may_fall_back(error: PersiaError) -> None:
    new = Fake(does=fails(error))
    with SplitClient({"1.0": Fake(1), "2.0": new}, {"2.0": 1}, fall_back_to="1.0") as split:
        version, scores = split.predict(b"", "key", timeout=5)
        assert (version, scores.tolist()) == ("1.0", [1])
        results = split.results()
        assert results["2.0"].errors == {type(error).__name__: 1}
        assert (results["2.0"].fell_back, results["1.0"].requests, results["1.0"].fell_back) == (1, 1, 0)
    with SplitClient({"1.0": Fake(1), "2.0": new}, {"2.0": 1}) as split, pytest.raises(type(error)):
        split.predict(b"", "key")


def test_what_is_left_of_the_time_is_for_the_other_version() -> None:
    old, new = Fake(1), Fake(does=fails(Unavailable("no worker")))
    with SplitClient({"1.0": old, "2.0": new}, {"2.0": 1}, fall_back_to="1.0") as split:
        split.predict(b"", "key", timeout=5)
    assert new.timeouts == [5]
    (left,) = old.timeouts
    assert left is not None and left < 5


@pytest.mark.parametrize("error", [InvalidInput("a wrong batch"), DeadlineExceeded("too late")])
def test_what_is_not_the_versions_fault_does_not_fall_back(error: PersiaError) -> None:
    old = Fake(1)
    with (
        SplitClient({"1.0": old, "2.0": Fake(does=fails(error))}, {"2.0": 1}, fall_back_to="1.0") as split,
        pytest.raises(type(error)),
    ):
        split.predict(b"", "key")
    assert old.requests == ["closed"]


def test_a_shadow_gets_copies_and_nobody_waits_for_it() -> None:
    go_on = threading.Event()

    def hang() -> None:
        assert go_on.wait(PATIENCE)

    shadow = Fake(4, does=hang)
    with SplitClient({"1.0": Fake(1), "2.0": shadow}, {"1.0": 1}, shadow="2.0") as split:
        for i in range(300):  # more than wait; it hangs meanwhile
            assert split.predict(i, f"user{i}")[0] == "1.0"
        results, dropped = split.shadow_results()
        assert results.requests == 0 and dropped >= 300 - 256 - 1
        go_on.set()
        wait_until(lambda: split.shadow_results()[0].requests == 300 - dropped, "all copies that waited are sent")
        results, _ = split.shadow_results()
        assert (results.score_mean, results.score_difference) == (4, 3)
        assert split.results()["2.0"].requests == 0, "what callers got is counted by itself"
        split.predict(-1, version="2.0")  # of which the shadow gets no copy
        split.predict(300, "key")
        wait_until(lambda: 300 in shadow.requests, "the last copy is sent")
        assert shadow.requests.count(-1) == split.results()["2.0"].requests == 1


@pytest.mark.parametrize("error", [Unavailable("no worker"), RuntimeError("not foreseen")])
def test_a_shadow_that_fails_goes_on(error: Exception) -> None:
    def fail() -> None:
        raise error

    with SplitClient({"1.0": Fake(1), "2.0": Fake(does=fail)}, {"1.0": 1}, shadow="2.0") as split:
        for _ in range(2):
            split.predict(b"", "key")
        wait_until(lambda: split.shadow_results()[0].errors == {type(error).__name__: 2}, "both copies have failed")


def test_quantiles_are_exact_to_two_percent_in_little_memory() -> None:
    results, rng = VersionResults(), np.random.default_rng(1)
    seconds = rng.lognormal(-5, 1, 20_000)
    for one in seconds:
        results.answered(float(one), None)
    got = results.results()
    want = np.quantile(seconds, [0.5, 0.9, 0.99])
    np.testing.assert_allclose([got.p50, got.p90, got.p99], want, rtol=0.021)
    assert math.isnan(got.score_mean)


def test_without_answers_there_are_no_quantiles() -> None:
    results = VersionResults()
    results.failed(NotFound("no"))
    assert results.results().requests == 1
    assert math.isnan(results.results().p99)


@pytest.fixture(scope="module")
def versions(torchserve: TorchServeRun, store: Path) -> Iterator[TorchServeRun]:
    """Two versions of a model whose score is its version."""
    management = torchserve.management()
    for version in ("1.0", "2.0"):
        management.register(make_archive(store, "sides", version))
    yield torchserve
    for version in ("2.0", "1.0"):
        management.unregister("sides", version)


def test_two_versions_on_torchserve(versions: TorchServeRun) -> None:
    weights = {"1.0": 70, "2.0": 30}
    with split_model("sides", weights, versions.address, token_file=versions.token_file, timeout=PATIENCE) as split:
        for key in KEYS[:60]:
            version, scores = split.predict(b"", key)
            assert version == Split(weights).version_of(key)
            assert scores.tolist() == [float(version)]
        assert split.predict(b"", version="2.0").answer.tolist() == [2.0]
        results = split.results()
    assert (results["1.0"].score_mean, results["2.0"].score_mean) == (1, 2)
    assert sum(of.requests for of in results.values()) == 61


def test_the_documents_example_runs(versions: TorchServeRun, capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "bert-in-production.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    there = {"my_tc": "sides", "127.0.0.1:7070": versions.address, "key_file.json": str(versions.token_file)}
    for shown, real in there.items():
        assert code.count(shown) == 1
        code = code.replace(shown, real)
    exec(code, {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines] == [["version", "weight", "requests"], ["1.0", "90", "3"], ["2.0", "10", "0"]]


def test_a_version_that_is_not_there_falls_back_on_torchserve(versions: TorchServeRun) -> None:
    options: dict[str, Any] = {"token_file": versions.token_file, "timeout": PATIENCE}
    with split_model("sides", {"9.9": 1}, versions.address, fall_back_to="1.0", **options) as split:
        assert split.predict(b"", "key")[0] == "1.0"
        assert split.results()["9.9"].errors == {"NotFound": 1}


def test_a_text_model_over_grpc(versions: TorchServeRun) -> None:
    """Its answer is the handler's text."""
    options: dict[str, Any] = {"client": TextClient, "token_file": versions.token_file, "timeout": PATIENCE}
    with split_model("sides", {"1.0": 1, "2.0": 1}, versions.address, **options) as split:
        got = {split.predict("some text", key) for key in KEYS[:20]}
    assert got == {("1.0", "[1.0]"), ("2.0", "[2.0]")}
    with TextClient("nowhere", versions.address, token_file=versions.token_file) as client, pytest.raises(NotFound):
        client.predict("some text")
