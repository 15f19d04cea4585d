"""Dumps that each of the systems wrote, imported and served: every row, and TensorFlow's 1,000 bags of each combiner."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner

from persia.batch import IDTypeFeature, PersiaBatch
from persia.ctx import InferCtx
from persia.importers.command import import_command
from tests.support.golden import arrays_of
from tests.support.imported import DUMPS, TORCHREC
from tests.support.in_process import LocalDeployment

TENSORFLOW, KERAS = DUMPS / "tensorflow", DUMPS / "keras"
TABLES = arrays_of(TENSORFLOW / "tables.npz")
LAYERS, PACKED, TWO = (
    arrays_of(path) for path in (KERAS / "looked_up.npz", TORCHREC / "packed.npz", TORCHREC / "managed_two.npz")
)
VARIABLE = "model/layer_with_weights-0/embeddings/.ATTRIBUTES/VARIABLE_VALUE"
WEIGHT = "embedding_bags.t_user.weight"


class Case(NamedTuple):
    """`ids` are row numbers, if they are not given. `rows` are what the system itself looked up."""

    format: str
    source: Path
    table: str
    rows: Any
    ids: Any = None
    quantized: str = ""
    row_storage: str = "f32"


CASES = {
    "tensorflow": Case("tensorflow", TENSORFLOW / "keras", VARIABLE, TABLES["keras"]),
    "partitioned": Case("tensorflow", TENSORFLOW / "partitioned", "user/embedding_weights", TABLES["partitioned"]),
    "tfra": Case("tfra", TENSORFLOW / "tfra_files", "in_files", TABLES["tfra"], TABLES["keys"]),
    "tfra in a bundle": Case(
        "tensorflow", TENSORFLOW / "tfra_bundle", "table/tables_of_in_a_bundle", TABLES["tfra"], TABLES["keys"]
    ),
    "keras": Case("keras", KERAS / "model.keras", "tags/tag_table", LAYERS["tag_table"]),
    "keras in int8": Case("keras", KERAS / "quantised.keras", "tag_table", arrays_of(KERAS / "quantised.npz")["tag_table"]),
    "managed": Case("torch-dcp", TORCHREC / "managed_two", f"0._embedding_module.{WEIGHT}", TWO["rows"], TWO["ids"]),
    "int8": Case("torch", TORCHREC / "int8.pt", WEIGHT, PACKED["int8.user"], None, "int8", "uint8"),
    "int4": Case("torch", TORCHREC / "int4.pt", WEIGHT, PACKED["int4.user"], None, "int4", "uint8"),
}


def serve(model: Path, case: Case, slots: dict[str, str], shards: int = 2) -> LocalDeployment:
    """All slots have the table. slots: the options of each."""
    dim = case.rows.shape[1]
    quantized = f", quantized: {case.quantized}" if case.quantized else ""
    lines = "".join(f"  {name}: {{dim: {dim}, {options}}}\n" for name, options in slots.items())
    groups = f"feature_groups: {{all: [{', '.join(slots)}]}}\n"
    (model / "embedding_config.yml").write_text(f"{groups}slots_config:\n{lines}")
    maps = "".join(f"  {name}: {{table: '{case.table}'{quantized}}}\n" for name in slots)
    (model / "tables.yml").write_text(f"slots:\n{maps}")
    arguments = [case.format, case.source, model / "ckpt", "--shards", shards]
    arguments += ["--embedding-config", model / "embedding_config.yml", "--map", model / "tables.yml"]
    result = CliRunner().invoke(import_command, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    assert ("`row_storage: uint8` keeps as they are" in result.output) == (case.row_storage == "uint8")
    return LocalDeployment(model, shards, storage=case.row_storage)


def look_up(context: InferCtx, slots: list[str], bags: list[npt.NDArray[np.uint64]]) -> list[npt.NDArray[Any]]:
    batch = PersiaBatch([IDTypeFeature(slot, bags) for slot in slots], requires_grad=False)
    features = context.prepare_features(context.get_embedding_from_bytes(batch.to_bytes()))
    return [tensor.numpy() for tensor in features.embeddings]


@pytest.mark.parametrize("name", CASES)
def test_every_row_is_served_as_its_system_looked_it_up(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    ids = np.arange(len(case.rows)) if case.ids is None else case.ids
    bags = [np.array([id], np.int64).view(np.uint64) for id in ids]
    with serve(tmp_path, case, {"half": "pooling: sum", "exact": "pooling: sum, output: f32"}) as deployment:
        half, exact = look_up(deployment.direct(), ["half", "exact"], bags)
    assert half.dtype == np.float16 and half.tobytes() == case.rows.astype(np.float16).tobytes()
    assert exact.dtype == np.float32 and exact.tobytes() == case.rows.astype(np.float32).tobytes()


def test_bags_of_tensorflow_are_served_within_a_unit_of_the_last_place(tmp_path: Path) -> None:
    """TensorFlow adds the rows of a bag in groups."""
    recorded, ways = arrays_of(TENSORFLOW / "bags.npz"), ["sum", "mean", "sqrtn"]
    ends = np.cumsum(recorded["lengths"], dtype=np.int64)
    bags = [ids.astype(np.uint64) for ids in np.split(recorded["ids"], ends[:-1])]
    with serve(tmp_path, CASES["tensorflow"], {way: f"pooling: {way}" for way in ways}) as deployment:
        found = look_up(deployment.direct(), ways, bags)
    for way, vectors in zip(ways, found, strict=True):
        expected = recorded[way].astype(np.float16)
        assert vectors.shape == expected.shape == (1000, 8)
        units = np.abs(vectors.view(np.int16).astype(int) - expected.view(np.int16))
        assert units.max() <= 1 and np.count_nonzero(units) < 8, way
