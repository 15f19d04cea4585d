"""What records say of variants: as a naive reading of them has it, and what is no record of one."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persia.errors import CorruptFile
from persia.formats.epoch import CommittedPacket, EpochRecord, VariantChange, parse_record
from persia.formats.epoch_history import EpochHistory
from persia.variant import Variant, keyed_variants, variant_key
from tests.support.records import committed, record

NAMES = ("b", "c")
CHANGES = st.one_of(
    st.none(),
    st.builds(
        VariantChange,
        add=st.lists(st.integers(1, 9), max_size=2, unique=True).map(lambda seconds: tuple(map(committed, seconds))),
        dense=st.one_of(st.none(), st.sampled_from([{}, {"ctr": "8.0"}])),
    ),
)


def history_of(*records: EpochRecord) -> EpochHistory:
    history = EpochHistory()
    for one in records:
        history.append(one)
    return history


@given(st.lists(st.dictionaries(st.sampled_from(NAMES), CHANGES), max_size=12))
def test_variants_are_what_a_naive_reading_makes_of_them(changes: list[dict[str, VariantChange | None]]) -> None:
    history = history_of(*(record(epoch, variants=change or None) for epoch, change in enumerate(changes, 1)))
    now: dict[str, tuple[int, dict[str, str], dict[str, CommittedPacket]]] = {}
    named = {(name, packet.packet) for one in changes for name, change in one.items() if change for packet in change.add}
    for epoch, change in enumerate(changes, 1):
        for name, one in change.items():
            if one is None:
                now.pop(name, None)
                continue
            begun, dense, packets = now.get(name, (epoch, {}, {}))
            now[name] = (
                begun,
                dense if one.dense is None else one.dense,
                packets | {packet.packet: packet for packet in one.add},
            )
        assert history.variants.at(epoch) == {name: Variant(begun, dense) for name, (begun, dense, _) in now.items()}
        assert history.variants.packets_at(epoch) == {name: (begun, packets) for name, (begun, _, packets) in now.items()}
    assert history.variants.at(0) == {} and history.packets == {}
    for name, second in itertools.product(NAMES, range(1, 10)):
        packet = committed(second).packet
        assert history.variants.was_named(name, packet) == ((name, packet) in named)


def test_a_return_leaves_variants_as_they_are() -> None:
    own = VariantChange(add=(committed(5),))
    history = history_of(record(1, committed(1)), record(2, committed(2), variants={"b": own}), record(3, revert_to=1))
    assert list(history.packets) == [committed(1).packet]
    assert history.variants.packets_at(3)["b"].packets.keys() == {committed(5).packet}


def test_a_packet_of_a_variant_is_none_of_the_rows_that_all_share() -> None:
    history = history_of(record(1, variants={"b": VariantChange(add=(committed(5),))}))
    assert not history.is_named(committed(5).packet)


def test_variants_are_keyed_for_the_native_core() -> None:
    history = history_of(record(1, variants={"b": VariantChange(dense={"ctr": "8.0"})}), record(2, variants={"b": None}))
    ((first, [(key, name, dense)]), (second, none)) = keyed_variants(history.variants.changes)
    assert (first, key, name, second, none) == (1, variant_key("b"), "b", 2, [])
    assert list(dense) == [variant_key("ctr")]  # a fingerprint as all are


@pytest.mark.parametrize(
    "variants",
    [
        '{"../b":{}}',
        '{"":{}}',
        '{".b":{}}',
        '{"none":{}}',
        '{"%s":{}}' % ("b" * 65),
        '{"b":1}',
        '{"b":{"void":["s0/inc_1"]}}',
        '{"b":{"add":[{"packet":".variants/b/s0/inc_1","unix_seconds":1,"files":[]}]}}',
        '{"b":{"add":[{"packet":"s0/inc_1","unix_seconds":1,"files":[["0_0.ttl",1,"00000000"]]}]}}',
        '{"b":{"add":[{"packet":"s0/inc_1","unix_seconds":1,"files":[]},{"packet":"s0/inc_1","unix_seconds":1,"files":[]}]}}',
        '{"b":{"dense":{"ctr":8}}}',
        "[]",
    ],
)
def test_what_is_no_variant_is_refused(tmp_path: Path, variants: str) -> None:
    head = '{"format":1,"epoch":1,"parent_crc32":"00000000","unix_ms":0,"by":"trainer","variants":'
    assert parse_record(tmp_path, f'{head}{{"b":{{}},"c":null}}}}'.encode(), 1, "00000000").variants == {
        "b": VariantChange(),
        "c": None,
    }
    with pytest.raises(CorruptFile):
        parse_record(tmp_path, f"{head}{variants}}}".encode(), 1, "00000000")
