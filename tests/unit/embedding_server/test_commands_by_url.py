"""`checkpoint reshard` and `packet inspect` of a store, which a local directory is to the library of stores."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from persia.embedding_server.tools import commands
from persia.writers import IncrementalDumper, write_checkpoint
from tests.support.golden import GOLDEN
from tests.support.written import block, read_checkpoint

pytest.importorskip("obstore")

GOLDEN_CHECKPOINT = GOLDEN / "ctr" / "ckpt"
SIGNS = np.arange(1, 300, dtype=np.uint64)


def reshard(source: object, target: object, *arguments: object) -> Result:
    arguments = ("reshard", source, target, "--shards", 3, *arguments)
    return CliRunner().invoke(commands.checkpoint, list(map(str, arguments)), catch_exceptions=False)


def test_reshard_from_and_to_a_store(tmp_path: Path) -> None:
    """Rows, marker and files are those that directories give."""
    shutil.copytree(GOLDEN_CHECKPOINT, tmp_path / "source")
    url = f"file://{tmp_path}"
    for source, target in ((f"{url}/source", f"{url}/a"), (tmp_path / "source", f"{url}/b"), (f"{url}/source", tmp_path / "c")):
        result = reshard(source, target)
        assert result.exit_code == 0, result.output
        assert f"{target}: {len(read_checkpoint(GOLDEN_CHECKPOINT))} rows in 3 shards" in result.stdout
    reshard(tmp_path / "source", tmp_path / "d")
    written = {path.relative_to(tmp_path / "d") for path in (tmp_path / "d").rglob("*") if path.is_file()}
    assert len(written) == 3 * (1 + 4) + 2
    for name in "abc":
        assert read_checkpoint(tmp_path / name) == read_checkpoint(GOLDEN_CHECKPOINT)
        for path in written - {Path("checkpoint_id")}:
            assert (tmp_path / name / path).read_bytes() == (tmp_path / "d" / path).read_bytes(), path


def test_times_to_live_go_along(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "source", [block(SIGNS)], shards=2, ttl=[(SIGNS[:5], np.full(5, 2e9, np.uint64))])
    assert reshard(f"file://{tmp_path}/source", f"file://{tmp_path}/out").exit_code == 0
    reshard(tmp_path / "source", tmp_path / "same")
    ends = sorted(path.relative_to(tmp_path / "same") for path in (tmp_path / "same").rglob("*.ttl"))
    assert ends and all((tmp_path / "out" / path).read_bytes() == (tmp_path / "same" / path).read_bytes() for path in ends)


def test_reshard_refuses_by_url(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN_CHECKPOINT, tmp_path / "source")
    url = f"file://{tmp_path}/source"
    assert f"expected a target beside the source, got {url}/out for {url}" in reshard(url, f"{url}/out").stderr
    assert "expected a directory without a finished checkpoint" in reshard(url, f"file://{tmp_path}/source2/../source").output
    assert "there are none" in reshard(f"file://{tmp_path}/none", tmp_path / "out").stderr
    broken = tmp_path / "source" / "s0" / "replica_0_shard_1.emb"
    broken.write_bytes(broken.read_bytes()[:-3])
    assert f"{url}/s0/replica_0_shard_1.emb at byte" in reshard(url, tmp_path / "out").stderr
    assert not (tmp_path / "out" / "embedding_dump_done").exists()


def test_packets_are_inspected(tmp_path: Path) -> None:
    """As in the directory itself, but that what is named is the URL."""
    with IncrementalDumper(tmp_path / "packets") as dumper:
        for value in (1.0, 2.0):
            dumper.commit(*block(SIGNS, value))
            last = dumper.flush()
    assert last is not None

    def inspect(place: object) -> tuple[str, int]:
        result = CliRunner().invoke(commands.packet, ["inspect", str(place), "--json"], catch_exceptions=False)
        return result.stdout, result.exit_code

    url = f"file://{tmp_path}/packets"
    for below in ("", "/s0", f"/s0/{last.name}"):
        text, code = inspect(f"{url}{below}")
        assert (text.replace(url, str(tmp_path / "packets")), code) == inspect(f"{tmp_path}/packets{below}") and code == 0
        assert str(tmp_path / "packets") not in text.replace(url, "")
    assert len(json.loads(inspect(url)[0])) == 2
    rows = next(last.glob("*.inc"))
    rows.write_bytes(rows.read_bytes()[:-3])
    text, code = inspect(url)
    assert code == 1 and f"{url}/s0/{last.name}/{rows.name} at byte" in text
    result = CliRunner().invoke(commands.packet, ["inspect", f"file://{tmp_path}/nothing"])
    assert result.exit_code == 1 and "expected a packet, or a directory with packets" in result.output
