"""Versions of dense models in records: as a trainer, a swap and an operator write them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner

from persia.client.dense_switch import DenseSwitch
from persia.embedding_server.tools.epochs import epochs as epochs_command
from persia.errors import Superseded
from persia.formats.epoch import Draft
from persia.formats.epoch_log import EpochLog
from persia.writers import EpochCommitter


@pytest.fixture
def committer(tmp_path: Path) -> EpochCommitter:
    return EpochCommitter(tmp_path)


def dense_of(directory: Path) -> Mapping[str, str]:
    """Of the newest epoch."""
    log = EpochLog(directory)
    return log.history.dense_at(log.read())


def test_a_trainer_names_some_versions_and_the_others_stay(tmp_path: Path, committer: EpochCommitter) -> None:
    committer.commit([], dense={"ctr": "7.0", "cvr": "1.0"})
    committer.commit([], dense={"ctr": "8.0"})
    committer.commit([])
    assert dense_of(tmp_path) == {"ctr": "8.0", "cvr": "1.0"}
    committer.commit([], dense={"cvr": None})
    assert dense_of(tmp_path) == {"ctr": "8.0"}


def test_a_switch_commits_what_the_trainer_has_not(tmp_path: Path, committer: EpochCommitter) -> None:
    epoch = committer.commit([], dense={"ctr": "7.0"})
    switch = DenseSwitch(tmp_path)
    assert switch.commit("ctr", "7.0") == epoch
    switch.undo()
    assert EpochLog(tmp_path).read() == epoch
    assert switch.commit("ctr", "8.0") == epoch + 1 and dense_of(tmp_path) == {"ctr": "8.0"}
    with pytest.raises(Superseded):
        committer.commit([])
    switch.undo()
    assert dense_of(tmp_path) == {"ctr": "7.0"} and EpochLog(tmp_path).read() == epoch + 2
    switch.undo()
    assert EpochLog(tmp_path).read() == epoch + 2


def test_a_switch_of_a_model_that_no_record_names_is_undone(tmp_path: Path) -> None:
    switch = DenseSwitch(tmp_path)
    switch.commit("ctr", "8.0")
    switch.undo()
    assert dense_of(tmp_path) == {}


def test_what_somebody_has_named_since_is_not_undone(tmp_path: Path, committer: EpochCommitter) -> None:
    switch = DenseSwitch(tmp_path)
    switch.commit("ctr", "8.0")
    committer.refresh()
    committer.commit([], dense={"ctr": "9.0"})
    switch.undo()
    assert dense_of(tmp_path) == {"ctr": "9.0"}


def test_a_switch_goes_on_top_of_what_others_commit_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    switch, other, commit = DenseSwitch(tmp_path), EpochLog(tmp_path), EpochLog.commit

    def commit_second(self: EpochLog, *arguments: object, **named: object) -> object:
        if other.read() < 3:
            commit(other, Draft(dense={"cvr": "1.0"}), "server")
        return commit(self, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(EpochLog, "commit", commit_second)
    assert switch.commit("ctr", "8.0") == 4
    assert dense_of(tmp_path) == {"ctr": "8.0", "cvr": "1.0"}


def test_an_operator_names_versions(tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        result = CliRunner().invoke(epochs_command, [arguments[0], str(tmp_path), *arguments[1:]])
        assert result.exit_code == 0, result.output
        return result.output

    assert "operator  for ctr 8.0, cvr 1.0; rollout" in run("dense", "ctr=8.0", "cvr=1.0", "--why", "rollout")
    assert "for cvr 1.0" in run("dense", "ctr=")
    assert "epoch 2 with 0 packets, for cvr 1.0; servers commit" in run("log")
    assert "for any dense model" in run("dense", "cvr=")
    for text in ("ctr", "=8.0"):
        result = CliRunner().invoke(epochs_command, ["dense", str(tmp_path), text])
        assert result.exit_code == 1 and f"expected MODEL=VERSION, such as ctr=8.0, got '{text}'" in result.output
    assert dense_of(tmp_path) == {}
