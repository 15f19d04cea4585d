"""Rows with NaN or infinite numbers: found while files are read, counted, named once, and refused where that is wanted."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from persia import _core
from persia.embedding_server.tools import commands
from persia.errors import CorruptFile, InvalidInput
from persia.writers import IncrementalDumper, verify_packet, write_checkpoint
from tests.support.persia_packets import CONFIG, DIM, START, finish, values, write_packet
from tests.support.servers import EmbeddingServer
from tests.support.written import block, packets_in

BAD: list[float] = [math.nan, math.inf, -math.inf]


def spoilt(signs: list[int], bad: dict[int, float], dim: int = DIM) -> tuple[np.ndarray, np.ndarray]:
    """Rows of ones, but for a number of some signs'."""
    array, rows = block(signs, 1.0, dim)
    for sign, number in bad.items():
        rows[signs.index(sign), sign % dim] = number
    return array, rows


@given(numbers=st.lists(st.floats(width=32), min_size=1, max_size=70))
def test_rows_are_found_that_are_not_finite(numbers: list[float], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("x") / "x.inc"
    row = np.array([numbers], np.float32)
    _core.write_inc(path, [block([3, 4], dim=2), (np.array([5], np.uint64), row)], 1)
    reader = _core.IncReader(path)
    assert len(list(reader)) == 1
    bad = not np.isfinite(row).all()
    assert (reader.non_finite, reader.first_non_finite) == ((1, (5, 4 + 2 * 28)) if bad else (0, (0, 0)))


@pytest.mark.parametrize("largest", [3.4028235e38, -3.4028235e38, 1e-45, 0.0, -0.0])
def test_the_largest_and_the_least_numbers_are_finite(largest: float, tmp_path: Path) -> None:
    _core.write_emb(tmp_path / "x.emb", [spoilt([1], {1: largest})])
    reader = _core.EmbReader(tmp_path / "x.emb")
    list(reader)
    assert reader.non_finite == 0


def test_optimizer_state_is_not_looked_at(tmp_path: Path) -> None:
    data = bytearray((1).to_bytes(4, "little") + (2).to_bytes(4, "little"))
    data += np.array([1.0, math.nan], np.float32).tobytes() + (1).to_bytes(8, "little") + bytes(8) + bytes(8)
    (tmp_path / "x.inc").write_bytes(data)
    reader = _core.IncReader(tmp_path / "x.inc")
    list(reader)
    assert reader.non_finite == 0


@pytest.mark.parametrize("count", [1, 2])
def test_loading_counts_those_of_the_file_and_those_of_the_shard(tmp_path: Path, count: int) -> None:
    signs = list(range(1, 5001))
    bad = {sign: BAD[sign % len(BAD)] for sign in range(7, 5000, 100)}
    _core.write_emb(tmp_path / "x.emb", [spoilt(signs, bad)])
    _core.write_inc(tmp_path / "x.inc", [spoilt(signs, bad)], 1)
    own = int((_core.shard_of(np.array(list(bad), np.uint64), count) == 0).sum())
    for load in (
        lambda found: _core.TableBuilder().load_emb(tmp_path / "x.emb", 0, count, found),
        lambda found: _core.Layer().load_inc(tmp_path / "x.inc", 0, count, found),
    ):
        found = _core.NonFiniteRows()
        load(found)
        assert (found.rows, found.kept, found.first_sign) == (len(bad), own, 7)
        with pytest.raises(CorruptFile, match=f"at byte {found.first_byte}: expected finite numbers.* in the row of sign 7"):
            load(_core.NonFiniteRows(refuse=True))


def test_a_server_counts_and_names_them_once_for_each_file(tmp_path: Path) -> None:
    """A checkpoint and packets are served as they are, by default."""
    checkpoint, packets = tmp_path / "checkpoint", tmp_path / "packets"
    write_checkpoint(checkpoint, [spoilt([1, 2, 3], {2: math.nan})], shards=1, files_per_shard=1, allow_non_finite=True)
    directory = write_packet(packets, 1_000_000, [4], 1.0)
    _core.write_inc(directory / "0_1.inc", [spoilt([5, 6], {5: math.inf, 6: math.nan})], START)
    finish(directory)
    arguments = ["--metrics-port", "0"]
    with EmbeddingServer(tmp_path, CONFIG, checkpoint=checkpoint, incremental_dir=packets, arguments=arguments) as server:
        server.wait_for_packets(1)
        server.wait_ready()
        assert server.status().non_finite_rows == 3
        assert server.metrics(r"(persia_non_finite_rows_total)\{[^}]*\} (\S+)") == [("persia_non_finite_rows_total", "3.0")]
        lines = [line for line in server.log().splitlines() if "NaN or infinite" in line]
        assert len(lines) == 2 and all("WARNING" in line for line in lines)
        assert "replica_0_shard_0.emb has 1 rows with NaN or infinite numbers, the first of sign 2 at byte" in lines[0]
        assert "0_1.inc has 2 rows with NaN or infinite numbers, the first of sign 5 at byte 4" in lines[1]


def test_a_server_that_refuses_them(tmp_path: Path) -> None:
    """A packet is set aside with file, byte and sign; a checkpoint is not loaded, so the server does not start."""
    packets, refuse = tmp_path / "packets", {"non_finite_rows": "refuse"}
    directory = write_packet(packets, 1, [4], 1.0)
    _core.write_inc(directory / "0_1.inc", [spoilt([5, 6], {6: math.nan})], START)
    finish(directory)
    finish(write_packet(packets, 2, [7], 2.0))
    with EmbeddingServer(tmp_path / "a", CONFIG, incremental_dir=packets, settings=refuse) as server:
        server.wait_ready()
        assert values(server, [4, 7]) == [0, 2]
        (aside,) = server.status().set_aside
        assert "0_1.inc at byte 56: expected finite numbers in all rows, as non_finite_rows says `refuse`" in aside.reason
        assert "in the row of sign 6" in aside.reason
        assert server.status().non_finite_rows == 0
    checkpoint = tmp_path / "checkpoint"
    write_checkpoint(checkpoint, [spoilt([1, 2], {2: math.inf})], shards=1, files_per_shard=1, allow_non_finite=True)
    with EmbeddingServer(tmp_path / "b", CONFIG, checkpoint=checkpoint, settings=refuse) as server:
        assert server.process.wait(30) == 1
        assert "replica_0_shard_0.emb at byte" in server.log() and "in the row of sign 2" in server.log()


def test_writers_refuse_them_unless_they_are_asked_to_write_them(tmp_path: Path) -> None:
    rows = spoilt([1, 2, 3], {2: math.nan})
    with pytest.raises(
        InvalidInput, match=r"got 1 rows with NaN or infinite ones, the first of sign 2; `allow_non_finite=True`"
    ):
        write_checkpoint(tmp_path / "c", [rows], shards=1)
    with IncrementalDumper(tmp_path / "p") as dumper, pytest.raises(InvalidInput, match="the first of sign 2"):
        dumper.commit(*rows)
    assert not list((tmp_path / "p").rglob("*.inc"))
    with IncrementalDumper(tmp_path / "p", allow_non_finite=True) as dumper:
        dumper.commit(*rows)
    (packet,) = packets_in(tmp_path / "p" / "s0")
    assert verify_packet(packet).non_finite == 1


def test_inspect_counts_them(tmp_path: Path) -> None:
    rows = spoilt([1, 2, 3], {2: math.nan, 3: math.inf})
    write_checkpoint(
        tmp_path / "c", [rows], shards=1, files_per_shard=1, allow_non_finite=True, ttl=[(np.array([1], np.uint64), 1e6)]
    )
    with IncrementalDumper(tmp_path / "p", allow_non_finite=True) as dumper:
        dumper.commit(*rows, ttl=5)
        dumper.delete(np.array([9, 10], np.uint64))
    run = CliRunner().invoke
    text = run(commands.checkpoint, ["inspect", str(tmp_path / "c")]).stdout
    assert "  2 of them with NaN or infinite numbers, in replica_0_shard_0.emb\n  1 of them with a time to live\n" in text
    assert json.loads(run(commands.checkpoint, ["inspect", str(tmp_path / "c"), "--json"]).stdout)["non_finite"] == 2
    text = run(commands.packet, ["inspect", str(tmp_path / "p")]).stdout
    assert "3 rows (3 of dim 8), 2 deletions, 3 times to live, 2 rows with NaN or infinite numbers, manifest 0 agrees" in text
