"""`checkpoint inspect|reshard` and `packet inspect`, as an operator types them."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from persia._core import EmbReader
from persia.cli.progress import progress_bars
from persia.embedding_server.tools import commands
from persia.embedding_server.tools.resharding import reshard
from persia.errors import CorruptFile
from persia.formats.checkpoint import open_checkpoint
from persia.signs import shard_of
from persia.writers import IncrementalDumper, write_checkpoint
from tests.support.examples import examples
from tests.support.golden import GOLDEN
from tests.support.reference import read_emb
from tests.support.stepped_clock import SteppedClock
from tests.support.written import Rows, block, packets_in, read_checkpoint, read_rows, rows_of

GOLDEN_CHECKPOINT = GOLDEN / "ctr" / "ckpt"


def run(group: click.Group, *arguments: Any) -> Result:
    return CliRunner().invoke(group, [str(argument) for argument in arguments], catch_exceptions=False)


def checkpoint_report(directory: Path) -> tuple[dict[str, Any], int]:
    result = run(commands.checkpoint, "inspect", directory, "--json")
    return json.loads(result.stdout), result.exit_code


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A copy of a golden checkpoint, for a test to break."""
    return Path(shutil.copytree(GOLDEN_CHECKPOINT, tmp_path / "broken"))


def test_a_whole_checkpoint() -> None:
    result = run(commands.checkpoint, "inspect", GOLDEN_CHECKPOINT)
    rows = len(read_checkpoint(GOLDEN_CHECKPOINT))
    assert result.exit_code == 0
    assert "2 shards of 4 files" in result.stdout and f"{rows} rows (" in result.stdout and "broken" not in result.stdout
    report, code = checkpoint_report(GOLDEN_CHECKPOINT)
    assert code == 0 and report["rows"] == rows == sum(report["rows_by_dim"].values())
    assert report["marker"]["seconds"] == 1795158500 and report["shards"] == 2 and len(report["files"]) == 8
    assert report["bytes"] == sum(path.stat().st_size for path in GOLDEN_CHECKPOINT.glob("s*/*.emb"))
    assert report["problems"] == [] and sum(file["elsewhere"] for file in report["files"]) == 0


def test_every_problem_of_a_checkpoint_is_named(broken: Path) -> None:
    os.truncate(broken / "s0" / "replica_0_shard_1.emb", 100)
    (broken / "s1" / "replica_1_shard_2.emb").unlink()
    (broken / "s1" / "embedding_dump_done").write_text("---\nnum_shards: 3")
    report, code = checkpoint_report(broken)
    assert code == 1
    assert [problem.removeprefix(str(broken)) for problem in report["problems"][:1]] == [
        "/s1/embedding_dump_done at byte 0: expected num_shards, num_internal_shards and datetime, got b'---\\nnum_shards: 3'"
    ]
    assert "replica_0_shard_1.emb at byte " in report["problems"][1] and len(report["problems"]) == 2
    assert "broken: " in run(commands.checkpoint, "inspect", broken).stdout


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        (
            "embedding_dump_done",
            "/embedding_dump_done at byte 0: expected the marker of a complete checkpoint, got no such file",
        ),
        (
            "s1/embedding_dump_done",
            "s1/embedding_dump_done at byte 0: expected the marker of a complete checkpoint, got no such",
        ),
        (
            "s0/replica_0_shard_0.emb",
            "s0 at byte 0: expected the 4 files that embedding_dump_done counts, got replica_0_shard_0",
        ),
        ("s1", "expected the shards s0, s1 that embedding_dump_done counts, got s0"),
    ],
)
def test_what_is_missing_is_named(path: str, problem: str, broken: Path) -> None:
    shutil.rmtree(broken / path) if (broken / path).is_dir() else (broken / path).unlink()
    report, code = checkpoint_report(broken)
    assert code == 1 and len(report["problems"]) == 1 and problem in report["problems"][0]


def test_a_shard_of_another_checkpoint_is_named(broken: Path) -> None:
    text = (broken / "s1" / "embedding_dump_done").read_text()
    (broken / "s1" / "embedding_dump_done").write_text(text.replace("num_shards: 2", "num_shards: 3"))
    report, code = checkpoint_report(broken)
    assert code == 1 and f"s1/embedding_dump_done at byte 0: expected the counts of {broken}" in report["problems"][0]


def _a_leading_zero(broken: Path) -> None:
    (broken / "s01").mkdir()


def _a_plain_file(broken: Path) -> None:
    (broken / "s5").touch()


def _an_empty_directory(broken: Path) -> None:
    (broken / "s2").mkdir()


