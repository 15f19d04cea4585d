"""The table of what happened on the cluster: sums of each kind of event, and what counts as a fault."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.cluster.report import Row, faults, table

GOOD = {
    "answers": 1200,
    "failed": 0,
    "failures": {},
    "wrong": {},
    "worst_seconds": 0.0314,
    "first_epoch": 3,
    "last_epoch": 8,
    "examples": [],
}


def row(*lookups: dict[str, Any], predictions: dict[str, Any] = GOOD) -> Row:
    result = Row("pod deleted")
    for number, happened in enumerate(lookups):
        result.add(10.0 + number, happened, predictions)
    return result


def test_a_row_has_the_sums_of_its_events() -> None:
    slow = GOOD | {"worst_seconds": 0.1, "first_epoch": 8, "last_epoch": 10}
    assert table([row(GOOD, slow)]).splitlines()[2] == (
        "| pod deleted | 2 | 10.5 s, at most 11.0 s | 2,400 | 100 ms | 2,400 | 31 ms | 0 | 0 | 7 |"
    )
    assert faults([row(GOOD, slow)]) == ""


def test_failures_and_wrong_answers_are_faults_and_are_said() -> None:
    failing = GOOD | {"failed": 2, "failures": {"Unavailable: shard 1": 2}}
    mixing = GOOD | {"wrong": {"mixed": 3}, "examples": ["mixed: router 0"]}
    assert "1,202 | 31 ms | 1,200 | 31 ms | 2 | 0 |" in table([row(failing)])
    assert "2 x Unavailable: shard 1" in faults([row(GOOD, failing)])
    assert "| 0 | 3 mixed |" in table([row(GOOD, predictions=mixing)])
    assert "1 x mixed: router 0" in faults([row(GOOD, predictions=mixing)])


@pytest.mark.parametrize("nothing", [{"answers": 0}, {"last_epoch": 3}])
def test_an_event_that_nobody_asked_through_proves_nothing(nothing: dict[str, int]) -> None:
    assert "pod deleted" in faults([row(GOOD | nothing)])
    assert "pod deleted" in faults([row(GOOD, predictions=GOOD | nothing)])
