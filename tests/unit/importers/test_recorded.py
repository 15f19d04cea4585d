"""Vectors that TorchRec and TensorFlow looked up, beside those of the checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from persia.config import EmbeddingConfig, SlotConfig
from persia.config.embedding_config import DefaultRowConfig
from persia.errors import FeatureError, InvalidInput
from persia.importers.command import import_command
from persia.importers.recorded import Comparison, compare_recorded
from tests.support.golden import arrays_of
from tests.support.imported import DUMPS, TORCHREC, config_of, import_into

TABLES = {name: f"sparse_arch.embedding_bag_collection.embedding_bags.t_{name}.weight" for name in ("user", "item", "tag")}
TENSORFLOW = DUMPS / "tensorflow"


def write(path: Path, arrays: dict[str, Any]) -> None:
    named: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
    np.savez(path, **named)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    import_into(tmp_path / "out", "torch-dcp", TORCHREC / "dcp", TABLES)
    return tmp_path / "out"


def test_bags_of_torchrec_are_equal(checkpoint: Path) -> None:
    config = EmbeddingConfig(
        slots_config={name: SlotConfig(dim=8, pooling="mean" if name == "item" else "sum") for name in TABLES}
    )
    compared = compare_recorded(checkpoint, config, TORCHREC / "bags.npz")
    assert compared == [Comparison(name, 8000, 0, 0) for name in sorted(TABLES)]


def test_sums_and_means_that_are_not_rounded_are_torchrecs_to_the_bit(checkpoint: Path) -> None:
    config = EmbeddingConfig(
        slots_config={name: SlotConfig(dim=8, pooling="mean" if name == "item" else "sum", output="f32") for name in TABLES}
    )
    compared = compare_recorded(checkpoint, config, TORCHREC / "bags.npz")
    assert compared == [Comparison(name, 8000, 0, 0, "float32") for name in sorted(TABLES)]


def test_ids_without_a_row_have_the_default_row(checkpoint: Path, tmp_path: Path) -> None:
    ids = np.array([10_000, 10_001])
    for default, want in ((DefaultRowConfig(value=0.5), np.full(8, 0.5)), (DefaultRowConfig(id=10_002), np.zeros(8))):
        config = EmbeddingConfig(
            slots_config={name: SlotConfig(dim=8, default_row=default) for name in TABLES},
        )
        write(tmp_path / "unseen.npz", {"user.ids": ids, "user.vectors": np.tile(want, (2, 1)).astype(np.float32)})
        assert compare_recorded(checkpoint, config, tmp_path / "unseen.npz") == [Comparison("user", 16, 0, 0)]


def test_another_pooling_is_found(checkpoint: Path) -> None:
    config = config_of(dict.fromkeys(TABLES, 8))
    (item,) = [slot for slot in compare_recorded(checkpoint, config, TORCHREC / "bags.npz") if slot.slot == "item"]
    assert item.different > 4000 and item.units > 100


@pytest.mark.parametrize("pooling", ["sum", "mean", "sqrtn"])
def test_bags_of_tensorflow_are_within_a_unit(pooling: Any, tmp_path: Path) -> None:
    """TensorFlow adds the rows of a bag in groups."""
    table = "model/layer_with_weights-0/embeddings/.ATTRIBUTES/VARIABLE_VALUE"
    import_into(tmp_path / "out", "tensorflow", TENSORFLOW / "keras", {"user": table})
    bags = arrays_of(TENSORFLOW / "bags.npz")
    arrays = {"user.ids": bags["ids"], "user.lengths": bags["lengths"], "user.vectors": bags[pooling]}
    write(tmp_path / "bags.npz", arrays)
    config = EmbeddingConfig(slots_config={"user": SlotConfig(dim=8, pooling=pooling)})
    (compared,) = compare_recorded(tmp_path / "out", config, tmp_path / "bags.npz")
    assert compared.numbers == 8000 and compared.units <= 1 and compared.different < 8
    config = EmbeddingConfig(slots_config={"user": SlotConfig(dim=8, pooling=pooling, output="f32")})
    (compared,) = compare_recorded(tmp_path / "out", config, tmp_path / "bags.npz")
    assert compared.numbers == 8000 and compared.units <= (0 if pooling == "sum" else 1)


def test_rows_one_by_one_and_ids_without_a_row(checkpoint: Path, tmp_path: Path) -> None:
    vectors = np.zeros((1, 8), np.float32)
    write(tmp_path / "r.npz", {"user.ids": [5000], "user.vectors": vectors})
    assert compare_recorded(checkpoint, config_of(dict.fromkeys(TABLES, 8)), tmp_path / "r.npz") == [
        Comparison("user", 8, 0, 0)
    ]


@pytest.mark.parametrize(
    ("arrays", "error", "message"),
    [
        ({"who.ids": [1]}, InvalidInput, "has no slot `who`"),
        ({"user.ids": [1]}, InvalidInput, "expected `user.ids` and `user.vectors`, got user.ids"),
        ({"user.ids": [1.5], "user.vectors": [[1.0]]}, FeatureError, "'user': expected ids"),
        ({"user.ids": [1], "user.vectors": [[1.0]]}, FeatureError, "expected a vector of dim 8 for each bag"),
        ({"user.ids": [1], "user.lengths": [2], "user.vectors": [[1.0] * 8]}, FeatureError, "in 1 bags of 2"),
    ],
)
def test_arrays_that_do_not_fit(arrays: Any, error: type[Exception], message: str, checkpoint: Path, tmp_path: Path) -> None:
    write(tmp_path / "r.npz", arrays)
    with pytest.raises(error, match=message):
        compare_recorded(checkpoint, config_of(dict.fromkeys(TABLES, 8)), tmp_path / "r.npz")


@pytest.mark.parametrize(("pooling", "code"), [("mean", 0), ("sum", 1)])
def test_the_command_ends_with_1_where_vectors_differ(pooling: str, code: int, checkpoint: Path, tmp_path: Path) -> None:
    slots = "".join(f"  {name}: {{dim: 8, pooling: {pooling if name == 'item' else 'sum'}}}\n" for name in TABLES)
    (tmp_path / "config.yml").write_text(f"slots_config:\n{slots}")
    arguments = ["verify", checkpoint, "--against", TORCHREC / "bags.npz", "--embedding-config", tmp_path / "config.yml"]
    result = CliRunner().invoke(import_command, [str(argument) for argument in arguments])
    assert result.exit_code == code
    assert "tag: 0 of 8000 numbers differ, by 0 units of float16 at most" in result.output
