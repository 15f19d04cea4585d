"""Ids, signs and shards against literal values and an independent farmhash64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persia.config import Slot, parse_embedding_config
from persia.errors import InvalidInput
from persia.signs import add_prefix, farmhash64, hash_stack, shard_of, signs_of

U64 = st.integers(0, 2**64 - 1)
MASK = 2**64 - 1


def reference_hash(value: int) -> int:
    """FarmHash's Hash64 of 8 bytes."""

    def rotate(x: int, n: int) -> int:
        return (x >> n | x << (64 - n)) & MASK

    k2 = 0x9AE16A3B2F90404F
    mul = (k2 + 16) & MASK
    a, b = (value + k2) & MASK, value
    c = (rotate(b, 37) * mul + a) & MASK
    d = ((rotate(a, 25) + b) * mul) & MASK
    x = ((c ^ d) * mul) & MASK
    x ^= x >> 47
    y = ((d ^ x) * mul) & MASK
    y ^= y >> 47
    return (y * mul) & MASK


def test_farmhash64_has_the_public_test_value() -> None:
    ids = np.frombuffer(b"12345678", "<u8")
    assert farmhash64(ids).tolist() == [3430003927990384362]
    assert reference_hash(int(ids[0])) == 3430003927990384362


@settings(deadline=None)
@given(st.lists(U64, max_size=20), st.integers(1, 1000))
def test_shard_is_the_hash_modulo_the_number_of_shards(signs: list[int], shards: int) -> None:
    expected = [reference_hash(sign) % shards for sign in signs]
    assert shard_of(np.array(signs, np.uint64), shards).tolist() == expected


def test_prefix_modulus_is_one_less_than_a_power_of_two() -> None:
    top = (1 << 56) - 1
    prefix = 3 << 56
    assert add_prefix([0, 1, top - 1, top, top + 1], prefix, 8).tolist() == [
        prefix,
        prefix + 1,
        prefix + top - 1,
        prefix,
        prefix + 1,
    ]


def test_the_last_group_fills_64_bits_without_overflow() -> None:
    assert add_prefix([2**64 - 1, 2**56 - 2], 255 << 56, 8).tolist() == [(255 << 56) + 255, 2**64 - 2]
    assert add_prefix([5], (2**63 - 1) << 1, 63).tolist() == [2**64 - 2]


@settings(deadline=None)
@given(st.lists(U64, max_size=20), st.integers(1, 63), st.data())
def test_prefix_as_in_python_integers(ids: list[int], bits: int, data: st.DataObject) -> None:
    prefix = data.draw(st.integers(0, 2**bits - 1)) << (64 - bits)
    expected = [id % ((1 << (64 - bits)) - 1) + prefix for id in ids]
    assert add_prefix(np.array(ids, np.uint64), prefix, bits).tolist() == expected


def test_hash_stack_chains_its_hashes() -> None:
    id = int.from_bytes(b"12345678", "little")
    first = 3430003927990384362
    second = reference_hash(first)
    assert hash_stack([id], 2, 500).tolist() == [[first % 500], [second % 500 + 500]]
    assert hash_stack([id], 2, 500).tolist() == [[362], [second % 500 + 500]]


@settings(deadline=None)
@given(st.lists(U64, max_size=10), st.integers(1, 5), st.integers(1, 10**6))
def test_hash_stack_round_has_its_own_range(ids: list[int], rounds: int, size: int) -> None:
    stacked = hash_stack(np.array(ids, np.uint64), rounds, size)
    assert stacked.shape == (rounds, len(ids))
    assert all((row // size == r).all() for r, row in enumerate(stacked))


def test_signs_of_a_slot() -> None:
    config = parse_embedding_config(
        "{feature_index_prefix_bit: 12, slots_config: {a: {dim: 8},"
        " q: {dim: 4, hash_stack_config: {hash_stack_rounds: 3, embedding_size: 200}}}}"
    )
    assert signs_of([7, 2**52 - 1], config.slots["a"]).tolist() == [[(1 << 52) + 7, 1 << 52]]
    signs = signs_of([7, 8, 9], config.slots["q"])
    assert signs.shape == (3, 3)
    assert signs.dtype == np.uint64
    assert (signs - np.uint64(2 << 52)).tolist() == hash_stack([7, 8, 9], 3, 200).tolist()


def slot_of(name: str) -> Slot:
    return parse_embedding_config(f"slots_config: {{{name}: {{dim: 8}}}}").slots[name]


def test_no_ids_are_no_signs() -> None:
    assert signs_of([], slot_of("a")).shape == (1, 0)


NO_ID = "expected ids that are integers or strings, got"


@pytest.mark.parametrize(
    ("ids", "problem"),
    [
        ([1.5], f"{NO_ID} float64 in sample 0: a float has lost the digits of a large id"),
        ([[1], [2]], "expected ids in 1 dimension, got lists of them"),
        (np.array([True]), f"{NO_ID} bool in sample 0"),
        ([1, None], "expected integers or strings (of dense inputs also floats), all of one kind, got None in sample 1"),
        ([2**64], "expected integers from -2^63 to 2^64 - 1, got 18446744073709551616 in sample 0"),
    ],
)
def test_ids_that_are_none(ids: object, problem: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        add_prefix(ids, 1 << 56, 8)
    assert str(caught.value) == problem


@pytest.mark.parametrize(("prefix", "bits"), [(1 << 56, 0), (1 << 56, 64), (1 << 64, 8), (1, 8), (-(1 << 56), 8)])
def test_prefixes_that_are_none(prefix: int, bits: int) -> None:
    with pytest.raises(InvalidInput, match="prefix"):
        add_prefix([1], prefix, bits)


@pytest.mark.parametrize(("rounds", "size"), [(0, 5), (2, 0), (-1, 5)])
def test_hash_stacks_that_are_none(rounds: int, size: int) -> None:
    with pytest.raises(InvalidInput, match="expected at least 1 round and 1 row"):
        hash_stack([1], rounds, size)


def test_public_functions_take_what_is_like_an_array_and_say_what_is_not() -> None:
    assert farmhash64([0x3837363534333231]).tolist() == [3430003927990384362]
    assert (
        shard_of(np.arange(20, dtype=np.int64)[::2], 3).tolist() == shard_of(np.arange(0, 20, 2, dtype=np.uint64), 3).tolist()
    )
    with pytest.raises(InvalidInput, match="1 dimension"):
        farmhash64(np.zeros((2, 2), np.uint64))
    assert farmhash64(["12345678"]).tolist() == [reference_hash(3430003927990384362)]
    assert signs_of([-1], slot_of("a")).tolist() == signs_of([2**64 - 1], slot_of("a")).tolist()
    with pytest.raises(InvalidInput, match="shards, got 0"):
        shard_of([1], 0)
