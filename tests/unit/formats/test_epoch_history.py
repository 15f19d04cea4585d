"""What a chain of records makes, without a disk: against a naive reading of the rules, whatever the records say."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from persia.dense_version import DenseVersion, keyed_changes
from persia.formats.epoch import EpochRecord
from persia.formats.epoch_history import EpochHistory, Packets
from tests.support.records import checkpoint, committed, record


def history_of(*records: EpochRecord) -> EpochHistory:
    history = EpochHistory()
    for one in records:
        history.append(one)
    return history


def seconds(history: EpochHistory, epoch: int) -> set[int]:
    return {packet.unix_seconds - 1_800_000_000 for packet in history.packets_at(epoch).values()}


def test_an_epoch_has_the_packets_of_the_one_before_and_its_own() -> None:
    history = history_of(record(1), record(2, committed(1)), record(3, committed(2), committed(3)))
    assert [seconds(history, epoch) for epoch in range(4)] == [set(), set(), {1}, {1, 2, 3}]


def test_a_return_is_an_epoch_of_its_own_and_what_it_leaves_is_not_added_by_itself() -> None:
    history = history_of(record(1, committed(1)), record(2, committed(2)), record(3, revert_to=1), record(4, committed(3)))
    assert [seconds(history, epoch) for epoch in (2, 3, 4)] == [{1, 2}, {1}, {1, 3}]
    assert not history.is_open(committed(2).packet, {"0_0.inc", "0_1.inc"})
    assert history.is_open(committed(4).packet, {"0_0.inc"})


def test_a_return_to_where_the_packets_were_brings_them_back() -> None:
    history = history_of(record(1, committed(1)), record(2, committed(2)), record(3, revert_to=1), record(4, revert_to=2))
    assert seconds(history, 4) == {1, 2}


def test_a_packet_that_was_voided_comes_back_only_when_it_is_added_again() -> None:
    bad = committed(2)
    history = history_of(record(1, committed(1), bad), record(2, void=(bad.packet,)), record(3, revert_to=1), record(4, bad))
    assert [seconds(history, epoch) for epoch in (2, 3, 4)] == [{1}, {1}, {1, 2}]
    assert not history.is_open(bad.packet, {"0_0.inc"})


def test_a_packet_with_more_files_takes_the_place_of_the_one_before() -> None:
    grown = committed(1, "0_0.inc", "0_1.inc")
    history = history_of(record(1, committed(1)), record(2, grown))
    assert history.packets == {grown.packet: grown}
    assert grown.has_all_of(committed(1)) and not committed(1).has_all_of(grown)
    assert [history.is_open(grown.packet, {"0_0.inc", "0_1.inc", *more}) for more in ((), ("0_2.inc",))] == [False, True]
    history.append(record(3, revert_to=1))
    assert not history.is_open(grown.packet, {"0_0.inc", "0_1.inc"})  # what the return has left behind


def test_a_checkpoint_is_that_of_all_epochs_until_another_one_and_comes_back_with_a_return() -> None:
    one, two = checkpoint(1), checkpoint(2)
    history = history_of(
        record(1),
        record(2, base=one),
        record(3, committed(1)),
        record(4, base=two),
        record(5, revert_to=3),
        record(6, revert_to=1),
    )
    assert [history.base_at(epoch) for epoch in range(7)] == [None, None, one, one, two, one, None]
    history.append(record(7, base=two))
    history.append(record(8, base=two))
    assert history.bases == [(2, one), (4, two), (5, one), (6, None), (7, two)]
    assert history.packets_at(8).keys() == set()


def test_a_log_is_held_until_a_record_releases_it() -> None:
    history = EpochHistory()
    held = []
    for epoch, hold in enumerate((None, True, None, False, None), 1):
        history.append(record(epoch, hold=hold))
        held.append(history.held)
    assert held == [False, True, True, False, False]


def test_dense_versions_stay_until_a_record_names_others() -> None:
    old, new = {"ctr": "7.0"}, {"ctr": "8.0", "cvr": "1.0"}
    history = history_of(record(1), record(2, dense=old), record(3, committed(1)), record(4, dense=new), record(5, dense={}))
    assert [history.dense_at(epoch) for epoch in range(6)] == [{}, {}, old, old, new, {}]
    assert history.dense_changes == [(2, old), (4, new), (5, {})]


def test_a_return_has_the_dense_versions_of_its_epoch_unless_it_names_others() -> None:
    old, new, newer = {"ctr": "7.0"}, {"ctr": "8.0"}, {"ctr": "9.0"}
    history = history_of(
        record(1, committed(1), dense=old), record(2, committed(2), dense=new), record(3, revert_to=1), record(4, committed(3))
    )
    assert [history.dense_at(epoch) for epoch in (2, 3, 4)] == [new, old, old]
    history.append(record(5, revert_to=2, dense=newer))
    assert history.dense_at(5) == newer and seconds(history, 5) == {1, 2}


def test_some_dense_versions_change_and_the_others_stay() -> None:
    history = history_of(record(1, dense={"ctr": "7.0", "cvr": "1.0"}))
    assert history.dense_with({"ctr": "8.0"}) == {"ctr": "8.0", "cvr": "1.0"}
    assert history.dense_with({"cvr": None, "new": "1.0"}) == {"ctr": "7.0", "new": "1.0"}


def test_keyed_changes_name_what_a_model_no_longer_has() -> None:
    ctr, cvr = DenseVersion("ctr", "7.0"), DenseVersion("cvr", "1.0")
    changes = [(2, {"ctr": "7.0"}), (4, {"ctr": "7.0", "cvr": "1.0"}), (5, {"cvr": "1.0"})]
    assert keyed_changes(changes) == [(2, *ctr.key), (4, *cvr.key), (5, ctr.key[0], 0)]


def naive(records: list[EpochRecord], epoch: int) -> set[str]:
    """By the words of docs/formats/epoch.md, from the first epoch on."""
    if not epoch:
        return set()
    one = records[epoch - 1]
    before = naive(records, epoch - 1 if one.revert_to is None else one.revert_to)
    void: set[str] = set()
    for each in records[:epoch]:
        void = (void - {packet.packet for packet in each.add}) | set(each.void)
    return (before | {packet.packet for packet in one.add}) - void


CHANGES = st.lists(
    st.tuples(st.sampled_from(["add", "void", "revert", "hold"]), st.integers(0, 30), st.integers(1, 9)), max_size=25
)


@given(CHANGES)
@example([("add", 0, 1), ("void", 0, 1), ("add", 0, 1), ("revert", 2, 1)])  # the epoch that it goes back to had it voided
@example([("add", 0, 1), ("void", 0, 1), ("revert", 1, 1), ("add", 0, 1), ("revert", 3, 1)])
def test_any_chain_makes_what_its_rules_say(changes: list[tuple[str, int, int]]) -> None:
    records: list[EpochRecord] = []
    history = EpochHistory()
    seen: list[Packets] = [{}]  # when each epoch was the newest
    for what, where, second in changes:
        epoch = len(records) + 1
        packet = committed(second)
        match what:
            case "add":
                one = record(epoch, packet)
            case "void":
                one = record(epoch, void=(packet.packet,))
            case "revert":
                one = record(epoch, revert_to=where % epoch)
            case _:
                one = record(epoch, hold=bool(second % 2))
        records.append(one)
        history.append(one)
        seen.append(dict(history.packets))
        assert history.packets.keys() == naive(records, epoch)
    for epoch in range(len(records) + 1):
        assert history.packets_at(epoch) == seen[epoch]  # whatever came later
    said = {name for one in records for name in (*one.void, *(packet.packet for packet in one.add))}
    assert {name for second in range(1, 10) if history.is_named(name := committed(second).packet)} == said
