"""`infer --split`: versions of a model side by side on a real TorchServe, and what came of each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from persia.client.infer_command import infer
from persia.client.split import Split, parse_split
from tests.support.servers import PATIENCE
from tests.support.torchserves import TorchServeRun, make_archive


@pytest.fixture(scope="module")
def versions(torchserve: TorchServeRun, store: Path) -> Iterator[TorchServeRun]:
    """Two versions of a model whose score is its version."""
    with torchserve.management() as management:
        for version in ("1.0", "2.0"):
            management.register(make_archive(store, "halves", version))
        yield torchserve
        for version in ("2.0", "1.0"):
            management.unregister("halves", version)


def infer_split(run: TorchServeRun, *arguments: str | Path) -> Result:
    options = ["--model-name", "halves", "--address", run.address, "--token-file", str(run.token_file)]
    return CliRunner().invoke(infer, [*options, "--timeout", str(PATIENCE), "--allow-new-ids", *map(str, arguments)])


def test_infer_asks_versions_by_weight_and_tells_what_came_of_each(versions: TorchServeRun, tmp_path: Path) -> None:
    weights = "1.0=50,2.0=50"
    by_number = infer_split(versions, "--split", weights, "--batches", "20", "--batch-size", "1", "--ids", "1", "--show", "20")
    assert by_number.exit_code == 0, by_number.output
    split = Split(parse_split(weights))
    assert [float(line) for line in by_number.stdout.splitlines()] == [float(split.version_of(str(i))) for i in range(20)]
    table = [line.split() for line in by_number.stderr.splitlines()[1:4]]
    assert [line[:2] for line in table] == [["version", "weight"], ["1.0", "50"], ["2.0", "50"]]
    assert sum(int(line[2]) for line in table[1:]) == 20
    assert [line[-1] for line in table[1:]] == ["1", "2"]  # the mean scores

    path = tmp_path / "users.csv"
    path.write_text("user,item\n" + "".join(f"{user},{i}\n" for i, user in enumerate("abcabdab")))
    by_user = infer_split(versions, "--split", weights, "--split-by", "user", "--input", path, "--batch-size", "1")
    assert by_user.exit_code == 0, by_user.output
    assert by_user.stdout.splitlines() == [f"{user} {float(split.version_of(user)):g}" for user in "abcabdab"]


def test_infer_refuses_a_split_that_cannot_be(versions: TorchServeRun, tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    path.write_text("user,item\na,1\nb,2\n")
    wrong = infer_split(versions, "--split", "1.0=50,2.0=50", "--split-by", "user", "--input", path)
    assert (wrong.exit_code, wrong.stdout) == (1, "")
    assert "expected one value to split by in a request (--batch-size 1), got a and b" in wrong.stderr
    assert "expected --split and --input beside --split-by" in infer_split(versions, "--split-by", "user").stderr
    both = infer_split(versions, "--split", "1.0=1", "--version", "1.0")
    assert "expected --version or --split, got 1.0 and 1.0=1" in both.stderr
    assert "expected VERSION=WEIGHT with commas between them" in infer_split(versions, "--split", "1.0").stderr
    gone = infer_split(versions, "--split", "9.9=1", "--batch-size", "1", "--ids", "1")
    assert gone.exit_code == 1
    assert [line.split()[:4] for line in gone.stderr.splitlines()[2:3]] == [["9.9", "1", "1", "1"]]
