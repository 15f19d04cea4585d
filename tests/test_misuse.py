"""What a caller, a file or a machine can do wrong ends in an error that says so, and leaves what was there as it was."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from persia import _core
from persia.errors import CorruptFile, InvalidInput


def ids(*values: int) -> np.ndarray:
    return np.array(values, np.uint64)


# Files


@pytest.mark.parametrize("read", [_core.EmbReader, _core.IncReader, _core.summarize_emb])
def test_a_pipe_is_refused_at_once(read: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x")
    with pytest.raises(OSError, match="Invalid argument"):
        read(tmp_path / "x")


def test_a_path_that_is_not_utf8_comes_back_as_it_was(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.emb")
    with pytest.raises(FileNotFoundError) as missing:
        _core.EmbReader(path)
    assert missing.value.filename == path
    _core.write_emb(path, [])
    assert _core.EmbReader(path).path == path
    _core.write_inc(path, [], 0)
    assert _core.IncReader(path).path == path
    with pytest.raises(CorruptFile) as corrupt:
        _core.EmbReader(path)
    assert corrupt.value.file == path


@pytest.mark.parametrize("blocks", [[1], ["ab"], [[ids(1), np.ones((1, 1), np.float32)]], [(ids(1),)]])
def test_blocks_that_are_no_pairs_are_refused(blocks: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"expected pairs \(signs, rows\)"):
        _core.write_emb(tmp_path / "x.emb", blocks)
