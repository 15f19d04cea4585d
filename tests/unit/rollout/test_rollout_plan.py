"""The steps of `persia-launcher rollout plan`, from values alone."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from persia.errors import InvalidInput
from persia.launcher import main
from persia.rollout.command import as_text
from persia.rollout.release import DEFAULT_SHARDS, DEFAULT_START_SECONDS, Release, merged, read_release, read_values
from persia.rollout.steps import Step, Target, plan_rollout
from tests.support.places import ROOT

VALUES = {"shards": {"count": 4}, "checkpoint": "s3://models/ctr/a", "packets": "/data/packets"}


def release(**settings: Any) -> Release:
    return read_release(VALUES | settings, None, "ctr", "serving")


def commands(steps: list[Step]) -> list[str]:
    return [command for step in steps for command in step.commands]


def test_more_shards_are_a_second_release_beside_the_first() -> None:
    steps = plan_rollout(release(), Target(shards=8))
    saved, started, waited, switched, rolled, looked, back, ended = commands(steps)
    assert saved == "helm get values ctr --namespace serving --output yaml > ctr-values.yaml"
    assert started.startswith("helm install ctr-green deploy/helm/persia-serve --namespace serving --values ctr-values.yaml ")
    assert {"shards.count=8", "middleware.replicas=0", "models.store=", "checkpoint=s3://models/ctr/a"} <= set(
        shlex.split(started)
    )
    assert "app.kubernetes.io/instance=ctr-green" in waited and waited.endswith("--timeout=3600s")
    slow = release(shards={"count": 4, "startSeconds": 7200})
    assert commands(plan_rollout(slow, Target(shards=8)))[2].endswith("--timeout=7200s")
    assert switched.endswith("--reuse-values --set-string embeddingTier.release=ctr-green --set embeddingTier.shards=8")
    assert "deployment/ctr-middleware" in rolled and "deployment/ctr-middleware" in looked
    assert back.endswith("--set-string embeddingTier.release= --set embeddingTier.shards=0")
    assert ended.endswith("--reuse-values --set shards.count=0")
    assert "Write embeddingTier and shards.count: 0 into the file of values that you keep." in " ".join(steps[-1].notes)
    # The new servers are there before anybody asks them, and the old ones until nobody does.
    order = [
        next(n for n, step in enumerate(steps) if command in step.commands) for command in (started, waited, switched, ended)
    ]
    assert order == sorted(order)


def test_the_next_time_the_old_tier_is_uninstalled() -> None:
    values = VALUES | {"shards": {"count": 0}, "embeddingTier": {"release": "ctr-green", "shards": 8}}
    tier = VALUES | {"shards": {"count": 8.0}}
    found = read_release(values, tier, "ctr", "serving")
    assert (found.tier, found.shards, found.has_own_tier) == ("ctr-green", 8, False)
    saved, started, *_, back, ended = commands(plan_rollout(found, Target(shards=16)))
    assert saved.startswith("helm get values ctr-green ")
    assert started.startswith("helm install ctr-blue ")
    assert "embeddingTier.release=ctr-green --set embeddingTier.shards=8" in back
    assert ended == "helm uninstall ctr-green --namespace serving"


def test_a_checkpoint_goes_by_an_epoch_where_there_are_epochs() -> None:
    steps = plan_rollout(release(epochs=True), Target(checkpoint="s3://models/ctr/b"))
    inspect, log, old, new, _, back = commands(steps)
    pod = "kubectl --namespace serving exec deployment/ctr-shard-0 -- persia-launcher "
    assert inspect == pod + "checkpoint inspect s3://models/ctr/b"
    assert log == pod + "epochs log /data/packets"
    assert old == pod + "epochs checkpoint /data/packets s3://models/ctr/a"
    assert new == pod + "epochs checkpoint /data/packets s3://models/ctr/b"
    assert back.startswith(pod + "epochs revert")
    assert not [command for command in commands(steps) if command.startswith("helm")]


def test_a_checkpoint_without_epochs_is_a_second_release() -> None:
    steps = plan_rollout(release(), Target(checkpoint="s3://models/ctr/b", tier="ctr-b"))
    started = commands(steps)[1]
    assert started.startswith("helm install ctr-b ")
    assert {"shards.count=4", "checkpoint=s3://models/ctr/b"} <= set(shlex.split(started))


def test_both_at_once_with_epochs_are_the_epoch_first() -> None:
    both = commands(plan_rollout(release(epochs=True), Target(shards=8, checkpoint="s3://models/ctr/b")))
    assert "epochs checkpoint" in both[3]
    assert any(command.startswith("helm install ctr-green") for command in both)
    without = commands(plan_rollout(release(), Target(shards=8, checkpoint="s3://models/ctr/b")))
    assert len([command for command in without if command.startswith("helm install")]) == 1


def test_journals_of_servers_that_went_are_told_of_where_packets_are_pruned() -> None:
    pruned = {"settings": {"embedding_parameter_server_config": {"incremental_prune_before_checkpoint": True}}}
    last = plan_rollout(release(**pruned), Target(shards=8))[-1]
    assert "replica_*_of_4*.jsonl" in " ".join(last.notes)
    assert "jsonl" not in " ".join(plan_rollout(release(), Target(shards=8))[-1].notes)


def test_what_means_something_to_a_shell_or_to_helm_is_quoted() -> None:
    started = commands(plan_rollout(release(), Target(checkpoint="/data/a b,c", chart="my charts/persia")))[1]
    words = shlex.split(started)
    assert words[3] == "my charts/persia"
    assert r"checkpoint=/data/a b\,c" in words


@pytest.mark.parametrize(
    ("values", "target", "words"),
    [
        ({}, Target(), "ask for another number of shards"),
        ({}, Target(shards=4), "has 4 shards and the checkpoint s3://models/ctr/a already"),
        ({}, Target(shards=0), "from 1 to 4096 shards, got 0"),
        ({}, Target(shards=8, tier="ctr"), "the release ctr is there already"),
        ({}, Target(shards=8, tier="Ctr_8"), "small letters"),
        ({}, Target(checkpoint="ctr/b"), "expected an absolute path or a URL as the new checkpoint, got 'ctr/b'"),
        ({"checkpoint": "", "packets": ""}, Target(shards=8), "neither checkpoint nor packets"),
        ({"shards": 3}, Target(shards=8), "expected a section with keys in shards, got 3"),
        ({"shards": {"count": "4"}}, Target(shards=8), "expected a whole number in shards.count, got '4'"),
        ({"shards": {"count": True}}, Target(shards=8), "expected a whole number in shards.count, got True"),
        ({"shards": {"count": 0}}, Target(shards=8), "expected shards.count from 1 to 4096 in the values of ctr"),
        ({"epochs": "yes"}, Target(shards=8), "expected true or false in epochs, got 'yes'"),
        ({"checkpoint": ["a"]}, Target(shards=8), "expected a text in checkpoint"),
        ({"embeddingTier": {"release": "other"}}, Target(shards=8), "helm get values other --namespace serving"),
    ],
)
def test_what_cannot_be_planned_is_said(values: dict[str, Any], target: Target, words: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        plan_rollout(release(**values), target)
    assert words in str(refused.value)


def test_values_are_put_together_as_helm_does_it(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("shards: {count: 4, replicas: 2}\npackets: /data/packets\n")
    (tmp_path / "b.yaml").write_text("shards: {count: 6}\npackets: null\n")
    (tmp_path / "c.yaml").write_text("")
    paths = [tmp_path / f"{name}.yaml" for name in "abc"]
    assert read_values(paths) == {"shards": {"count": 6, "replicas": 2}}
    for text, words in (("[1]", "expected a mapping"), ("a: b: c", "is no YAML"), ("a: 2026-13-45", "is no YAML")):
        (tmp_path / "d.yaml").write_text(text)
        with pytest.raises(InvalidInput, match=words):
            read_values([tmp_path / "d.yaml"])


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
_KEYS = (
    st.sampled_from(["shards", "count", "embeddingTier", "release", "epochs", "packets", "checkpoint", "settings"]) | _SCALARS
)
_TREES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4), max_leaves=12
)


@given(st.dictionaries(_KEYS, _TREES, max_size=6), st.none() | st.dictionaries(_KEYS, _TREES, max_size=6))
def test_values_of_any_kind_are_a_release_or_refused(values: dict[Any, Any], tier: dict[Any, Any] | None) -> None:
    try:
        found = read_release({"packets": "/data/packets"} | values, tier, "ctr", "serving")
        steps = plan_rollout(found, Target(shards=found.shards % 7 + 1, checkpoint="s3://new/one"))
    except InvalidInput:
        return
    for command in commands(steps):
        assert shlex.split(command) and "\n" not in command


@given(_TREES, _TREES)
def test_what_is_merged_has_the_later_values(one: Any, other: Any) -> None:
    if isinstance(one, dict) and isinstance(other, dict):
        whole = merged(one, other)
        assert all(
            whole[key] == value
            for key, value in other.items()
            if not isinstance(value, dict) and value is not None and value == value
        )


def test_the_default_is_that_of_the_chart() -> None:
    chart = yaml.safe_load((ROOT / "deploy" / "helm" / "persia-serve" / "values.yaml").read_text())
    assert (chart["shards"]["count"], chart["shards"]["startSeconds"]) == (DEFAULT_SHARDS, DEFAULT_START_SECONDS)
    assert (ROOT / Target().chart).is_dir()


def test_the_command_prints_each_command_on_a_line_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(VALUES))
    line = ["rollout", "plan", "ctr", "--values", str(tmp_path / "values.yaml"), "--namespace", "serving"]
    done = CliRunner().invoke(main, [*line, "--shards", "8"])
    assert done.exit_code == 0, done.output
    steps = plan_rollout(release(), Target(shards=8))
    assert done.output == as_text(steps) + "\n"
    assert [text.strip() for text in done.output.splitlines() if text.startswith("       ")] == commands(steps)
    refused = CliRunner().invoke(main, [*line, "--shards", "4"])
    assert refused.exit_code == 1 and "already" in refused.output


def test_the_launcher_knows_what_pods_are_told_to_run() -> None:
    found = release(epochs=True, packets="s3://models/ctr/packets")
    steps = plan_rollout(found, Target(shards=8, checkpoint="s3://models/ctr/b"))
    asked = [command.partition(" -- persia-launcher ")[2] for command in commands(steps)]
    for line in filter(None, asked):
        command: click.Command = main
        words = shlex.split(line.replace("EPOCH", "3"))
        while isinstance(command, click.Group):
            next_one = command.get_command(click.Context(command), words.pop(0))
            assert next_one is not None, line
            command = next_one
        command.make_context(line, words)
