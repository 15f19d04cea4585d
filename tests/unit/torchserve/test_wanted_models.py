"""Which models a TorchServe is to have, as it is noted, read again, and turned into what the next one starts with."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persia.errors import ConfigError, InvalidInput, NotFound
from persia.torchserve.model import Model
from persia.torchserve.run.restoring import Planned, plan_start
from persia.torchserve.run.store import with_checksums
from persia.torchserve.wanted import Version, Versions, Wanted, differences, fitness, noted, read_wanted, write_wanted
from tests.support.torchserves import make_archive

COUNTS = st.integers(1, 1 << 40)
TEXTS = st.text(min_size=1, max_size=8)
ARCHIVES = st.text(st.characters(exclude_characters="/\n", exclude_categories=["Cs"]), min_size=1, max_size=8)
VERSIONS = st.builds(lambda archive, least, more: Version(archive, least, least + more), ARCHIVES, COUNTS, st.integers(0, 9))


@st.composite
def models(draw: st.DrawFn) -> Versions:
    versions = draw(st.dictionaries(TEXTS, VERSIONS, max_size=3))
    return Versions(draw(st.sampled_from(sorted(versions))) if versions else None, versions)


WANTED = st.builds(
    Wanted, st.dictionaries(TEXTS, models(), max_size=3), st.dictionaries(ARCHIVES, TEXTS, max_size=2), st.none() | COUNTS
)


@given(WANTED)
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, wanted: Wanted) -> None:
    path = tmp_path_factory.getbasetemp() / "written.json"
    write_wanted(path, wanted)
    assert read_wanted(path) == wanted


@given(st.binary(max_size=200) | WANTED.map(repr).map(str.encode))
def test_any_other_file_is_refused_with_what_to_do(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "other.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="start anew with --forget-state"):
        read_wanted(path)


@pytest.mark.parametrize(
    "text",
    [
        '{"models": {}, "format": 2}',
        '{"models": {"a": {"default": "1", "versions": {}}}}',
        '{"models": {"a": {"default": null, "versions": {"1": {"archive": "a", "min_workers": 1, "max_workers": 1}}}}}',
        '{"models": {"a": {"default": "1", "versions": {"1": {"archive": "../a", "min_workers": 1, "max_workers": 1}}}}}',
        '{"models": {"a": {"default": "1", "versions": {"1": {"archive": "a", "min_workers": 2, "max_workers": 1}}}}}',
        '{"models": {"a": {"default": "1", "versions": {"1": {"archive": "a", "min_workers": 0, "max_workers": 1}}}}}',
        '{"models": {}, "surprise": 1}',
    ],
)
def test_a_file_that_cannot_be_meant_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(ConfigError, match="start anew with --forget-state"):
        read_wanted(tmp_path / "m.json")


def test_where_nothing_was_noted_nothing_is_wanted(tmp_path: Path) -> None:
    assert read_wanted(tmp_path / "absent.json") is None


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_note_that_fails_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "models.json"
    write_wanted(path, Wanted({}, workers=3))
    with monkeypatch.context() as failing:
        failing.setattr(os, step, refuse)
        with pytest.raises(OSError, match="No space left"):
            write_wanted(path, Wanted({}, workers=4))
    assert read_wanted(path) == Wanted({}, workers=3) and list(tmp_path.iterdir()) == [path]
    write_wanted(path, Wanted({}, workers=4))
    assert read_wanted(path) == Wanted({}, workers=4)


def seen(version: str, *, default: bool = False, workers: int = 1, ready: int | None = None, name: str = "ctr") -> Model:
    count = workers if ready is None else ready
    states = [{"status": "READY"}] * count + [{"status": "LOADING"}] * (workers - count)
    return Model(name, version, f"{name}-{version}.mar", default, workers, workers, count, tuple(states), 1)


def wanted(default: str, **workers: int) -> Wanted:
    counts = {version.removeprefix("v"): count for version, count in workers.items()}
    versions = {version: Version(f"ctr-{version}.mar", count, count) for version, count in counts.items()}
    return Wanted({"ctr": Versions(default, versions)})


def note(before: Wanted, *models: Model, lost: Sequence[tuple[str, str]] = (), whole: bool = True) -> Wanted:
    return noted(before, models, lost, whole)


def test_each_step_of_a_swap_leaves_the_old_or_the_new_version() -> None:
    state = note(Wanted({}), seen("1", default=True))
    assert state == wanted("1", v1=1)
    assert note(state, seen("1", default=True), seen("2", ready=0)) == state  # it may fail yet
    both = note(state, seen("1", default=True), seen("2"))
    assert both == wanted("1", v1=1, v2=1)
    assert note(both, seen("2", default=True), seen("1")) == wanted("2", v1=1, v2=1)
    assert note(both, seen("2", default=True)) == wanted("2", v2=1)


def test_a_version_whose_workers_die_is_still_wanted() -> None:
    state = wanted("1", v1=2)
    assert note(state, seen("1", default=True, workers=2, ready=0)) == state


def test_what_is_scaled_and_unregistered_is_noted() -> None:
    assert note(wanted("1", v1=2), seen("1", default=True, workers=3)) == wanted("1", v1=3)
    assert note(wanted("1", v1=2)) == Wanted({"ctr": Versions(None, {})})  # and stays so
    assert note(Wanted({"ctr": Versions(None, {})}), seen("1", default=True)) == wanted("1", v1=1)


def test_a_torchserve_that_ends_unregisters_nothing() -> None:
    state = wanted("2", v1=1, v2=2)
    assert note(state, seen("2", default=True, workers=2), whole=False) == state
    assert note(state, seen("2", default=True, workers=0), whole=False) == state
    assert note(state, whole=False) == state


def test_a_default_that_cannot_answer_yet_does_not_take_the_place_of_the_old_one() -> None:
    state = wanted("1", v1=1)
    assert note(state, seen("2", default=True, ready=0), seen("1")) == state
    assert note(state, seen("2", default=True, ready=0)) == state
    assert note(state, seen("2", default=True)) == wanted("2", v2=1)


def test_what_could_not_be_restored_is_wanted_until_it_is_given_up() -> None:
    state = wanted("1", v1=1, v2=1)
    assert note(state, seen("1", default=True), lost=[("ctr", "2")]) == state
    assert note(state, lost=[("ctr", "1"), ("ctr", "2")]) == state
    assert note(state, seen("1", default=True)) == wanted("1", v1=1)
    taken_over = note(wanted("1", v1=1), seen("3", default=True), lost=[("ctr", "1")])
    assert taken_over == wanted("3", v1=1, v3=1)


def test_differences_and_fitness_name_what_is_not_as_it_was_left() -> None:
    state = wanted("1", v1=2, v2=1)
    good = [seen("1", default=True, workers=2, ready=1), seen("2")]
    assert differences(state, good) == [] and fitness(state, good) == {"ctr/1": True, "ctr": True, "ctr/2": True}
    bad = [seen("2", default=True, ready=0), seen("1"), seen("9", name="new")]
    assert differences(state, bad) == [
        "ctr: expected 1 to be the default, got another version",
        "ctr 1: expected 2 workers, got 1",
        "new 9: expected no such version, got one that is not noted (yet)",
    ]
    assert fitness(state, bad) == {"ctr/1": True, "ctr": False, "ctr/2": False}
    assert differences(state, [seen("2")])[0] == (
        "ctr 1, the default: expected it registered, of ctr-1.mar, got no such version"
    )


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("store")
    for version in ("1", "2"):
        make_archive(store, "ctr", version)
    make_archive(store, "new", "1")
    return store


def test_the_first_start_takes_what_it_is_told(archives: Path) -> None:
    start = plan_start(archives, ["all"], None, None)
    assert start.models == [
        Planned("ctr", "2", "ctr-2.mar", True),
        Planned("ctr", "1", "ctr-1.mar", False),
        Planned("new", "1", "new-1.mar", True),
    ]
    assert start.left.models == {} and start.left.brought == {"ctr-2.mar": "ctr", "ctr-1.mar": "ctr", "new-1.mar": "new"}
    assert {planned.min_workers for planned in plan_start(archives, ["all"], 3, None).models} == {3}


def test_what_was_left_goes_before_what_a_start_is_told(archives: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "torchserve")
    start = plan_start(archives, ["all"], None, wanted("1", v1=2))
    assert start.models == [Planned("ctr", "1", "ctr-1.mar", True, 2, 2), Planned("new", "1", "new-1.mar", True)]
    assert "as it was left: ctr 1 (the default)" in caplog.text
    assert "ctr-2.mar of --models is left out" in caplog.text and "manage swap ctr ctr-2.mar" in caplog.text
    gone = plan_start(archives, ["all"], None, Wanted({"ctr": Versions(None, {})}))
    assert [planned.name for planned in gone.models] == ["new"]


def test_the_default_comes_first(archives: Path) -> None:
    assert [planned.version for planned in plan_start(archives, [], None, wanted("2", v1=1, v2=1)).models] == ["2", "1"]


def test_workers_are_as_they_were_scaled_unless_the_option_is_new(archives: Path) -> None:
    for before, option, workers in [(None, None, 5), (2, None, 5), (2, 2, 5), (None, 2, 2), (2, 3, 3)]:
        left = Wanted(wanted("1", v1=5).models, workers=before)
        (planned,) = plan_start(archives, [], option, left).models
        assert (planned.min_workers, planned.max_workers) == (workers, workers)


def test_an_archive_that_is_gone_is_named_and_the_others_come_back(archives: Path, caplog: pytest.LogCaptureFixture) -> None:
    left = Wanted({**wanted("1", v1=1, v3=1).models, "x": Versions("1", {"1": Version("new-1.mar", 1, 1)})})
    start = plan_start(archives, [], None, left)
    assert [(planned.name, planned.version) for planned in start.models] == [("ctr", "1"), ("x", "1")]
    assert list(start.lost) == [("ctr", "3")]
    assert "ctr 3 is NOT restored: expected ctr-3.mar in" in caplog.text and "manage unregister ctr --version 3" in caplog.text


def test_no_other_version_answers_for_a_default_that_is_gone(archives: Path) -> None:
    start = plan_start(archives, ["new-1.mar"], None, wanted("3", v1=1, v3=1))
    assert [planned.name for planned in start.models] == ["new"]
    assert set(start.lost) == {("ctr", "1"), ("ctr", "3")}


def test_an_archive_of_another_version_under_the_old_name_is_not_taken_for_it(archives: Path) -> None:
    left = Wanted({"ctr": Versions("1", {"1": Version("ctr-2.mar", 1, 1)})})
    assert list(plan_start(archives, [], None, left).lost.values()) == [
        f"expected version 1 in {archives / 'ctr-2.mar'}, got 2"
    ]


def test_an_archive_that_was_replaced_in_place_does_not_answer_for_the_one_that_was_registered(archives: Path) -> None:
    left = with_checksums(wanted("1", v1=1), archives)
    assert [planned.version for planned in plan_start(archives, [], None, left).models] == ["1"]
    (archives / "ctr-1.mar").write_bytes((archives / "ctr-1.mar").read_bytes() + b"\0")
    (reason,) = plan_start(archives, [], None, left).lost.values()
    assert reason.startswith(f"ctr-1.mar has been replaced in {archives} since it was registered.")
    assert with_checksums(left, archives) == left  # what was registered stays what is wanted


def test_an_archive_that_was_swapped_out_may_go_although_models_names_it(archives: Path) -> None:
    left = Wanted(wanted("2", v2=1).models, {"ctr-0.mar": "ctr"})
    assert [planned.version for planned in plan_start(archives, ["ctr-0.mar"], None, left).models] == ["2"]
    (archives / "ctr-0.mar").write_bytes(b"broken")
    assert [planned.version for planned in plan_start(archives, ["ctr-0.mar"], None, left).models] == ["2"]
    (archives / "ctr-0.mar").unlink()
    with pytest.raises(NotFound, match=r"expected ctr-9\.mar in"):
        plan_start(archives, ["ctr-9.mar"], None, left)


def test_two_archives_of_one_version_that_is_settled_keep_no_torchserve_from_starting(tmp_path: Path) -> None:
    archive = tmp_path / make_archive(tmp_path, "ctr", "1")
    (tmp_path / "copy.mar").write_bytes(archive.read_bytes())
    assert [planned.archive for planned in plan_start(tmp_path, ["all"], None, wanted("1", v1=1)).models] == ["ctr-1.mar"]
    with pytest.raises(InvalidInput, match="expected each version of a model once"):
        plan_start(tmp_path, ["all"], None, None)
