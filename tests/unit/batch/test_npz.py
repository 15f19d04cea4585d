"""Files of arrays that users give: whatever they are, they are read or refused by name."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import numpy as np
import pytest

from persia.errors import InvalidInput
from persia.npz import read_npz


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed], ids=["stored", "compressed"])
@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_a_file_with_any_byte_changed_is_read_or_refused(tmp_path: Path, save: object, flip: int) -> None:
    path = tmp_path / "in.npz"
    assert callable(save)
    save(path, a=np.arange(3), b=np.ones((2, 2), np.float32))
    whole = path.read_bytes()
    assert list(read_npz(path)) == ["a", "b"]
    refused = 0
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :])
        with contextlib.suppress(InvalidInput, OSError):
            read_npz(path)
            continue
        refused += 1
    assert refused


def test_what_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "in.npz"
    path.write_bytes(b"PK")
    with pytest.raises(InvalidInput, match=f"expected an .npz file, .*, got {re.escape(str(path))}"):
        read_npz(path)
