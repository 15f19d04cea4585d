"""Files of torch.save, read without torch. tests/support/dumps/torch_dumps.py wrote them with torch."""

from __future__ import annotations

import pickle
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from persia.errors import CorruptFile, InvalidInput, NotFound, PersiaError
from persia.importers.formats import open_source
from persia.importers.torch_pickles import Record, load_pickle
from tests.support.imported import DUMPS, TORCHREC, all_rows, import_into

NESTED = DUMPS / "torch" / "nested.pt"
KEYED = DUMPS / "torch" / "keyed.pt"


def halves(rows: int, dim: int, start: int = 0) -> Any:
    return (np.arange(rows * dim, dtype=np.float32) / 2 + start).reshape(rows, dim)


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("bag.weight", halves(5, 4)),
        ("parameter.emb", halves(3, 2)),
        ("marked.emb", halves(2, 2)),
        ("half_embeddings.weight", halves(6, 2)),
        ("brain_embeddings.weight", halves(6, 2)),
        ("double_embeddings.weight", halves(6, 2)),
        ("part_of_emb.weight", halves(3, 2, start=2)),
    ],
)
def test_tables_have_the_numbers_that_torch_saved(name: str, rows: Any) -> None:
    assert (all_rows(open_source("torch", NESTED).table(f"state_dict.{name}"))[1] == rows).all()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("state_dict.turned_emb.weight", "not in C's order, but a view of another tensor"),
        ("state_dict.steps", r"it is \(\) of int64"),
        ("state_dict.seen", r"it is \(3,\) of uint32"),
        ("arguments", "it is a argparse.Namespace"),
        ("epoch", "it is a int"),
    ],
)
def test_what_is_no_table_says_why(name: str, reason: str) -> None:
    with pytest.raises(NotFound, match=reason):
        open_source("torch", NESTED).table(name)


def test_ids_beside_rows_are_the_ids_of_the_rows(tmp_path: Path) -> None:
    source = open_source("torch", KEYED)
    for name, start in (("rows", 0), ("exp_avg", 9)):
        ids, rows = all_rows(source.table(f"user.{name}"))
        assert ids.tolist() == [7, 2**64 - 1, 40] and (rows == halves(3, 2, start)).all()
    assert source.table("user.rows").ids == "keys"
    report = import_into(tmp_path / "out", "torch", KEYED, {"user": "user.rows"})
    assert [(table.rows, table.ids) for table in report.tables] == [(3, "keys")]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("short.rows", r"`short.keys` beside it has 2 ids, and it has 3 rows"),
        ("by_id", r"it is a mapping of 2 ids to tensors: save a mapping of two tensors.*torch.stack\(list\(table.values"),
        ("sparse", r"it is a sparse tensor: save its to_dense\(\)"),
        ("quantised", r"it is a quantised tensor of torch: save its dequantize\(\)"),
        ("small", r"it is \(3, 2\) of torch.float8_e4m3fn, and a table"),
        ("other", r"no table `other`: its tables are user.exp_avg, user.rows"),
    ],
)
def test_what_cannot_be_a_table_says_what_to_save(name: str, reason: str) -> None:
    with pytest.raises(NotFound, match=reason):
        open_source("torch", KEYED).table(name)


def test_a_whole_module_is_refused_with_what_to_save() -> None:
    with pytest.raises(InvalidInput, match=r"whole.pt has an object of torch.nn.modules.sparse.EmbeddingBag.*state_dict\(\)"):
        open_source("torch", DUMPS / "torch" / "whole.pt")


def test_torch_is_not_imported(tmp_path: Path) -> None:
    before = "torch" in sys.modules
    report = import_into(tmp_path / "out", "torch", NESTED, {"user": "state_dict.bag.weight"})
    assert report.tables[0].rows == 5
    assert ("torch" in sys.modules) == before


def test_a_file_of_a_torch_before_1_6() -> None:
    with pytest.raises(InvalidInput, match=r"is of a torch before 1.6: load it and save it again"):
        open_source("torch", DUMPS / "torch" / "old.pt")


def test_a_directory_is_another_format() -> None:
    with pytest.raises(InvalidInput, match=r"for a distributed checkpoint, say `torch-dcp`"):
        open_source("torch", TORCHREC / "dcp")


class Trap:
    """A pickle of it would make whoever loads it with pickle create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_nothing_that_a_pickle_names_is_run(tmp_path: Path) -> None:
    loaded = load_pickle(pickle.dumps(Trap(tmp_path / "made")), tmp_path, 0)
    assert isinstance(loaded, Record) and not (tmp_path / "made").exists()


def test_a_huge_memo_is_refused_before_it_takes_memory(tmp_path: Path) -> None:
    with pytest.raises(CorruptFile, match=r"at byte 12: .* got the memo 4294967295"):
        load_pickle(b"\x80\x02K\x01r\xff\xff\xff\xff.", tmp_path, 8)


def test_a_part_of_one_process_is_refused(tmp_path: Path) -> None:
    """A ShardedTensor is a class of torch's, whose objects these bytes name."""
    content = pickle.dumps({"emb.weight": 1}).replace(
        pickle.dumps(1)[2:-1], b"ctorch.distributed._shard.sharded_tensor.api\nShardedTensor\n)\x81"
    )
    with zipfile.ZipFile(tmp_path / "rank0.pt", "w") as archive:
        archive.writestr("rank0/data.pkl", content)
    with pytest.raises(
        NotFound, match=r"this file has the part of one process. Save all of it with torch.distributed.checkpoint"
    ):
        open_source("torch", tmp_path / "rank0.pt").table("emb.weight")


def outcome(path: Path) -> set[bytes] | None:
    """The tables of a spoiled file, or None if it is refused; nothing else may happen."""
    try:
        return {all_rows(table)[1].tobytes() for table in open_source("torch", path).tables.values()}
    except PersiaError as error:
        assert isinstance(error, (CorruptFile, InvalidInput)), error
        return None


def test_a_flipped_bit_is_found_or_changes_no_number(tmp_path: Path) -> None:
    """The archive has checksums of all members; what stands beside them is padding, dates and the like, or a name."""
    whole = NESTED.read_bytes()
    path = Path(shutil.copy(NESTED, tmp_path / "m.pt"))
    right, refused = outcome(path), 0
    assert right
    for place in range(0, len(whole), 7):
        data = bytearray(whole)
        data[place] ^= 1 << place % 8
        path.write_bytes(data)
        found = outcome(path)
        refused += found is None
        assert found is None or found <= right, place
    assert refused > 200


def test_a_file_that_is_cut_is_refused_with_the_byte(tmp_path: Path) -> None:
    whole, path = NESTED.read_bytes(), tmp_path / "m.pt"
    for length in range(0, len(whole), 13):
        path.write_bytes(whole[:length])
        with pytest.raises(CorruptFile, match=r"m.pt at byte"):
            open_source("torch", path)
