"""Files of measured points: ours, and what is wrong with others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persia.errors import ConfigError
from persia.planning.model import CostModel
from persia.planning.points import OURS, Points, load_points

TEXT = OURS.read_text()


def changed(path: Path, change: Any) -> Path:
    """Our file, after a function has changed what is in it."""
    content = json.loads(TEXT)
    change(content)
    path.write_text(json.dumps(content))
    return path


def test_our_points_have_what_the_model_needs_and_say_how_far_off_it_is() -> None:
    points = load_points()
    assert points.machine and points.date and all(point.load >= 0 for point in points.lookups)
    misfits = CostModel(points).misfits
    assert set(misfits) == {"memory", "epochs", "servers", "routers", "p50", "p99"}
    # What the documents promise of our own points; times of a shared machine are promised to nobody.
    assert misfits["memory"].worst < 0.1 and misfits["epochs"].worst < 0.1
    assert misfits["servers"].median < 0.25 and misfits["routers"].median < 0.25


def test_what_is_expected_follows_the_points(tmp_path: Path) -> None:
    def slower(content: dict[str, Any]) -> None:
        for point in content["lookups"]:
            point["shard_seconds"] *= 3

    ours, theirs = CostModel(load_points()), CostModel(load_points(changed(tmp_path / "points.json", slower)))
    shape = ours.points.lookups[0].shape
    assert theirs.shard_seconds(shape) == pytest.approx(3 * ours.shard_seconds(shape))
    assert theirs.router_seconds(shape, "handlers") == pytest.approx(ours.router_seconds(shape, "handlers"))


def wrong_storage(content: dict[str, Any]) -> None:
    content["memory"][0]["storage"] = "f8"


def nothing_held_out(content: dict[str, Any]) -> None:
    for point in content["lookups"]:
        point["held_out"] = False


def negative(content: dict[str, Any]) -> None:
    content["lookups"][2]["p50"] = -1.0


def of_no_field(content: dict[str, Any]) -> None:
    content["epochs"][1]["colour"] = "red"


@pytest.mark.parametrize(
    ("change", "place", "word"),
    [
        (wrong_storage, "$.memory[0].storage", "f8"),
        (nothing_held_out, "$.lookups", "to hold out"),
        (negative, "$.lookups[2].p50", "0.0"),
        (of_no_field, "$.epochs[1]", "colour"),
        (lambda content: content.pop("machine"), "$", "machine"),
    ],
)
def test_a_wrong_file_is_refused_by_its_place(tmp_path: Path, change: Any, place: str, word: str) -> None:
    path = changed(tmp_path / "points.json", change)
    with pytest.raises(ConfigError) as refused:
        load_points(path)
    assert refused.value.file == str(path) and refused.value.path == place and word in refused.value.problem


def test_no_file_and_no_json_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(ConfigError, match="measured points"):
            load_points(path)
    for text in ("", "{", '{"machine": NaN}'):
        (tmp_path / "points.json").write_text(text)
        with pytest.raises(ConfigError):
            load_points(tmp_path / "points.json")


@given(st.data())
def test_a_file_that_is_cut_or_spoiled_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    text = bytearray(TEXT.encode())
    del text[data.draw(st.integers(0, len(text))) :]
    for place in data.draw(st.lists(st.integers(0, max(0, len(text) - 1)), max_size=3)) if text else []:
        text[place] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "spoiled.json"
    path.write_bytes(text)
    try:
        assert isinstance(load_points(path), Points)
    except ConfigError as error:
        assert error.file == str(path)


def test_points_are_written_as_they_are_read() -> None:
    assert msgspec.json.decode(msgspec.json.encode(load_points()), type=Points) == load_points()
