"""The log on disk: one of several writers wins, a chain that is broken is named, and nothing is ever changed."""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from persia.errors import CorruptFile, PersiaError, Superseded
from persia.formats.epoch import Draft, EpochRecord, VariantChange, checksum, parse_record
from persia.formats.epoch_log import EpochLog
from persia.formats.layout import record_path
from tests.support.places import ROOT
from tests.support.records import checkpoint, committed


def log_with(root: Path, records: int) -> EpochLog:
    log = EpochLog(root, clock=lambda: 0.0)
    log.read()
    for second in range(1, records + 1):
        assert log.commit(Draft(add=(committed(second),)), "server")
    return log


def reread(root: Path) -> EpochLog:
    log = EpochLog(root)
    log.read()
    return log


def damage(root: Path) -> tuple[int, str]:
    """What was read of a broken log, and what is wrong with it."""
    log = EpochLog(root)
    with pytest.raises(CorruptFile) as raised:
        log.read()
    return log.newest, str(raised.value)


def test_whoever_reads_comes_to_what_was_written(tmp_path: Path) -> None:
    log = log_with(tmp_path, 3)
    again = reread(tmp_path)
    assert again.history.records == log.history.records and again.newest == 3
    assert again.commit(Draft(revert_to=1, hold=True), "operator", "bad rows")
    assert log.read() == 4
    assert log.history.packets.keys() == {committed(1).packet} and log.history.held
    assert not log.foreign_files()


def test_a_record_with_a_checkpoint_is_read_whole_or_not_at_all(tmp_path: Path) -> None:
    """Whatever is cut off, or has another name."""
    log = log_with(tmp_path, 1)
    assert log.commit(Draft(base=checkpoint(1)), "trainer")
    path = record_path(log.directory, 2)
    whole = path.read_bytes()
    assert reread(tmp_path).history.base_at(2) == checkpoint(1)
    for size in range(len(whole) - 1):
        path.write_bytes(whole[:size])
        assert damage(tmp_path)[0] == 1
    for field in (b'"checkpoint"', b'"id"', b'"unix_seconds"', b'"bounds"'):
        assert whole.count(field) == 1
        path.write_bytes(whole.replace(field, b'"x' + field[1:]))
        assert damage(tmp_path)[0] == 1


def test_there_is_no_log_before_the_first_record(tmp_path: Path) -> None:
    log = EpochLog(tmp_path)
    assert log.read() == 0 and not log.directory.exists()


