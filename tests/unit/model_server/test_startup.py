"""Which models are there from the start, what a state file says, and how traffic is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from persia.errors import ConfigError, Unavailable
from persia.model_server.refusals import BadRequest, Refusal, VersionNotFound
from persia.model_server.settings import Settings
from persia.model_server.startup import named_models, of_snapshot
from persia.model_server.state import KeptState, StateDirectory
from persia.model_server.traffic import Traffic, changed_traffic


def urls(models: tuple[str, ...], **settings: Any) -> list[tuple[str | None, str]]:
    return [(one.model_name, one.url) for one in named_models(Settings(default_workers=1, **settings), models, 0)]


def test_models_of_the_command_line_and_of_the_file(tmp_path: Path) -> None:
    assert urls(("a=x.mar", "y.mar,z.mar")) == [("a", "x.mar"), (None, "y.mar"), (None, "z.mar")]
    assert urls((), load_models="x.mar") == [(None, "x.mar")] and urls(("none",), load_models="x.mar") == []
    assert urls(("http://h/x.mar?v=1", "b=http://h/x.mar?v=1")) == [
        (None, "http://h/x.mar?v=1"),
        ("b", "http://h/x.mar?v=1"),
    ]
    for name in ("b.mar", "a.tar.gz", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "unpacked" / "MAR-INF").mkdir(parents=True)
    assert [url for _, url in urls(("ALL",), store=tmp_path)] == ["a.tar.gz", "b.mar", "unpacked"]


def test_a_snapshot_of_torchserve_names_models() -> None:
    version = {"defaultVersion": True, "marName": "m.mar", "minWorkers": 1, "maxWorkers": 5, "batchSize": 4}
    (wanted,) = of_snapshot({"name": "startup.cfg", "modelCount": 1, "models": {"m": {"1.0": version}}})
    assert (wanted.url, wanted.model_name, wanted.workers, wanted.batch_size) == ("m.mar", "m", (1, 5), 4)
    assert wanted.is_default and wanted.at_start


@pytest.mark.parametrize(
    ("snapshot", "place"),
    [
        ({}, "model_snapshot.models"),
        ({"models": {}, "modelCount": 1}, "modelCount"),
        ({"models": {"m": {"1.0": {}}}}, "marName"),
        ({"models": {"m": {"1.0": {"marName": "x", "minWorkers": "one"}}}}, "minWorkers"),
    ],
)
def test_a_snapshot_that_is_wrong_is_refused(snapshot: dict[str, Any], place: str) -> None:
    with pytest.raises(ConfigError, match=place):
        of_snapshot(snapshot)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "truncated"),
        ('{"format": 2}', "expected format 1, got 2"),
        ('{"models": {"m": {"default": "2", "versions": {}}}}', "expected one of its versions as default, got 2"),
        ('{"modles": {}}', "modles"),
    ],
)
def test_a_broken_state_file_is_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "models.json").write_text(text)
    with pytest.raises(ConfigError, match=words) as raised:
        StateDirectory(tmp_path).read()
    assert str(tmp_path / "models.json") in str(raised.value) and "mend the file, or remove it" in str(raised.value)


def test_a_state_directory_belongs_to_one_server(tmp_path: Path) -> None:
    mine = StateDirectory(tmp_path)
    assert mine.read() == KeptState()
    with pytest.raises(Unavailable, match="which another model server has"):
        StateDirectory(tmp_path)


def test_traffic_is_written_as_it_is_read() -> None:
    asked = {"weights": "1.0:90, 2.0:10", "sticky_by": "X-User", "shadow": "3.0", "shadow_share": "0.5"}
    traffic = changed_traffic("m", Traffic(), asked, {"1.0", "2.0", "3.0"})
    assert traffic == Traffic({"1.0": 90, "2.0": 10}, "x-user", "3.0", 0.5)
    assert not changed_traffic("m", Traffic(), {}, set())
    assert traffic.without("1.0").weights == {"2.0": 10} and traffic.without("3.0").shadow == ""
    assert not Traffic({"1.0": 1}).without("1.0")


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"weights": "1.0"}, BadRequest),
        ({"weights": "1.0:-1"}, BadRequest),
        ({"weights": "1.0:0"}, BadRequest),
        ({"weights": "1.0:1,1.0:2"}, BadRequest),
        ({"weights": "9:1"}, VersionNotFound),
        ({"shadow": "9"}, VersionNotFound),
        ({"shadow": "1.0", "shadow_share": "2"}, BadRequest),
        ({"weight": "1.0:1"}, BadRequest),
    ],
)
def test_traffic_that_is_wrong_is_refused(asked: dict[str, str], error: type[Refusal]) -> None:
    with pytest.raises(error):
        changed_traffic("m", Traffic(), asked, {"1.0"})


def test_models_in_one_argument(tmp_path: Path) -> None:
    assert urls(("a=x.mar y.mar",), store=tmp_path) == [("a", "x.mar"), (None, "y.mar")]
    (tmp_path / "with a blank.mar").touch()
    assert urls(("with a blank.mar", "b=with a blank.mar"), store=tmp_path) == [
        (None, "with a blank.mar"),
        ("b", "with a blank.mar"),
    ]
