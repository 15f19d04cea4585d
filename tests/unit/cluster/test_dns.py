"""The DNS of the test cluster: what it makes of queries, of good ones and of others."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.cluster.dns import A, answer, name_and_addresses, question_of

NAME = "ps-shard-0.default.svc.cluster.local"
NAMES = {NAME: ["10.78.1.2", "10.78.2.3"], "empty.default.svc.cluster.local": []}
AAAA = 28


def query(name: str, kind: int = A, number: int = 7) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", kind, 1)


def code(message: bytes) -> int:
    return message[3] & 0xF


def test_a_name_stands_for_all_of_its_addresses() -> None:
    message = answer(query(NAME.upper()), NAMES)
    number, flags, questions, answers = struct.unpack_from("!HHHH", message)
    assert (number, flags & 0x8000, questions, answers, code(message)) == (7, 0x8000, 1, 2, 0)
    assert [socket.inet_ntoa(record[-4:]) for record in (message[:-16], message)] == NAMES[NAME]


def test_a_service_without_addresses_is_another_thing_than_no_service() -> None:
    assert code(answer(query("empty.default.svc.cluster.local"), NAMES)) == 0
    assert code(answer(query("nothing.default.svc.cluster.local"), NAMES)) == 3


def test_there_are_no_addresses_of_ipv6() -> None:
    message = answer(query(NAME, AAAA), NAMES)
    assert (code(message), struct.unpack_from("!H", message, 6)) == (0, (0,))


@given(st.binary(max_size=64) | st.builds(lambda at, to: query(NAME)[:at] + to, st.integers(0, 50), st.binary(max_size=8)))
def test_other_bytes_are_no_query_or_one(message: bytes) -> None:
    try:
        name, _, end = question_of(message)
    except ValueError:
        return
    assert len(name) < end <= len(message)
    answer(message, NAMES)


@pytest.mark.parametrize("length", range(len(query(NAME))))
def test_a_query_that_is_cut_short_is_none(length: int) -> None:
    with pytest.raises(ValueError, match="cut short"):
        question_of(query(NAME)[:length])


def test_addresses_of_all_subsets_count() -> None:
    endpoints = {
        "metadata": {"name": "ps-shard-0", "namespace": "default"},
        "subsets": [
            {"addresses": [{"ip": "10.78.1.2"}]},
            {"notReadyAddresses": [{"ip": "10.78.9.9"}]},
            {"addresses": [{"ip": "a"}]},
        ],
    }
    assert name_and_addresses(endpoints) == (NAME, ["10.78.1.2", "a"])
    assert name_and_addresses(endpoints | {"subsets": None}) == (NAME, [])
