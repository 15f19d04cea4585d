"""Writing by name: features and ids become the signs that routers look up, and what cannot be right is refused."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from persia.config import EmbeddingConfig, parse_embedding_config
from persia.errors import ConfigError, FeatureError, InvalidInput
from persia.formats.sign_files import read_sign_file
from persia.signs import signs_of
from persia.writers import IncrementalDumper, write_checkpoint
from persia.writers.checkpoint import Block, Lifetimes
from tests.support.embedding_configs import MIXED
from tests.support.servers import EmbeddingServer
from tests.support.written import block, packets_in, read_checkpoint, read_packet

CONFIG = parse_embedding_config(MIXED)
SLOTS = CONFIG.slots


def rows(n: int, dim: int, start: float = 0.0) -> np.ndarray:
    return (start + np.arange(n * dim, dtype=np.float32)).reshape(n, dim)


def sign(feature: str, id: int) -> int:
    return int(signs_of(np.array([id], np.uint64), SLOTS[feature])[0, 0])


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "embedding_config.yml"
    path.write_text(MIXED)
    return path


@pytest.mark.parametrize("as_file", [False, True])
def test_a_checkpoint_by_name(tmp_path: Path, config_file: Path, as_file: bool) -> None:
    """Pairs of signs go with it, and times to live by name."""
    by_sign = np.array([sign("seen", 9)], np.uint64), rows(1, 8)
    blocks: list[Block] = [("user_id", [1, 2, 2**63], rows(3, 8)), ("bought", np.array([1, 2], np.int64), rows(2, 16)), by_sign]
    ttl: list[Lifetimes] = [("user_id", [2], 50), (by_sign[0], 60.0)]
    config: EmbeddingConfig | Path = config_file if as_file else CONFIG
    write_checkpoint(tmp_path / "c", blocks, shards=1, files_per_shard=1, embedding_config=config, ttl=ttl)
    written = read_checkpoint(tmp_path / "c")
    assert set(written) == {sign("user_id", id) for id in (1, 2, 2**63)} | {sign("bought", id) for id in (1, 2)} | {
        sign("seen", 9)
    }
    assert written[sign("user_id", 2)] == rows(3, 8)[1].tobytes()
    assert written[sign("bought", 1)] == rows(2, 16)[0].tobytes()
    ends = read_sign_file(tmp_path / "c" / "s0" / "replica_0_shard_0.ttl")
    assert set(ends.signs.tolist()) == {sign("user_id", 2), sign("seen", 9)}


def test_packets_by_name(tmp_path: Path) -> None:
    with IncrementalDumper(tmp_path, seconds=1e6, embedding_config=CONFIG) as dumper:
        dumper.commit_feature("user_id", [1, 2, 3], rows(3, 8), ttl=[10, 20, 30])
        dumper.commit_feature("user_id", [2, 2], rows(2, 8, 100.0))  # the latest row of an id counts
        dumper.delete_feature("user_id", [3, 4])
        dumper.commit(np.array([sign("seen", 5)], np.uint64), rows(1, 8))
        dumper.delete(np.array([sign("seen", 6)], np.uint64))
    (packet,) = packets_in(tmp_path / "s0")
    written = read_packet(packet)
    assert set(written) == {sign("user_id", 1), sign("user_id", 2), sign("seen", 5)}
    assert written[sign("user_id", 2)] == rows(2, 8, 100.0)[1].tobytes()
    deleted = read_sign_file(packet / "0_0.del").signs.tolist()
    assert set(deleted) == {sign("user_id", 3), sign("user_id", 4), sign("seen", 6)}
    assert read_sign_file(packet / "0_0.ttl").signs.tolist() == [sign("user_id", 1)]


def test_lookups_find_what_is_written_by_name(tmp_path: Path, config_file: Path) -> None:
    checkpoint, packets = tmp_path / "checkpoint", tmp_path / "packets"
    ids = [*range(20), 2**53 + 77, 2**63 + 500]
    write_checkpoint(checkpoint, [("user_id", ids, rows(len(ids), 8, 1.0))], shards=1, embedding_config=config_file)
    with EmbeddingServer(tmp_path, config_file, checkpoint=checkpoint, incremental_dir=packets) as server:
        server.wait_ready()
        with IncrementalDumper(packets, embedding_config=config_file) as dumper:
            dumper.commit_feature("user_id", [3], rows(1, 8, 7000.0))
            dumper.delete_feature("user_id", [4])
        server.wait_for_packets(1)
        got, answer = server.rows(signs_of(np.array(ids, np.uint64), SLOTS["user_id"])[0], 8)
        expected = rows(len(ids), 8, 1.0)
        expected[3], expected[4] = rows(1, 8, 7000.0)[0], 0
        np.testing.assert_array_equal(got, expected)
        assert answer.absent == 1


FAULTS = {
    "unknown": (("user", [1], rows(1, 8)), "'user': the embedding config has no slot of this name: did you mean 'user_id'?"),
    "unlike any": (("zzz", [1], rows(1, 8)), "'zzz': .* its slots are bought, clicked, query, seen, user_id"),
    "another dim": (("bought", [1], rows(1, 8)), "'bought': expected rows of dim 16, as in the embedding config, got 8"),
    "a hash stack": (
        ("query", [1], rows(1, 8)),
        r"'query': .* its 2 x 500 rows belong to hashed ids.*add_prefix\(np.arange\(1000",
    ),
    "one sign": (
        ("user_id", [0, 5, 2**52 - 1], rows(3, 8)),
        r"'user_id': expected different signs.* the ids 0 and 4503599627370495, which share the sign \d+: an id counts modulo",
    ),
    "too few rows": (("user_id", [1, 2], rows(1, 8)), "expected a row for each of 2 signs, got 1"),
    "no ids": (("user_id", [0.5], rows(1, 8)), "expected ids that are integers or strings, got float64"),
}


@pytest.mark.parametrize(("given", "message"), FAULTS.values(), ids=FAULTS)
def test_what_cannot_be_right_is_refused(given: tuple[str, list[int], np.ndarray], message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=message):
        write_checkpoint(tmp_path / "c", [given], shards=1, embedding_config=CONFIG)
    assert not (tmp_path / "c" / "embedding_dump_done").exists()
    with IncrementalDumper(tmp_path / "p", embedding_config=CONFIG) as dumper, pytest.raises(InvalidInput, match=message):
        dumper.commit_feature(*given)
    assert packets_in(tmp_path / "p" / "s0") == []


def test_a_slot_with_a_hash_stack_cannot_be_deleted_from_by_id(tmp_path: Path) -> None:
    with IncrementalDumper(tmp_path, embedding_config=CONFIG) as dumper, pytest.raises(FeatureError, match="hash stack"):
        dumper.delete_feature("query", [1])


def test_ids_that_share_a_row_may_have_the_same(tmp_path: Path) -> None:
    same = np.ones((3, 8), np.float32)
    write_checkpoint(tmp_path / "c", [("user_id", [0, 5, 2**52 - 1], same)], shards=1, embedding_config=CONFIG)
    assert set(read_checkpoint(tmp_path / "c")) == {sign("user_id", 0), sign("user_id", 5)}
    with IncrementalDumper(tmp_path / "p", embedding_config=CONFIG) as dumper:
        with pytest.raises(FeatureError, match="expected one time to live for all where ids share a row"):
            dumper.commit_feature("user_id", [0, 2**52 - 1], same[:2], ttl=[1, 2])
        dumper.commit_feature("user_id", [0, 2**52 - 1], same[:2], ttl=5)


def test_an_id_that_comes_twice_in_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="expected each sign once"):
        write_checkpoint(tmp_path / "c", [("user_id", [1, 1], rows(2, 8))], shards=1, embedding_config=CONFIG)


def test_names_without_a_config(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"expected an embedding_config where ids of a feature \(`user_id`\) are written"):
        write_checkpoint(tmp_path / "c", [("user_id", [1], rows(1, 8))], shards=1)
    with pytest.raises(ConfigError, match="unknown key"):
        (tmp_path / "wrong.yml").write_text("slots: {}\n")
        IncrementalDumper(tmp_path / "p", embedding_config=tmp_path / "wrong.yml")


def test_ids_where_signs_are_expected(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With a config it is an error; without one a warning, once for each writer, and none for signs."""
    ids, largest = block(range(1, 50), dim=8), block([2**52 - 1], dim=8)
    for wrong in (ids, largest):
        message = "expected signs, got .* none has the prefix of a group in its upper 12 bits.*: these are ids"
        with pytest.raises(InvalidInput, match=message):
            write_checkpoint(tmp_path / "c", [wrong], shards=1, embedding_config=CONFIG)
        with IncrementalDumper(tmp_path / "p", embedding_config=CONFIG) as dumper:
            with pytest.raises(InvalidInput, match=message):
                dumper.commit(*wrong)
            with pytest.raises(InvalidInput, match=message):
                dumper.delete(wrong[0])
    assert not caplog.records
    with IncrementalDumper(tmp_path / "p") as dumper:
        for _ in range(3):
            dumper.commit(*ids)
            dumper.delete(ids[0])
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "got 49 signs of which none has the prefix of a group in its upper 8 bits, such as 1: if" in caplog.messages[0]
    caplog.clear()
    write_checkpoint(tmp_path / "c", [block([1, 2**56])], shards=1)  # one has a prefix
    with caplog.at_level(logging.DEBUG), IncrementalDumper(tmp_path / "q") as dumper:
        dumper.commit(*block([]))
    assert not caplog.records