def _a_misnamed_file(broken: Path) -> None:
    os.rename(broken / "s1" / "replica_1_shard_2.emb", broken / "s1" / "replica_0_shard_2.emb")


def _another_count_of_files(broken: Path) -> None:
    (broken / "s1" / "replica_1_shard_3.emb").unlink()
    text = (broken / "s1" / "embedding_dump_done").read_text()
    (broken / "s1" / "embedding_dump_done").write_text(text.replace("num_internal_shards: 4", "num_internal_shards: 3"))


@pytest.mark.parametrize(
    "damage", [_a_leading_zero, _a_plain_file, _an_empty_directory, _a_misnamed_file, _another_count_of_files]
)
def test_what_a_server_would_refuse_is_refused_with_its_words(damage: Callable[[Path], None], broken: Path) -> None:
    damage(broken)
    with pytest.raises(CorruptFile) as refused:
        open_checkpoint(broken, 0, 3)
    report, code = checkpoint_report(broken)
    assert code == 1
    assert str(refused.value) in report["problems"]


def test_rows_that_nobody_asks_for_are_counted(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, [block(range(100))], shards=2, files_per_shard=1)
    shutil.copy(tmp_path / "s0" / "replica_0_shard_0.emb", tmp_path / "s1" / "replica_1_shard_0.emb")
    rows = EmbReader(tmp_path / "s0" / "replica_0_shard_0.emb").rows
    result = run(commands.checkpoint, "inspect", tmp_path)
    assert result.exit_code == 0 and f"{rows} of them in another shard" in result.stdout
    result = run(commands.checkpoint, "reshard", tmp_path, tmp_path.parent / "out", "--shards", 1)
    assert f"left out: {rows} rows" in result.stdout
    assert len(read_checkpoint(tmp_path.parent / "out")) == rows


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    for group, command in ((commands.checkpoint, "inspect"), (commands.packet, "inspect")):
        result = run(group, command, tmp_path / "x")
        assert result.exit_code == 2 and "does not exist" in result.stderr


@pytest.mark.parametrize(("shards", "files"), [(1, None), (3, None), (2, 1), (5, 7)])
def test_reshard(shards: int, files: int | None, tmp_path: Path) -> None:
    more = ["--files", files] if files else []
    result = run(commands.checkpoint, "reshard", GOLDEN_CHECKPOINT, tmp_path / "out", "--shards", shards, *more)
    given = read_checkpoint(GOLDEN_CHECKPOINT)
    assert result.exit_code == 0
    assert result.stdout == f"{tmp_path / 'out'}: {len(given)} rows in {shards} shards, without optimizer state\n"
    assert "read: 8 of 8 files" in result.stderr and f"write: {shards * (files or 4)} of" in result.stderr
    assert read_checkpoint(tmp_path / "out") == given
    report, code = checkpoint_report(tmp_path / "out")
    assert code == 0 and (report["marker"]["num_shards"], len(report["files"])) == (shards, shards * (files or 4))
    assert report["marker"]["seconds"] == 1795158500  # packets that are newer are so for the new checkpoint, too
    assert (
        open_checkpoint(tmp_path / "out", 0, shards).bounds.by_shard == (1795158490,) * shards
    )  # by the markers of the shards
    for path in (tmp_path / "out").glob("s*/*.emb"):
        signs = np.array(list(read_rows(EmbReader(path))), np.uint64)
        assert (shard_of(signs, shards) == int(path.parent.name[1:])).all()


