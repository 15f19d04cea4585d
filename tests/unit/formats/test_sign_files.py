"""`.del` and `.ttl` files: what is written is read, and no damage passes."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persia.errors import CorruptFile
from persia.formats.sign_files import claimed_seconds, read_sign_file, write_sign_file

numbers = st.integers(0, 2**64 - 1)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@given(st.dictionaries(numbers, numbers), numbers, st.booleans())
def test_what_is_written_is_read(directory: Path, rows: dict[int, int], seconds: int, with_ends: bool) -> None:
    path = directory / ("x.ttl" if with_ends else "x.del")
    signs, ends = (np.fromiter(column, np.uint64, len(rows)) for column in (rows.keys(), rows.values()))
    write_sign_file(path, signs, seconds, ends if with_ends else None)
    file = read_sign_file(path)
    assert file.unix_seconds == claimed_seconds(path) == seconds
    assert file.signs.tolist() == sorted(rows)
    if with_ends:
        assert file.ends is not None and dict(zip(file.signs.tolist(), file.ends.tolist(), strict=True)) == rows
    else:
        assert file.ends is None


@given(st.data())
def test_no_damage_passes(directory: Path, data: st.DataObject) -> None:
    """A byte that is another, a file that is cut, one that goes on, one of the other kind."""
    path = directory / data.draw(st.sampled_from(["y.del", "y.ttl"]))
    signs = np.array(data.draw(st.lists(numbers, unique=True, max_size=5)), np.uint64)
    write_sign_file(path, signs, 7, signs if path.suffix == ".ttl" else None)
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    other = bytes([whole[at] ^ data.draw(st.integers(1, 255))])
    damaged = data.draw(st.sampled_from([whole[:at], whole[:at] + other + whole[at + 1 :], whole + whole[:at] + b"x"]))
    path.write_bytes(damaged)
    with pytest.raises(CorruptFile) as caught:
        read_sign_file(path)
    assert caught.value.file == str(path) and 0 <= caught.value.byte <= len(damaged)
    path.rename(renamed := path.with_suffix(".del" if path.suffix == ".ttl" else ".ttl"))
    renamed.write_bytes(whole)
    with pytest.raises(CorruptFile, match="at byte 0: expected b'persi"):
        read_sign_file(renamed)


@given(st.binary(max_size=80))
def test_bytes_of_any_kind(directory: Path, data: bytes) -> None:
    path = directory / "z.del"
    path.write_bytes(data)
    with pytest.raises(CorruptFile):
        read_sign_file(path)


def test_signs_that_stand_twice_or_in_no_order(directory: Path) -> None:
    path = directory / "w.del"
    for signs in ([4, 4], [5, 4]):
        body = b"persiDEL" + (1).to_bytes(8, "little") + (2).to_bytes(8, "little") + np.array(signs, np.uint64).tobytes()
        path.write_bytes(body + zlib.crc32(body).to_bytes(4, "little"))
        with pytest.raises(CorruptFile, match=f"at byte 32: expected signs in ascending order after {signs[0]}, got 4"):
            read_sign_file(path)
