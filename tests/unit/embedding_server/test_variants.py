"""Rows of variants in a server that follows epochs: whatever comes, in whatever order, they are what the records say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from persia.embedding_server.tools.epochs import epochs as epochs_command
from persia.errors import CorruptFile, InvalidInput, NotFound, Superseded
from persia.formats.epoch import Draft
from persia.formats.epoch_log import EpochLog
from persia.variant import variant_key
from persia.writers import EpochCommitter, IncrementalDumper, VariantCommitter
from tests.support.epoch_followers import EpochFollower
from tests.support.examples import examples
from tests.support.persia_packets import DIM, finish, write_packet, write_signs

SIGNS = list(range(1, 13))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "packets").mkdir()
    return tmp_path / "packets"


def below(root: Path, variant: str) -> Path:
    return root / ".variants" / variant if variant else root


def packet(root: Path, second: int, signs: list[int], value: float, variant: str = "") -> Path:
    directory = write_packet(below(root, variant), second, signs, value)
    finish(directory)
    return directory


def test_own_rows_go_before_those_of_all_also_before_newer_ones(root: Path) -> None:
    committer = EpochCommitter(root)
    committer.commit([packet(root, 1, [1, 2, 3], 1.0)])
    VariantCommitter(root, "b").commit([packet(root, 2, [2], 20.0, "b"), write_signs(below(root, "b"), 3, 3)])
    committer.commit([packet(root, 9, [1, 2, 3, 4], 9.0)])
    follower = EpochFollower(root).start()
    assert follower.values(1, 2, 3, 4) == [9.0, 9.0, 9.0, 9.0]
    assert follower.values(1, 2, 3, 4, variant="b") == [9.0, 20.0, 0.0, 9.0]
    before = follower.epoch - 1
    assert follower.values(1, 2, 3, 4, epoch=before, variant="b") == [1.0, 20.0, 0.0, 0.0]


def test_a_packet_of_a_variant_that_comes_late_does_not_hide_newer_ones(root: Path) -> None:
    follower = EpochFollower(root).start()
    VariantCommitter(root, "b").commit([packet(root, 5, [1, 2], 5.0, "b")])
    follower.scan()
    VariantCommitter(root, "b").commit([packet(root, 3, [2, 3], 3.0, "b")])
    follower.scan()
    assert follower.values(1, 2, 3, variant="b") == [5.0, 5.0, 3.0]


def test_a_variant_that_begins_again_has_nothing_of_before(root: Path) -> None:
    follower = EpochFollower(root).start()
    first, second = packet(root, 1, [1], 1.0, "b"), packet(root, 2, [2], 2.0, "b")
    VariantCommitter(root, "b").commit([first])
    follower.scan()
    ended = VariantCommitter(root, "b").end()
    follower.scan()
    assert not follower.table.pin().has_variant(variant_key("b"))
    VariantCommitter(root, "b").commit([second])
    follower.scan()
    assert follower.values(1, 2, variant="b") == [0.0, 2.0]
    assert follower.values(1, 2, epoch=ended - 1, variant="b") == [1.0, 0.0]
    assert follower.table.status().variants[variant_key("b")].rows == 1
    with pytest.raises(NotFound, match=r"expected a variant of epoch .*, b, got c"):
        VariantCommitter(root, "c").end()


def test_a_variant_costs_what_differs(root: Path) -> None:
    committer = EpochCommitter(root)
    signs = list(range(10_000))
    committer.commit([packet(root, 1, signs, 1.0)])
    VariantCommitter(root, "b").commit([packet(root, 2, signs[:1000], 2.0, "b")])
    status = EpochFollower(root).start().table.status()
    assert status.variants[variant_key("b")].rows == 1000
    assert (
        status.variant_bytes == status.variants[variant_key("b")].bytes < 1000 * 4 * DIM * 4
    )  # of rows that have 4 * DIM bytes


def test_a_broken_packet_of_a_variant_stalls_until_the_variant_ends(root: Path) -> None:
    follower = EpochFollower(root).start()
    good = follower.scan()
    bad = packet(root, 1, [1], 1.0, "b")
    VariantCommitter(root, "b").commit([bad])
    (bad / "0_0.inc").write_bytes(b"")
    follower.scan()
    assert follower.epoch == good and ".variants/b/s0/inc_20260101000001" in follower.stalled
    ended = VariantCommitter(root, "b").end()
    assert follower.scan() == ended and not follower.stalled


def test_what_is_no_packet_of_a_variant_is_not_committed(root: Path) -> None:
    committer = EpochCommitter(root)
    newest = committer.newest
    with pytest.raises(InvalidInput, match="expected a packet of variant b"):
        VariantCommitter(root, "b").commit([packet(root, 1, [1], 1.0)])
    with pytest.raises(InvalidInput, match="expected a packet of variant b"):
        VariantCommitter(root, "b").commit([packet(root, 1, [1], 1.0, "c")])
    with pytest.raises(InvalidInput, match="expected the name of a variant"):
        VariantCommitter(root, "../b")
    with pytest.raises(InvalidInput, match="expected a directory for packets of a variant, got the store"):
        VariantCommitter("s3://bucket/packets", "b")
    with pytest.raises(InvalidInput, match="expected a directory for packets of a variant, got the store"):
        IncrementalDumper("s3://bucket/packets", variant="b")
    with pytest.raises(InvalidInput, match="without times to live"):
        VariantCommitter(root, "b").commit([write_signs(below(root, "b"), 2, 1, ends=2_000_000_000)])
    with pytest.raises(InvalidInput, match="that is complete"):
        VariantCommitter(root, "b").commit([write_packet(below(root, "b"), 3, [1], 1.0)])
    broken = packet(root, 4, [1], 1.0, "b")
    (broken / "0_0.inc").write_bytes((broken / "0_0.inc").read_bytes()[:-1])
    with pytest.raises(CorruptFile):
        VariantCommitter(root, "b").commit([broken])
    assert committer.refresh() == newest


def test_a_dumper_writes_for_a_variant(root: Path) -> None:
    rows = np.full((2, DIM), 7.0, np.float32)
    with IncrementalDumper(root, variant="b") as dumper:
        dumper.commit(np.array([1, 2], np.uint64), rows)
        with pytest.raises(InvalidInput, match="without a time to live for variant b"):
            dumper.commit(np.array([1, 2], np.uint64), rows, ttl=5)
        VariantCommitter(root, "b").commit([path for path in [dumper.flush()] if path is not None])
    follower = EpochFollower(root).start()
    assert follower.values(1, 2) == [0.0, 0.0] and follower.values(1, 2, variant="b") == [7.0, 7.0]


def test_who_commits_to_a_variant_is_in_nobodys_way_and_told_of_others(root: Path) -> None:
    committer, one, other = EpochCommitter(root), VariantCommitter(root, "b"), VariantCommitter(root, "b")
    one.commit([packet(root, 1, [1], 1.0, "b")])
    assert committer.commit([packet(root, 2, [1, 2], 2.0)]) == one.commit([packet(root, 3, [3], 3.0, "b")]) - 1
    VariantCommitter(root, "c").commit()
    with pytest.raises(Superseded, match="expected nobody else to have changed variant b since epoch 1, got epoch 2"):
        other.commit([packet(root, 4, [4], 4.0, "b")])
    other.refresh()
    other.commit([packet(root, 4, [4], 4.0, "b")])
    follower = EpochFollower(root).start()
    assert follower.values(1, 2, 3, 4, variant="b") == [1.0, 2.0, 3.0, 4.0]
    assert follower.values(1, 2, 3, 4, variant="c") == follower.values(1, 2, 3, 4) == [2.0, 2.0, 0.0, 0.0]


def test_servers_commit_no_packet_of_a_variant_by_themselves(root: Path) -> None:
    packet(root, 1, [1], 1.0, "b")
    follower = EpochFollower(root).start()
    assert follower.log.history.packets == {} and not follower.log.history.variants.at(follower.epoch)


def test_the_command_begins_grows_and_ends_a_variant(root: Path) -> None:
    def run(*arguments: str) -> str:
        result = CliRunner().invoke(epochs_command, ["variant", str(root), *arguments])
        return result.output if result.exit_code == 0 else f"{result.exit_code}: {result.output}"

    log = EpochLog(root)
    assert log.commit(Draft(hold=True), "operator")
    packet(root, 1, [1], 1.0, "b")
    packet(root, 2, [2], 2.0, "b")
    assert "variant b: adds 1 packets; half" in run("b", "s0/inc_20260101000001", "--why", "half")
    assert "variant b: adds 1 packets\n" in run("b")
    assert "that no record has named yet, got none" in run("b")
    assert "variant b: adds 0 packets, for ctr 8.0" in run("b", "--dense", "ctr=8.0")
    told = CliRunner().invoke(epochs_command, ["log", str(root)]).output
    assert "variant b with 2 packets of its own, for ctr 8.0" in told
    assert EpochFollower(root).start().values(1, 2, variant="b") == [1.0, 2.0]
    ended = run("b", "--end")
    assert "ends variant b" in ended and "requests for b fail from now on, also the share" in ended
    assert "1: " in run("b", "--end") and "expected a variant of epoch" in run("b", "--end")
    assert "expected --end alone" in run("b", "--end", "--dense", "ctr=1")
    assert "expected the name of a variant" in run("../b", "s0/inc_1")
    assert "got 'none', which is reserved" in run("none") and "which is reserved" in run("none", "--end")
    assert "expected a variant of epoch 5, which has none, got c" in run("c", "--dense", "ctr=8.0")


def test_what_was_taken_out_of_a_variant_comes_back_only_by_its_name(root: Path) -> None:
    def run(*arguments: str) -> str:
        result = CliRunner().invoke(epochs_command, ["variant", str(root), "b", *arguments])
        return result.output if result.exit_code == 0 else f"{result.exit_code}: {result.output}"

    good, bad = packet(root, 1, [1], 1.0, "b"), packet(root, 2, [1, 2], 666.0, "b")
    run()
    run("--end")
    assert "1: " in run() and "comes back by its name" in run()
    assert "adds 1 packets" in run(f"s0/{good.name}", "--dense", "ctr=7.0")
    (bad / "0_0.inc").write_bytes(b"")  # what is left over is in nobody's way
    assert "adds 0 packets, for ctr 8.0" in run("--dense", "ctr=8.0")
    VariantCommitter(root, "b").commit(dense={"ctr": "9.0"})
    packet(root, 3, [3], 3.0, "b")
    assert "adds 1 packets" in run()
    assert EpochFollower(root).start().values(1, 2, 3, variant="b") == [1.0, 0.0, 3.0]


def test_a_committer_makes_no_directory(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="expected the incremental_dir of the servers, in which variant b is to be, got no dir"):
        VariantCommitter(tmp_path / "packet", "b")
    assert not list(tmp_path.iterdir())


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["all", "all", "variant", "variant", "late", "end", "revert", "restart"]),
        st.sampled_from(["b", "c"]),
        st.lists(st.sampled_from(SIGNS), min_size=1, max_size=6, unique=True),
    ),
    max_size=10,
)


@settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_servers_that_saw_it_come_and_servers_that_start_have_the_same_variants(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, list[int]]]
) -> None:
    """Against what the records say, packet by packet."""
    root = tmp_path_factory.mktemp("packets")
    follower, committer = EpochFollower(root).start(), EpochCommitter(root)
    files: dict[tuple[str, str], tuple[list[int], float]] = {}  # of each packet, by its variant and name

    def written(second: int, signs: list[int], variant: str) -> Path:
        directory = packet(root, second, signs, float(second), variant)
        files[variant, f"s0/{directory.name}"] = signs, float(second)
        return directory

    def expected(log: EpochLog, epoch: int, variant: str) -> list[float]:
        values = dict.fromkeys(SIGNS, 0.0)
        own = log.history.variants.packets_at(epoch)[variant].packets if variant else {}
        for which, packets in (("", log.history.packets_at(epoch)), (variant, own)):
            for one in sorted(packets.values(), key=lambda one: one.key):
                signs, value = files[which, one.packet]
                values |= dict.fromkeys(signs, value)
        return list(values.values())

    for number, (what, variant, signs) in enumerate(steps, 1):
        if what == "all":
            committer.commit([written(100 + number, signs, "")])
        elif what in ("variant", "late"):
            VariantCommitter(root, variant).commit(
                [written(100 + number if what == "variant" else 50 - number, signs, variant)]
            )
        elif what == "end" and variant in follower.log.history.variants.at(follower.epoch):
            VariantCommitter(root, variant).end()
        elif what == "revert":
            log = EpochLog(root)
            log.commit_after(log.read(), Draft(revert_to=log.newest - 1), "operator")
            committer.refresh()
        elif what == "restart":
            follower = EpochFollower(root, name=f"again_{number}.jsonl").start()
        follower.scan()
        assert follower.epoch == follower.log.newest and not follower.stalled
    for server in (follower, EpochFollower(root, name="fresh.jsonl").start()):
        server.scan()
        assert server.epoch == server.log.newest == follower.log.read()
        for epoch in range(max(1, server.table.status().epoch_low), server.epoch + 1):
            there = server.log.history.variants.at(epoch)
            for name in ("b", "c"):
                assert server.table.pin_epoch(epoch).has_variant(variant_key(name)) == (name in there)  # type: ignore[union-attr]
            for name in ("", *there):
                assert server.values(*SIGNS, epoch=epoch, variant=name) == expected(server.log, epoch, name)