@pytest.mark.parametrize("memory", [10_000, 1 << 20])
def test_the_order_of_use_survives_resharding(memory: int, tmp_path: Path) -> None:
    reshard(GOLDEN_CHECKPOINT, tmp_path / "out", shards=1, files_per_shard=1, memory=memory)
    assert read_checkpoint(tmp_path / "out") == read_checkpoint(GOLDEN_CHECKPOINT)
    (written,) = (tmp_path / "out").glob("s0/*.emb")
    quarter: dict[int, int] = {}
    for path in GOLDEN_CHECKPOINT.glob("s*/*.emb"):
        order = read_emb(path.read_bytes())[1]
        quarter |= {sign: place * 4 // len(order) for place, sign in enumerate(order)}
    ages = [quarter[sign] for sign in read_emb(written.read_bytes())[1]]
    assert ages == sorted(ages) and set(ages) == {0, 1, 2, 3}


@settings(max_examples=examples(15), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(signs=st.sets(st.integers(0, 2**64 - 1), max_size=60), shards=st.integers(1, 4), again=st.integers(1, 4))
def test_resharding_there_and_back(signs: set[int], shards: int, again: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("reshard")
    given = [block(sorted(signs)[::2], dim=3), block(sorted(signs)[1::2], dim=1)]
    write_checkpoint(directory / "a", given, shards=shards, files_per_shard=2)
    reshard(directory / "a", directory / "b", shards=again, files_per_shard=1)
    reshard(directory / "b", directory / "c", shards=shards, files_per_shard=2)
    expected: Rows = rows_of(given)
    assert read_checkpoint(directory / "b") == read_checkpoint(directory / "c") == expected


def test_reshard_refuses(broken: Path, tmp_path: Path) -> None:
    def refusal(source: Path, target: Path) -> str:
        result = run(commands.checkpoint, "reshard", source, target, "--shards", 2)
        assert result.exit_code == 1 and not (tmp_path / "out" / "embedding_dump_done").exists()
        return result.stderr

    assert "expected a target beside the source" in refusal(broken, broken / "out")
    assert "expected a directory without a finished checkpoint" in refusal(GOLDEN_CHECKPOINT, broken)
    os.truncate(broken / "s0" / "replica_0_shard_1.emb", 100)
    assert "replica_0_shard_1.emb at byte" in refusal(broken, tmp_path / "out")
    (broken / "s0" / "embedding_dump_done").unlink()
    assert "s0/embedding_dump_done at byte 0: expected the marker of a complete" in refusal(broken, tmp_path / "out")
    shutil.rmtree(broken / "s1")
    assert "expected the shards s0, s1 that embedding_dump_done counts, got s0" in refusal(broken, tmp_path / "out")
    (broken / "embedding_dump_done").unlink()
    assert "/embedding_dump_done at byte 0: expected the marker of a complete" in refusal(broken, tmp_path / "out")


def test_a_terminal_gets_a_bar(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress_bars() as progress:
        for done in range(1, 4):
            progress("read", done, 3)
        progress("write", 1, 2)  # and then it failed
    shown = capsys.readouterr().err
    assert "read  [####################################]  100%" in shown
    assert shown.count("\033[?25l") >= 2 and shown.endswith("\033[?25h\n")


@pytest.fixture
def incremental_dir(tmp_path: Path) -> Path:
    for shard in range(2):
        with IncrementalDumper(tmp_path / "inc", shard_index=shard, clock=SteppedClock()) as dumper:
            for value in range(2):
                dumper.commit(*block(range(10), value))
                dumper.flush()
    return tmp_path / "inc"


def test_packets(incremental_dir: Path) -> None:
    result = run(commands.packet, "inspect", incremental_dir)
    lines = result.stdout.splitlines()
    assert result.exit_code == 0 and len(lines) == 4
    assert all("complete, 2027-" in line and "10 rows (10 of dim 2), manifest " in line for line in lines)
    (reports,) = [json.loads(run(commands.packet, "inspect", incremental_dir, "--json").stdout)]
    assert [report["info"]["manifest"]["sequence"] for report in reports] == [0, 1, 0, 1]
    shard = incremental_dir / "s1"
    assert len(run(commands.packet, "inspect", shard).stdout.splitlines()) == 2
    assert run(commands.packet, "inspect", packets_in(shard)[0]).stdout.startswith(f"{packets_in(shard)[0]}: complete")


def test_packets_of_persia() -> None:
    result = run(commands.packet, "inspect", GOLDEN / "ctr" / "inc")
    assert result.exit_code == 0 and result.stdout.count("no manifest") == 4


def test_a_broken_packet_and_one_in_the_making(incremental_dir: Path) -> None:
    first, second = packets_in(incremental_dir / "s0")
    (second / "inc_update_done").unlink()
    os.truncate(second / "0_0.inc", 3)
    result = run(commands.packet, "inspect", incremental_dir)
    assert result.exit_code == 0 and f"{second}: no marker, broken: {second / '0_0.inc'} at byte 3" in result.stdout
    (first / "0_0.inc").unlink()
    result = run(commands.packet, "inspect", incremental_dir)
    assert result.exit_code == 1 and f"{first}: complete, broken: {first / '0_0.inc'}" in result.stdout
    assert len(result.stdout.splitlines()) == 4


def test_a_directory_without_packets(tmp_path: Path) -> None:
    result = run(commands.packet, "inspect", tmp_path)
    assert result.exit_code == 1 and "expected a packet, or a directory with packets" in result.stderr
    (tmp_path / "s0").mkdir()
    assert run(commands.packet, "inspect", tmp_path).exit_code == 0  # a trainer that has written none yet
