"""`persia-launcher plan`: figures with their errors, what binds, and arguments that are wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from persia.launcher import main
from persia.planning.points import OURS

FITS = "--rows 500M --dim 16 --qps 2000 --batch 128 --machines 12 --network 25"
DOES_NOT = "--rows 500G --dim 64 --qps 2000 --batch 128 --machines 12"


class Misfit(msgspec.Struct, forbid_unknown_fields=True):
    median: float
    worst: float
    points: int


class PlanJson(msgspec.Struct, forbid_unknown_fields=True):
    layout: dict[str, int]
    demand: dict[str, float]
    machines: int
    middlewares: int
    server_bytes: float
    cores_busy: float
    cores_busy_with_a_loss: float
    server_seconds: float
    router_seconds: float
    network_bits: float
    lookup_bytes: float
    asked: float
    ways: float
    latency: dict[str, float]


class TrialJson(msgspec.Struct, forbid_unknown_fields=True):
    lookups: int
    failed: int
    asked_again: int
    latency: dict[str, float]
    lag_p99: float
    troubles: dict[str, float]


class Answer(msgspec.Struct, forbid_unknown_fields=True):
    """What `--json` prints; a program may rely on it."""

    possible: bool
    workload: dict[str, Any]
    machines: dict[str, Any]
    points: dict[str, str]
    errors: dict[str, Misfit]
    plan: PlanJson | None = None
    simulation: TrialJson | None = None
    binds: list[str] = []
    nearest: dict[str, dict[str, float]] | None = None
    helps: list[str] = []


def run(arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["plan", *arguments.split()])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


def answer(arguments: str) -> Answer:
    code, said = run(f"{arguments} --json")
    found = msgspec.json.decode(said, type=Answer)
    assert code == (0 if found.possible else 1)
    return found


def test_a_plan_says_all_that_is_wanted_with_its_errors() -> None:
    code, said = run(FITS)
    assert code == 0
    lines = {line.split()[0]: line for line in said.splitlines() if line and not line.startswith(" ")}
    for name in ("shards", "replicas", "middlewares", "memory", "cores", "network", "latency"):
        assert name in lines
    assert "% off)" in lines["memory"] and "% off)" in lines["latency"]
    assert "p50" in lines["latency"] and "p99" in lines["latency"]
    assert said.count("points held out") == 6 and "--points FILE" in said


def test_json_has_the_same_figures_and_their_errors() -> None:
    found = answer(FITS)
    assert found.possible and found.plan is not None and found.binds == []
    assert set(found.errors) == {"memory", "epochs", "servers", "routers", "p50", "p99"}
    assert all(misfit.worst >= misfit.median >= 0 and misfit.points > 0 for misfit in found.errors.values())
    assert found.plan.machines == found.plan.layout["shards"] * found.plan.layout["replicas"] <= 12
    assert f"shards       {found.plan.layout['shards']}\n" in run(FITS)[1]


def test_what_is_impossible_says_what_binds_and_what_would_help() -> None:
    code, said = run(DOES_NOT)
    assert code == 1 and "No layout" in said and "points held out" in said
    assert "binds: the memory of a machine" in said
    (machines,) = [line for line in said.splitlines() if "machines like these" in line]
    needed = machines.split()[1].replace(",", "")
    assert run(DOES_NOT.replace("--machines 12", f"--machines {needed}"))[0] == 0
    found = answer(DOES_NOT)
    assert "memory" in found.binds and found.helps and found.nearest is not None


def test_each_help_helps() -> None:
    short = "--rows 1G --dim 64 --qps 100 --batch 16 --machines 6"
    helps = answer(short).helps
    assert "rows in int8 (row_storage)" in helps and "1 replica of each shard" in helps
    assert run(f"{short} --storage int8")[0] == 0
    assert run(f"{short} --replicas 1")[0] == 0
    assert "With one replica" in run(f"{short} --replicas 1")[1]
    (memory,) = [help_ for help_ in helps if "GiB" in help_]
    assert run(f"{short} --memory {memory.split()[2]}")[0] == 0


def test_many_servers_are_not_for_each_handler_to_ask() -> None:
    many = "--rows 40G --dim 16 --qps 500 --batch 16 --machines 500 --memory 16"
    note = "has a thread for each of the"
    assert "clients_ask_shards: false" in run(f"{many} --handlers 50")[1] and note in run(f"{many} --handlers 50")[1]
    assert note not in run(many)[1] and note not in run(f"{FITS} --handlers 50")[1]


def test_a_plan_can_be_simulated() -> None:
    code, said = run(f"{FITS} --epochs 4 --simulate 20")
    assert code == 0 and "simulated" in said and "calls made again" in said and "lag by at most" in said
    trial = answer(f"{FITS} --epochs 4 --simulate 20").simulation
    assert trial is not None and 0 < trial.lag_p99 < 1 and trial.lookups > 500 > trial.failed
    assert 0 < trial.latency["p50"] <= trial.latency["p99"] <= trial.latency["p999"]
    assert answer(FITS).simulation is None and answer(f"{DOES_NOT} --simulate 5").simulation is None


def test_earlier_hedges_shorten_the_longest_times_of_many_shards() -> None:
    many = "--rows 80G --dim 16 --qps 1000 --batch 128 --machines 400 --memory 64 --network 25"
    late, early = (answer(f"{many} --simulate 20 --hedge-after {after}").simulation for after in (100, 15))
    assert late is not None and early is not None
    assert early.latency["p99"] < 0.5 * late.latency["p99"]


def test_fewer_machines_than_replicas() -> None:
    code, said = run("--rows 1M --dim 16 --qps 10 --batch 1 --machines 1")
    assert code == 1 and "binds: 2 replicas of a shard want 2 machines, there is 1" in said
    assert answer("--rows 1M --dim 16 --qps 10 --batch 1 --machines 1").binds == ["machines"]


def test_epochs_that_take_much_memory_name_the_setting() -> None:
    assert "retained_epochs_percent" in run(f"{FITS} --epochs 8 --changed 50M")[1]
    assert "retained_epochs_percent" not in run(f"{FITS} --epochs 8 --changed 1M")[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--dim 16 --qps 1 --batch 1 --machines 1", ["--rows"]),
        (f"{FITS} --rows 1.5", ["--rows", "whole number", "1.5"]),
        (f"{FITS} --rows -3", ["--rows"]),
        (f"{FITS} --rows 2X", ["--rows", "1.5M", "2X"]),
        (f"{FITS} --rows 99999T", ["--rows", "1,000,000,000,000,000"]),
        (f"{FITS} --qps nan", ["--qps", "nan"]),
        (f"{FITS} --qps 0", ["--qps", "above 0"]),
        (f"{FITS} --qps inf", ["--qps"]),
        (f"{FITS} --batch 70000", ["--batch", "65,535"]),
        (f"{FITS} --machines 20000", ["--machines", "10,000"]),
        (f"{FITS} --most-busy 1.5", ["--most-busy", "0 to 1"]),
        (f"{FITS} --storage f8", ["--storage", "f16"]),
        (f"{FITS} --skew 0.5", ["--skew"]),
        (f"{FITS} --hedge-after 0", ["--hedge-after"]),
        (f"{FITS} --simulate 1e9", ["--simulate", "3600"]),
        (f"{FITS} --changed 1M", ["--changed", "--epochs"]),
    ],
)
def test_wrong_arguments_are_named(arguments: str, words: list[str]) -> None:
    code, said = run(arguments)
    assert code == 2 and all(word in said for word in words), said


def test_other_points_are_used_and_wrong_ones_named(tmp_path: Path) -> None:
    content = json.loads(OURS.read_text())
    content["machine"] = "a machine of ours"
    for point in content["memory"]:
        point["bytes_per_row"] *= 3
    path = tmp_path / "points.json"
    path.write_text(json.dumps(content))
    found, ours = answer(f"{FITS} --points {path}"), answer(FITS)
    assert found.points["machine"] == "a machine of ours"
    assert found.plan is not None and ours.plan is not None
    assert found.plan.layout["shards"] > ours.plan.layout["shards"]
    code, said = run(f"{FITS} --points {tmp_path / 'none.json'}")
    assert code == 1 and said.startswith("Error: ") and "none.json" in said and said.count("\n") == 1
