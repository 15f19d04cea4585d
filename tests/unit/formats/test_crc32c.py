"""The checksum of TensorFlow's files."""

from __future__ import annotations

from persia._core import crc32c


def test_the_values_of_rfc_3720() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA


def test_it_goes_on_with_the_checksum_of_what_came_before() -> None:
    assert crc32c(b"6789", crc32c(b"12345")) == crc32c(memoryview(b"123456789"))
