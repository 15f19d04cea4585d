"""What a version takes of the requests when it comes, by its model-config.yaml."""

from __future__ import annotations

import pytest

from persia.model_server.model_config import ModelConfig
from persia.model_server.refusals import BadRequest
from persia.model_server.traffic import Share, Traffic, changed_traffic


def test_a_version_takes_its_percents_from_the_default_one() -> None:
    traffic = Traffic().with_share("2.0", Share(10, "X-User"), "1.0")
    assert (traffic.weights, traffic.sticky_by) == ({"1.0": 9, "2.0": 1}, "x-user")
    traffic = traffic.with_share("3.0", Share(5), "1.0")
    assert (traffic.weights, traffic.sticky_by) == ({"1.0": 17, "2.0": 2, "3.0": 1}, "x-user")
    assert traffic.with_share("4.0", Share(85), "1.0").weights == {"1.0": 0, "2.0": 2, "3.0": 1, "4.0": 17}


def test_a_version_without_a_share_changes_nothing() -> None:
    traffic = Traffic({"1.0": 3, "2.0": 1}, "x-user", "4.0", 0.5)
    assert traffic.with_share("3.0", Share(), "1.0") == traffic


def test_more_than_the_default_version_has_is_refused() -> None:
    with pytest.raises(BadRequest, match="expected at least 30 % of the requests with the default version"):
        Traffic({"1.0": 1, "2.0": 3}).with_share("3.0", Share(30), "1.0")


def test_a_candidate_gets_copies() -> None:
    traffic = Traffic().with_share("2.0", Share(shadow=0.25), "1.0")
    assert (traffic.weights, traffic.shadow, traffic.shadow_share) == ({}, "2.0", 0.25)


def test_shares_stand_in_model_config() -> None:
    assert ModelConfig.of({"trafficPercent": 10, "stickyBy": "x-user"}).share == Share(10, "x-user", 0.0)
    assert ModelConfig.of({"shadowShare": 1}).share == Share(0, "", 1.0)
    assert ModelConfig.of({}).share == Share()


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("trafficPercent", 101, "expected 0 to 100, got 101"),
        ("trafficPercent", 0.5, "expected 0 to 100, got 0.5"),
        ("trafficPercent", True, "expected 0 to 100, got True"),
        ("shadowShare", "half", "expected a number from 0 to 1, got 'half'"),
        ("stickyBy", 5, "expected the name of a header, got 5"),
    ],
)
def test_wrong_shares_have_no_effect(key: str, value: object, words: str) -> None:
    config = ModelConfig.of({key: value})
    assert config.share == Share() and config.notes == (f"{key} of model-config.yaml has no effect: {words}",)


SPLIT = Traffic({"1.0": 90, "2.0": 10}, "x-user", "3.0", 0.1)


@pytest.mark.parametrize(
    ("asked", "after"),
    [
        ({"shadow": "2.0"}, Traffic({"1.0": 90, "2.0": 10}, "x-user", "2.0", 0.1)),
        ({"shadow_share": "0.5"}, Traffic({"1.0": 90, "2.0": 10}, "x-user", "3.0", 0.5)),
        ({"weights": "1.0:1"}, Traffic({"1.0": 1}, "x-user", "3.0", 0.1)),
        ({"sticky_by": "X-Session"}, Traffic({"1.0": 90, "2.0": 10}, "x-session", "3.0", 0.1)),
        ({"weights": ""}, Traffic({}, "x-user", "3.0", 0.1)),
        ({"sticky_by": ""}, Traffic({"1.0": 90, "2.0": 10}, "", "3.0", 0.1)),
        ({"shadow": ""}, Traffic({"1.0": 90, "2.0": 10}, "x-user", "", 1.0)),
        ({"shadow_share": ""}, Traffic({"1.0": 90, "2.0": 10}, "x-user", "3.0", 1.0)),
    ],
)
def test_what_is_not_asked_for_stays(asked: dict[str, str], after: Traffic) -> None:
    assert changed_traffic("m", SPLIT, asked, {"1.0", "2.0", "3.0"}) == after