def test_of_many_who_write_the_same_epoch_one_wins(tmp_path: Path) -> None:
    logs = [reread(tmp_path) for _ in range(8)]
    start = threading.Barrier(len(logs))
    won: list[EpochRecord | None] = []

    def commit(number: int) -> None:
        start.wait()
        won.append(logs[number].commit(Draft(add=(committed(number),)), "server"))

    threads = [threading.Thread(target=commit, args=(number,)) for number in range(len(logs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (record,) = filter(None, won)
    assert all(log.read() == 1 and log.history.records == [record] for log in logs)
    assert [path.name for path in logs[0].directory.iterdir()] == ["00000000000000000001.json"]  # and no temporary files


def test_who_does_not_know_of_a_later_epoch_is_told(tmp_path: Path) -> None:
    trainer = log_with(tmp_path, 2)
    operator = reread(tmp_path)
    operator.commit_after(2, Draft(revert_to=1), "operator", "bad rows")
    with pytest.raises(
        Superseded, match=r"expected epoch 2 to be the newest one, got epoch 3, which an operator has committed \(bad rows\)"
    ):
        trainer.commit_after(2, Draft(add=(committed(9),)), "trainer")
    assert reread(tmp_path).newest == 3
    assert trainer.commit_after(3, Draft(add=(committed(9),)), "trainer").epoch == 4


def test_epochs_of_variants_alone_are_in_nobodys_way(tmp_path: Path) -> None:
    trainer = log_with(tmp_path, 2)
    other = reread(tmp_path)
    for variants in ({"b": VariantChange(add=(committed(5),))}, {"b": None}):
        assert other.commit(Draft(variants=variants), "trainer")
    assert trainer.commit_after(2, Draft(add=(committed(9),)), "trainer").epoch == 5
    assert other.read() == 5
    for draft in (Draft(hold=False), Draft(dense={}), Draft(void=(committed(9).packet,)), Draft(revert_to=0)):
        parent = trainer.newest
        other.commit_after(parent, msgspec.structs.replace(draft, variants={"b": VariantChange()}), "operator")
        with pytest.raises(Superseded):
            trainer.commit_after(parent, Draft(), "trainer")


def test_packets_that_servers_commit_are_in_no_operators_way(tmp_path: Path) -> None:
    servers = log_with(tmp_path, 2)
    operator = reread(tmp_path)
    for number, draft in enumerate((Draft(dense={"ctr": "8.0"}), Draft(hold=True), Draft(revert_to=1)), 1):
        parent = operator.newest
        servers.read()
        assert servers.commit(Draft(add=(committed(2 + number),)), "server")
        assert operator.commit_after(parent, draft, "operator").epoch == parent + 2
    servers.read()
    assert servers.commit(Draft(add=(committed(9),)), "trainer")
    with pytest.raises(Superseded, match="which a trainer has committed"):
        operator.commit_after(operator.newest, Draft(hold=False), "operator")
    with pytest.raises(Superseded, match="which a trainer has committed"):
        servers.commit_after(2, Draft(), "trainer")


def test_a_record_that_is_torn_at_any_byte_ends_what_is_read(tmp_path: Path) -> None:
    log = log_with(tmp_path, 2)
    path = record_path(log.directory, 2)
    whole = path.read_bytes()
    for size in range(len(whole) - 1):  # the last byte is the end of the line
        path.write_bytes(whole[:size])
        newest, problem = damage(tmp_path)
        assert newest == 1 and str(path) in problem
    path.write_bytes(whole)
    assert reread(tmp_path).newest == 2


def test_no_flipped_bit_goes_unseen(tmp_path: Path) -> None:
    """In the newest record, too, and it is the damaged record that is named."""
    log = log_with(tmp_path, 2)
    for epoch in (1, 2):
        path = record_path(log.directory, epoch)
        whole = path.read_bytes()
        for byte in range(len(whole)):
            path.write_bytes(whole[:byte] + bytes([whole[byte] ^ 1 << byte % 8]) + whole[byte + 1 :])
            newest, problem = damage(tmp_path)
            assert newest == epoch - 1 and str(path) in problem
        path.write_bytes(whole)


def test_a_record_that_somebody_has_edited_is_named(tmp_path: Path) -> None:
    """Though it is a record that could be, and there is none after it that would know its checksum."""
    log = log_with(tmp_path, 1)
    path = record_path(log.directory, 1)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(msgspec.json.encode([committed(1)]), b"[]"))
    newest, problem = damage(tmp_path)
    assert newest == 0 and f"at byte {path.read_bytes().find(b'crc32', 60) + 8}:" in problem, problem
    assert "some byte before has changed" in problem
    path.write_bytes(whole.replace(b"}\n", b',"why":"x"}\n'))
    assert damage(tmp_path)[0] == 0


def test_records_of_before_have_no_checksum_of_their_own(tmp_path: Path) -> None:
    log = log_with(tmp_path, 1)
    path = record_path(log.directory, 1)
    path.write_bytes(path.read_bytes().partition(b',"crc32"')[0] + b"}\n")
    assert reread(tmp_path).history.packets == log.history.packets


def test_a_record_of_another_log_is_named(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    ours = log_with(tmp_path / "a", 2)
    theirs = EpochLog(tmp_path / "b", clock=lambda: 1.0)
    for second in (1, 2, 3):
        theirs.commit(Draft(add=(committed(second),)), "server")
    record_path(ours.directory, 3).write_bytes(record_path(theirs.directory, 3).read_bytes())
    newest, problem = damage(tmp_path / "a")
    assert newest == 2 and "one of another log" in problem


def test_a_missing_record_is_named(tmp_path: Path) -> None:
    log = log_with(tmp_path, 3)
    record_path(log.directory, 2).unlink()
    newest, problem = damage(tmp_path)
    assert newest == 1 and "00002.json" in problem and "no file before that of epoch 3" in problem


def test_files_that_are_no_records_are_named_and_in_nobodys_way(tmp_path: Path) -> None:
    log = log_with(tmp_path, 1)
    for name in ("1.json", "00000000000000000002.json~", "notes"):
        (log.directory / name).touch()
    assert reread(tmp_path).newest == 1
    assert log.foreign_files() == ["00000000000000000002.json~", "1.json", "notes"]


@pytest.mark.parametrize(
    "draft",
    [
        Draft(revert_to=1, add=(committed(1),)),
        Draft(revert_to=1, void=("s0/inc_1",)),
        Draft(revert_to=2),
        Draft(add=(committed(1), committed(1))),
        Draft(add=(committed(1),), void=(committed(1).packet,)),
        Draft(void=("../s0",)),
        Draft(revert_to=0, base=checkpoint(1)),
        Draft(base=replace(checkpoint(1), checkpoint="")),
        Draft(base=replace(checkpoint(1), checkpoint="/a\x00b")),
        Draft(base=replace(checkpoint(1), id="0" * 16)),
        Draft(base=replace(checkpoint(1), id="ABCDEF0123456789")),
        Draft(base=replace(checkpoint(1), id="123")),
        Draft(base=replace(checkpoint(1), unix_seconds=-1)),
        Draft(base=replace(checkpoint(1), bounds=())),
        Draft(base=replace(checkpoint(1), bounds=(1, -1))),
    ],
)
def test_a_record_that_nobody_could_read_is_not_written(tmp_path: Path, draft: Draft) -> None:
    log = log_with(tmp_path, 1)
    with pytest.raises(PersiaError):
        log.commit(draft, "operator")
    assert reread(tmp_path).newest == 1


def test_the_bytes_of_the_document(tmp_path: Path) -> None:
    """docs/formats/epoch.md has four records, letter by letter."""
    page = (ROOT / "docs" / "formats" / "epoch.md").read_text().partition("## Example\n")[2].partition("\n## ")[0]
    first, second, third, fourth = [line.strip().encode() + b"\n" for line in page.splitlines() if line.startswith("    {")]
    one = parse_record(tmp_path, first, 1, "00000000")
    two = parse_record(tmp_path, second, 2, checksum(first))
    three = parse_record(tmp_path, third, 3, checksum(second))
    four = parse_record(tmp_path, fourth, 4, checksum(third))
    assert [record.to_bytes() for record in (one, two, three, four)] == [first, second, third, fourth]
    assert three.variants is not None and three.variants.keys() == {"b", "c"} and three.is_of_variants_alone
    base = four.base
    assert base is not None and base.identity == 0x5F0D2A9C81B7E346 and base.has.has(1, 1795161587)
    assert not base.has.has(1, 1795161588) and base.has.has(7, 1795161587) and not four.is_of_variants_alone
    assert [packet.packet for packet in one.add] == ["s0/inc_20261120070757"] and two.revert_to == 0
