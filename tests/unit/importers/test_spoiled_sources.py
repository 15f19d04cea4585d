"""Sources of every format, cut, flipped, filled and swapped at random: an error with the file, or the rows as they were.

What a format cannot notice is said in its entry: a flipped bit of a number where there is no checksum, two files of one shape.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from persia.errors import CorruptFile, PersiaError
from persia.importers import Source
from persia.importers.formats import FORMATS, open_source
from tests.support.imported import DUMPS, all_rows
from tests.support.raw_dumps import (
    KEYS,
    ROWS,
    write_collection,
    write_dynamicemb,
    write_hps,
    write_monolith,
    write_sok,
    write_tfra,
)

MUTANTS = 40
Table = list[tuple[int, bytes]]  # in the order of ids
pytest.importorskip("h5py")  # here, since it starts a process when it is imported


def copied(*parts: str) -> Callable[[Path], Path]:
    def copy(to: Path) -> Path:
        source = DUMPS.joinpath(*parts)
        if source.is_dir():
            return Path(shutil.copytree(source, to))
        to.mkdir()
        return Path(shutil.copy(source, to))

    return copy


def write_numpy(to: Path) -> Path:
    for name in ("a", "b"):
        (to / name).mkdir(parents=True)
        np.save(to / name / "ids.npy", KEYS)
        np.save(to / name / "rows.npy", ROWS)
    return to


def write_parquet(to: Path) -> Path:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    to.mkdir()
    for name in ("a", "b"):
        parquet.write_table(pyarrow.table({"id": KEYS, "vector": list(ROWS)}), to / f"{name}.parquet")
    return to


def write_safetensors(to: Path) -> Path:
    to.mkdir()
    header = b'{"t":{"dtype":"F32","shape":[5,3],"data_offsets":[0,60]}}'
    (to / "t.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + ROWS.tobytes())
    return to


# The format, what makes a source, and whether it has checksums of all that its tables are made of. Monolith has some of each
# record, and nothing says how many records there are (test_monolith_files.py).
SOURCES: dict[str, tuple[str, Callable[[Path], Path], bool]] = {
    "dynamicemb": ("dynamicemb", lambda to: write_dynamicemb(to, "t", ranks=2), False),
    "hps": ("hugectr", lambda to: write_hps(to / "t").parent, False),
    "collection": ("hugectr", lambda to: write_collection(to, {4: (KEYS, ROWS), 5: (KEYS, ROWS)}), False),
    "sok": ("hugectr", lambda to: write_sok(to, {"t": (KEYS, ROWS), "u": (KEYS, ROWS)}), False),
    "keras": ("keras", copied("keras", "model.keras"), True),
    "weights": ("keras", copied("keras", "model.weights.h5"), False),
    "monolith": ("monolith", lambda to: write_monolith(to, [[(7 << 48, [1.0, 2.0])] * 3, [(7 << 48 | 1, [0.0, 1.0])]]), False),
    "numpy": ("numpy", write_numpy, False),
    "parquet": ("parquet", write_parquet, False),
    "safetensors": ("safetensors", write_safetensors, False),
    "tensorflow": ("tensorflow", copied("tensorflow", "keras"), True),
    "tfra": ("tfra", lambda to: write_tfra(to, "t", parts=2), False),
    "torch": ("torch", copied("torchrec", "state.pt"), True),
    "torch-dcp": ("torch-dcp", copied("torchrec", "dcp"), True),
}


def test_every_format_is_spoiled() -> None:
    assert {format for format, _, _ in SOURCES.values()} == set(FORMATS)


def tables_of(source: Source) -> dict[str, Table]:
    tables = {}
    for name, table in source.tables.items():
        ids, rows = all_rows(table)
        assert len(ids) == len(rows) == table.rows and rows.shape[1] == table.dim
        tables[name] = sorted((int(id), row.tobytes()) for id, row in zip(ids, rows, strict=True))
    return tables


def spoil(files: list[Path], choice: random.Random) -> str:
    """Changes one file or two, and says how."""
    file = choice.choice(files)
    data = bytearray(file.read_bytes())
    kind = choice.choice(("cut", "flip", "flip", "fill", "more", "swap", "gone"))
    if kind == "cut":
        file.write_bytes(data[: choice.randrange(len(data))])
    elif kind == "more":
        file.write_bytes(data + choice.randbytes(choice.choice((1, 8, 64))))
    elif kind == "gone":
        file.unlink()
    elif kind == "swap" and len(files) > 1:
        other = choice.choice([one for one in files if one != file])
        file.write_bytes(other.read_bytes())
        other.write_bytes(data)
    else:
        begin = choice.randrange(len(data))
        size = 1 if kind == "flip" else choice.randrange(1, 32)
        for place in range(begin, min(begin + size, len(data))):
            data[place] = data[place] ^ 1 << choice.randrange(8) if kind == "flip" else choice.choice((0, 255))
        file.write_bytes(data)
    return f"{kind} {file.name}"


@pytest.mark.parametrize("name", SOURCES)
def test_a_spoiled_source_is_an_error_with_its_file(name: str, tmp_path: Path) -> None:
    format, make, has_checksums = SOURCES[name]
    whole = make(tmp_path / "whole")
    single = whole.is_file()
    root = whole.parent if single else whole
    right = tables_of(open_source(format, whole))
    choice = random.Random(name)
    refused = 0
    for _ in range(MUTANTS):
        spoiled = tmp_path / "spoiled"
        shutil.copytree(root, spoiled)
        files = sorted(path for path in spoiled.rglob("*") if path.is_file() and path.stat().st_size)
        how = spoil(files, choice)
        try:
            found = tables_of(open_source(format, spoiled / whole.name if single else spoiled))
        except CorruptFile as error:
            assert error.file.startswith(str(spoiled)) and error.byte >= 0, how
            refused += 1
        except (PersiaError, FileNotFoundError) as error:
            assert str(spoiled) in str(error), (how, error)
            refused += 1
        else:
            if has_checksums:
                assert all(right.get(table) == rows for table, rows in found.items()), how
        shutil.rmtree(spoiled)
    assert refused > MUTANTS // 8
