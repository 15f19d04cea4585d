"""The settings of our handler: what is wrong is named before a worker dies of it, and what the environment says holds."""

from __future__ import annotations

from typing import Any

import pytest

from persia.errors import ConfigError
from persia.torchserve.archive.settings_page import markdown
from persia.torchserve.settings import DEFAULTS, handler_settings
from tests.support.places import ROOT


@pytest.mark.parametrize(
    ("settings", "path", "message"),
    [
        ([1], "$.persia", "expected a mapping of settings, got [1]"),
        ({"adresses": []}, "$.persia.adresses", "unknown key, known are addresses"),
        ({"threads": 0}, "$.persia.threads", "expected a positive number, got 0"),
        ({"threads": None}, "$.persia.threads", "expected a positive number, got None"),
        ({"max_answer_mib": True}, "$.persia.max_answer_mib", "expected a positive number, got True"),
        ({"timeout_ms": "soon"}, "$.persia.timeout_ms", "expected a positive number, got 'soon'"),
        ({"addresses": "a:1"}, "$.persia.addresses", "expected a list of `host:port`, got 'a:1'"),
        ({"addresses": []}, "$.persia.addresses", "expected a list of `host:port`, got []"),
        ({"addresses": [8887]}, "$.persia.addresses", "expected `host:port`, got 8887"),
        ({"addresses": [["a:1", "b"]]}, "$.persia.addresses", "expected `host:port`, got `b`"),
        ({"addresses": ["a:1", []]}, "$.persia.addresses", "expected at least one replica, got an empty list"),
        ({"global_config": 1}, "$.persia.global_config", "expected a path, got 1"),
        ({"embedding_config": ["a.yml"]}, "$.persia.embedding_config", "expected a path, got ['a.yml']"),
        ({"warm_up": ""}, "$.persia.warm_up", "expected a path, got ''"),
        ({"log_level": "LOUD"}, "$.persia.log_level", "expected a level such as DEBUG, INFO, WARNING or ERROR, got 'LOUD'"),
        ({"log_level": None}, "$.persia.log_level", "expected a level such as DEBUG, INFO, WARNING or ERROR, got None"),
    ],
)
def test_wrong_settings_are_named(settings: Any, path: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        handler_settings({"persia": settings}, "more.yml", {})
    assert (caught.value.path, caught.value.file) == (path, "more.yml")
    assert message in caught.value.problem


def test_what_is_left_out_is_the_default() -> None:
    assert handler_settings(None, environment={}) == DEFAULTS
    assert handler_settings({"persia": None, "minWorkers": 1}, environment={}) == DEFAULTS
    given = {"addresses": [["a:1", "[::1]:2"], "b:3"], "warm_up": None, "log_level": "INFO"}
    assert handler_settings({"persia": given}, environment={}) == {**DEFAULTS, **given}


@pytest.mark.parametrize(
    ("said", "given", "threads"),
    [("3", {}, 3), ("3", {"threads": 2}, 2), ("0", {}, 1), ("-2", {}, 1), ("", {}, 1), ("4,2", {}, 1), ("many", {}, 1)],
)
def test_threads_are_those_of_the_environment_unless_the_archive_says(said: str, given: dict[str, int], threads: int) -> None:
    assert handler_settings({"persia": given}, environment={"OMP_NUM_THREADS": said})["threads"] == threads


@pytest.mark.parametrize(
    ("said", "given", "mib"),
    [("3", {}, 3), ("3", {"max_answer_mib": 2}, 2), ("3", {"max_answer_mib": 4}, 3), ("128", {}, 128), ("x", {}, 64)],
)
def test_of_two_limits_of_an_answer_the_smaller_holds(said: str, given: dict[str, int], mib: int) -> None:
    assert handler_settings({"persia": given}, environment={"PERSIA_MAX_ANSWER_MIB": said})["max_answer_mib"] == mib


def test_the_document_is_that_of_the_code() -> None:
    page = ROOT / "docs" / "archive-settings.md"
    assert page.read_text() == markdown(), "python -m persia.torchserve.archive.settings_page > docs/archive-settings.md"
