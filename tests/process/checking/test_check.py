"""`persia-launcher check`: exit codes, the table, JSON, and what it says of configs, checkpoints, samples and machines."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from persia.batch import NonIDTypeFeature
from persia.checking.command import check
from persia.checking.memory import Room, judge_memory, room_of
from persia.checking.report import COLUMNS, Report
from persia.deployment.check import check_arguments
from persia.deployment.plan import DeploymentPlan
from persia.signs import signs_of
from persia.writers import IncrementalDumper, write_checkpoint
from tests.support.checks import CONFIG, SAMPLES, Files, changed, parse, table_ids
from tests.support.golden import GOLDEN, arrays_of
from tests.support.torchserves import PERSIA_HANDLER, make_archive

LAUNCHER = Path(sys.executable).with_name("persia-launcher")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    files = Files(tmp_path)
    files.write()
    return files


def test_all_is_well(files: Files) -> None:
    checked = files.check("--strict", "--middleware-port", "0")
    assert (checked.code, checked.of("warn"), checked.of("fail")) == (0, [], [])
    found = {(finding["area"], finding["subject"]): finding["figures"] for finding in checked.content["findings"]}
    assert found["rows", "user"] == {"rows": 200, "exact": True, "rows_of_dim_4": 200}
    assert found["rows", "query"]["rows"] == 100  # 2 rounds of 50
    assert found["sample", "history"]["with_rows"] == found["sample", "history"]["ids"] > SAMPLES
    assert found["machine", "memory"]["needed"] > 0


@pytest.mark.parametrize("model", ["ctr", "mix"])
def test_what_persia_left_is_well_and_scores_are_its_own(tmp_path: Path, model: str) -> None:
    golden = GOLDEN / model
    make_archive(tmp_path / "store", model, handler=PERSIA_HANDLER, model=golden / "ckpt" / "jit_dense.pt")
    config = tmp_path / "global_config.yaml"
    config.write_text(yaml.safe_dump({"common_config": {"infer_config": {"embedding_checkpoint": str(golden / "ckpt")}}}))
    arguments = ["--global-config", str(config), "--embedding-config", str(golden / "embedding_config.yml"), "--json"]
    arguments += [
        "--sample",
        str(golden / "golden" / "batch16_0.bin"),
        "--archive",
        str(tmp_path / "store" / f"{model}-1.0.mar"),
    ]
    result = CliRunner().invoke(check, [*arguments, "--middleware-port", "0"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["failures"] == 0
    (scores,) = (f["figures"] for f in found["findings"] if f["text"].startswith("scores of the sample"))
    out = arrays_of(golden / "golden" / "batch16_0.npz")["out"]
    assert scores == pytest.approx({"min": out.min(), "mean": out.mean(), "max": out.max()}, abs=1e-3)


@pytest.mark.parametrize(
    ("torchserve", "ports"),
    [
        ((), []),
        (("--port", "1", "--management-port=2", "--drain", "3"), ["--port", "1", "--management-port", "2"]),
        (("--port", "1", "--port", "7"), ["--port", "7"]),
    ],
)
def test_up_asks_for_the_ports_that_torchserve_will_have(torchserve: tuple[str, ...], ports: list[str]) -> None:
    plan = DeploymentPlan(
        state=Path("state"),
        global_config=Path("global.yaml"),
        embedding_config=Path("embedding.yml"),
        servers=[["127.0.0.1:1"]],
        middleware="127.0.0.1:5",
    )
    whole = replace(plan, model_store=Path("store"), models=["all"], front_arguments=torchserve)
    arguments = check_arguments(whole)
    at = arguments.index("--models") + 2
    assert (arguments[at:], "--ports-must-be-free" in arguments) == (ports, True)
    assert arguments[arguments.index("--middleware-port") + 1] == "5"
    assert "--model-store" not in check_arguments(plan)


def test_exit_codes(files: Files) -> None:
    assert files.check("--middleware-port", "0").code == 0
    ids = files.ids()
    files.write_sample({**ids, "user": [np.zeros(0, np.uint64)] * SAMPLES})  # a warning
    assert files.check("--middleware-port", "0").code == 0
    assert files.check("--middleware-port", "0", "--strict").code == 1
    files.write_config(changed(user={"dim": 8}))
    assert files.check("--middleware-port", "0").code == 2


def test_the_table_fits_its_columns_and_ends_with_a_verdict(files: Files) -> None:
    ids = table_ids()
    files.write_table(signs={"user": ids["user"]})
    directory = files.directory
    command = [str(LAUNCHER), "check", "--global-config", str(directory / "global_config.yaml"), "--middleware-port", "0"]
    command += ["--embedding-config", str(directory / "embedding_config.yml"), "--sample", str(directory / "sample.bin")]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 2, run.stderr
    lines = run.stdout.splitlines()
    assert max(map(len, lines)) <= COLUMNS
    assert lines[-1] == "not ready to serve: 1 failure, 2 warnings"
    assert any(line.startswith("FAIL  sample: user") and "0 of " in line for line in lines)
    quiet = subprocess.run([*command, "--problems-only"], capture_output=True, text=True).stdout.splitlines()
    assert quiet[-1] == lines[-1]
    assert not any(line.startswith("OK") for line in quiet)


def test_before_a_start_nobody_is_told_that_something_serves(files: Files) -> None:
    command = ["--global-config", str(files.directory / "global_config.yaml"), "--middleware-port", "0"]
    command += ["--embedding-config", str(files.directory / "embedding_config.yml")]
    for more, verdict in ([], "ready to serve"), (["--ports-must-be-free"], "nothing in the way of a start"):
        last = CliRunner().invoke(check, [*command, *more]).stdout.splitlines()[-1]
        assert last.startswith(f"{verdict}: no failures, "), last


def test_configs_that_cannot_be_read_are_failures_and_the_rest_is_checked(files: Files) -> None:
    (files.directory / "embedding_config.yml").write_text("slots_config: {user: {dmi: 4}}\n")
    checked = files.check("--middleware-port", "0")
    assert checked.code == 2
    (failure,) = checked.of("fail")
    assert failure.startswith("config embedding config:") and "dmi" in failure
    assert any(text.startswith("checkpoint files:") for text in checked.of("ok"))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("marker", "it is incomplete"),
        ("shard marker", "it is incomplete"),
        ("file", "is missing"),
        ("half a file", "expected"),
    ],
)
def test_a_checkpoint_that_no_server_would_load(files: Files, damage: str, told: str) -> None:
    emb = next(iter((files.checkpoint / "s1").glob("*.emb")))
    if damage == "half a file":
        emb.write_bytes(emb.read_bytes()[: emb.stat().st_size // 2])
    else:
        marker = files.checkpoint / "embedding_dump_done"
        {"marker": marker, "shard marker": files.checkpoint / "s0" / "embedding_dump_done", "file": emb}[damage].unlink()
    checked = files.check("--middleware-port", "0")
    assert checked.code == 2
    assert any(text.startswith("checkpoint files:") and told in text for text in checked.of("fail"))


def test_rows_over_the_capacity_and_another_number_of_servers(files: Files) -> None:
    files.global_config(capacity=100)
    checked = files.check("--middleware-port", "0")
    assert any(text.startswith("rows capacity:") for text in checked.of("warn"))
    files.global_config(servers=1)
    assert any("with 1 servers, each reads all files" in text for text in files.check("--middleware-port", "0").of("ok"))


def test_a_time_limit_makes_estimates_and_no_verdict_on_what_was_not_read(files: Files) -> None:
    checked = files.check("--middleware-port", "0", "--time-limit", "1e-9")
    assert checked.code == 0
    assert any(text.startswith("rows time limit: the time was over after 0 of") for text in checked.of("warn"))
    whole = files.check("--middleware-port", "0", "--time-limit", "1e-9", "--full")
    assert (whole.code, whole.of("warn")) == (0, [])


def test_packets_count_and_those_of_another_model_are_failures(files: Files) -> None:
    directory = files.directory / "incremental"
    files.global_config(enable_incremental_update=True, incremental_dir=str(directory))
    assert any(text.startswith("packets : there is no directory") for text in files.check("--middleware-port", "0").of("warn"))
    slots = parse(CONFIG).slots
    new = np.arange(5000, 5000 + SAMPLES, dtype=np.uint64)
    with IncrementalDumper(directory) as dumper:
        dumper.commit(signs_of(new, slots["tags"])[0], np.ones((len(new), 4), np.float32))
    files.write_sample({**files.ids(), "tags": [new[i : i + 1] for i in range(SAMPLES)]})
    checked = files.check("--middleware-port", "0")
    assert (checked.code, checked.of("warn")) == (0, [])
    assert any("sample tags: 16 of 16 distinct ids have a row" in text for text in checked.of("ok"))
    with IncrementalDumper(directory) as dumper:
        dumper.commit(signs_of(new, slots["user"])[0], np.ones((len(new), 16), np.float32))
    checked = files.check("--middleware-port", "0")
    assert checked.code == 2
    assert any("16 rows of dim 16 for user (expected 4)" in text for text in checked.of("fail"))


def test_rows_that_are_no_numbers(files: Files) -> None:
    rows = np.ones((10, 4), np.float32)
    rows[3, 1] = marked = np.float32(12345.678)
    signs = signs_of(np.arange(10, dtype=np.uint64), parse(CONFIG).slots["user"])[0]
    write_checkpoint(files.checkpoint, [(signs, rows)], shards=2, overwrite=True)
    for path in files.checkpoint.glob("s*/*.emb"):  # as another program may write it
        path.write_bytes(path.read_bytes().replace(marked.tobytes(), np.float32(np.nan).tobytes()))
    checked = files.check("--middleware-port", "0")
    assert any("rows NaN: 1 rows have NaN or infinite numbers, of user" in text for text in checked.of("fail"))


def test_ports(files: Files) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        checked = files.check("--middleware-port", port)
        assert checked.code == 0
        assert any(f"1 of 3 are taken: middleware 127.0.0.1:{port}" in text for text in checked.of("warn"))
        assert files.check("--middleware-port", port, "--ports-must-be-free").code == 2


def test_a_model_server_is_named_and_needs_no_java(files: Files) -> None:
    """Its ports stand in its config alone."""
    store, config = files.directory / "store", files.directory / "config.properties"
    store.mkdir()
    whole = ["--middleware-port", "0", "--ts-config", str(config), "--model-store", str(store), "--ports-must-be-free"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config.write_text(f"disable_token_authorization=true\ngrpc_inference_port={port}\ngrpc_management_port=0\n")
        checked = files.check(*whole, "--front", "model-server")
        assert any(f"are taken: the model server 127.0.0.1:{port}" in text for text in checked.of("fail"))
    assert not any(text.startswith("machine Java") for text in checked.of("ok"))
    with_torchserve = files.check(*whole, "--port", "0", "--management-port", "0")
    assert with_torchserve.code == 0, with_torchserve.of("fail")
    assert any(text.startswith("machine Java") for text in with_torchserve.of("ok"))


def test_java_and_an_empty_store(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    store = files.directory / "store"
    store.mkdir()
    arguments = ["--middleware-port", "0", "--port", "0", "--management-port", "0", "--model-store", str(store)]
    checked = files.check(*arguments)
    assert checked.code == 0
    assert any(text.startswith("machine Java:") for text in checked.of("ok"))
    assert any("there is no archive in" in text for text in checked.of("warn"))


@pytest.mark.parametrize(("share", "state"), [(0.5, "ok"), (0.9, "warn"), (1.1, "fail")])
def test_memory_is_compared_with_what_is_left(share: float, state: str) -> None:
    report = Report()
    judge_memory(report, round(share * 2**30), Room(2**30, "cgroup limit of 2.00 GiB"), "2 embedding servers")
    assert [finding.state for finding in report.findings] == [state]
    assert "1.00 GiB available (cgroup limit of 2.00 GiB)" in report.findings[0].text


MIB = 1 << 20


@pytest.mark.parametrize(
    ("mine", "version", "place", "left"),
    [
        ("0::/pods/one\n", 2, "pods/one", 60),
        ("0::/pods/one\n", 2, "pods", 60),  # of a cgroup above
        ("0::/pods/one\n", 2, "", 60),  # in a container, where the path is the host's
        ("0::/../other\n", 2, "", 60),
        ("3:cpu:/\n5:memory:/docker/abc\n", 1, "docker/abc", 60),
        ("5:memory:/docker/abc\n", 1, "", 60),
        ("0::/pods/one\n", 2, None, 1000),
    ],
)
def test_the_tightest_limit_counts(tmp_path: Path, mine: str, version: int, place: str | None, left: int) -> None:
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(f"MemTotal: 99999999 kB\nMemAvailable:   {1000 * 1024} kB\n")
    (proc / "self" / "cgroup").write_text(mine)
    root = cgroups if version == 2 else cgroups / "memory"
    if place is not None:
        directory = root / place
        directory.mkdir(parents=True)
        limit, usage, cache = (
            ("memory.max", "memory.current", "inactive_file")
            if version == 2
            else ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        )
        (directory / limit).write_text(f"{100 * MIB}\n")
        (directory / usage).write_text(f"{50 * MIB}\n")
        (directory / "memory.stat").write_text(f"anon 1\n{cache} {10 * MIB}\n")
    room = room_of(proc, cgroups)
    assert room is not None
    assert room.bytes == left * MIB
    assert room.limited_by == ("this machine" if place is None else "cgroup limit of 0.10 GiB")


def test_a_sample_of_columns(files: Files) -> None:
    ids = {name: np.array([samples[0] for samples in of]) for name, of in files.ids().items()}
    path = files.directory / "columns.npz"
    np.savez(path, **ids, numbers=np.ones((SAMPLES, 5), np.float32))  # type: ignore[arg-type]
    checked = files.check("--middleware-port", "0", "--sample", str(path))
    assert (checked.code, checked.of("fail")) == (0, [])


def test_dense_tensors_of_a_sample(files: Files) -> None:
    tensors = [
        NonIDTypeFeature(np.ones((SAMPLES, 1), np.float32), "user"),
        NonIDTypeFeature(np.full((SAMPLES, 1), np.nan, np.float32), "age"),
    ]
    files.write_sample(files.ids(), tensors)
    checked = files.check("--middleware-port", "0")
    assert any(text.startswith("sample dense user: a dense tensor has the name of a feature") for text in checked.of("fail"))
    assert any(text.startswith("sample dense age: 16 of 16 numbers are NaN") for text in checked.of("warn"))
