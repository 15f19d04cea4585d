"""Files of safetensors, read without that package, and compared with what it wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from persia.errors import CorruptFile, InvalidInput, NotFound
from persia.importers.formats import open_source
from tests.support.imported import all_rows

RNG = np.random.default_rng(0)
TENSORS: dict[str, Any] = {
    "model.embeddings.user.weight": RNG.normal(size=(5, 4)).astype(np.float32),
    "model.embeddings.item.weight": RNG.normal(size=(3, 2)).astype(np.float16),
    "model.embedding_top.weight": RNG.normal(size=(2, 2)).astype(np.float32),
    "model.embedding_top.bias": np.zeros(2, np.float32),
    "model.step": np.array(3),
}


def test_tables_are_as_they_were_saved(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "m.safetensors", {"format": "pt"})
    source = open_source("safetensors", tmp_path / "m.safetensors")
    for name in ("model.embeddings.user.weight", "model.embeddings.item.weight"):
        assert (all_rows(source.table(name))[1] == TENSORS[name].astype(np.float32)).all()
        assert source.table(name).guess
    assert not source.table("model.embedding_top.weight").guess  # a bias stands beside it
    with pytest.raises(NotFound, match=r"`model.embedding_top.bias`, but it is not a table: it is \(2,\) of float32"):
        source.table("model.embedding_top.bias")


def test_numbers_of_bfloat16(tmp_path: Path) -> None:
    # 1.5 and -2.0, by hand.
    header = json.dumps({"emb.weight": {"dtype": "BF16", "shape": [1, 2], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "m.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes.fromhex("c03f00c0"))
    assert all_rows(open_source("safetensors", tmp_path / "m.safetensors").table("emb.weight"))[1].tolist() == [[1.5, -2]]


def test_ids_beside_rows_are_the_ids_of_the_rows(tmp_path: Path) -> None:
    rows = TENSORS["model.embeddings.user.weight"]
    keys = np.array([9, -1, 3, 2**60, 0])
    save_file({"user.id": keys, "user.weight": rows, "item.ids": keys[:4], "item.weight": rows}, tmp_path / "m.safetensors")
    source = open_source("safetensors", tmp_path / "m.safetensors")
    ids, found = all_rows(source.table("user.weight"))
    assert ids.tolist() == [9, 2**64 - 1, 3, 2**60, 0] and (found == rows).all()
    with pytest.raises(NotFound, match=r"`item.ids` beside it has 4 ids, and it has 5 rows"):
        source.table("item.weight")


def test_what_is_called_key_and_is_none_does_not_matter(tmp_path: Path) -> None:
    rows = TENSORS["model.embeddings.user.weight"]
    others = {"attention.key": rows, "attention.query": rows * 2, "user.id": np.array(3), "user.weight": rows}
    save_file(others, tmp_path / "m.safetensors")
    source = open_source("safetensors", tmp_path / "m.safetensors")
    assert {name: table.ids for name, table in source.tables.items()} == dict.fromkeys(
        ("attention.key", "attention.query", "user.weight"), "rows"
    )


def test_a_directory_with_all_of_its_files(tmp_path: Path) -> None:
    parts = [dict(list(TENSORS.items())[:2]), dict(list(TENSORS.items())[2:])]
    for i, part in enumerate(parts):
        save_file(part, tmp_path / f"model-{i}.safetensors")
    index = {"weight_map": {name: f"model-{i}.safetensors" for i, part in enumerate(parts) for name in part}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert len(open_source("safetensors", tmp_path).tables) == 3
    (tmp_path / "model-0.safetensors").unlink()
    with pytest.raises(
        CorruptFile, match=r"expected `model.embeddings.user.weight` in model-0.safetensors, got no such tensor"
    ):
        open_source("safetensors", tmp_path)


def test_a_directory_without_files(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"which has none"):
        open_source("safetensors", tmp_path)


def test_a_tensor_in_two_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_file(TENSORS, tmp_path / f"{name}.safetensors")
    with pytest.raises(CorruptFile, match=r"b.safetensors at byte 0: expected no tensor that is in a.safetensors already"):
        open_source("safetensors", tmp_path)


def test_a_file_that_is_cut_anywhere_is_named_with_the_byte(tmp_path: Path) -> None:
    file = tmp_path / "m.safetensors"
    save_file(TENSORS, file)
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(CorruptFile, match=r"m.safetensors at byte"):
            open_source("safetensors", file)


def test_a_header_with_any_bit_flipped_is_refused_or_says_the_same(tmp_path: Path) -> None:
    """Names have no checksum, and a flipped name is another one; nothing else may pass for what was written."""
    file = tmp_path / "m.safetensors"
    save_file({"emb.weight": TENSORS["model.embeddings.user.weight"]}, file)
    whole = file.read_bytes()
    for place in range(8 + int.from_bytes(whole[:8], "little")):
        for bit in range(8):
            data = bytearray(whole)
            data[place] ^= 1 << bit
            file.write_bytes(data)
            try:
                tables = open_source("safetensors", file).tables
            except CorruptFile:
                continue
            assert all(table.rows * table.dim == 20 for table in tables.values())
