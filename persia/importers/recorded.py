"""Vectors that another system looked up, beside those that a checkpoint gives for the same ids."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from persia._core import EmbReader
from persia.config import EmbeddingConfig, Slot
from persia.errors import FeatureError, InvalidInput
from persia.formats.checkpoint import open_checkpoint
from persia.npz import read_npz
from persia.signs import signs_of

from .numbers import ids_of_integers
from .source import F32, U64

__all__ = ["Comparison", "compare_recorded"]


@dataclass(frozen=True)
class Comparison:
    """How many numbers of a slot were compared, in the type in which it serves embeddings; and how many of them differ.

    `units` is the largest difference, in units of the last place of this type.
    """

    slot: str
    numbers: int
    different: int
    units: int
    type: str = "float16"


@dataclass(frozen=True)
class _Recorded:
    """Ids of bags that follow each other, how many each bag has, and the vector of each bag."""

    slot: Slot
    signs: U64
    lengths: npt.NDArray[np.int64]
    vectors: F32


def compare_recorded(checkpoint: Path, config: EmbeddingConfig, recorded: Path) -> list[Comparison]:
    """Compares the vectors in an .npz file. It has `SLOT.ids` and `SLOT.vectors`, and `SLOT.lengths` for bags of several ids.

    Raises FeatureError, InvalidInput for arrays that fit neither each other nor the slots; CorruptFile, OSError.
    """
    arrays = read_npz(recorded)
    names = sorted({name.rpartition(".")[0] for name in arrays})
    if not names:
        raise InvalidInput(f"expected arrays SLOT.ids and SLOT.vectors in {recorded}, got none")
    wanted = [_recorded(name, arrays, config, recorded) for name in names]
    rows = _find_rows(checkpoint, wanted)
    return [_compare(item, rows) for item in wanted]


def _recorded(name: str, arrays: dict[str, npt.NDArray[np.generic]], config: EmbeddingConfig, path: Path) -> _Recorded:
    if name not in config.slots:
        raise InvalidInput(f"{path}: the embedding config has no slot `{name}`")
    if f"{name}.ids" not in arrays or f"{name}.vectors" not in arrays:
        raise InvalidInput(f"{path}: expected `{name}.ids` and `{name}.vectors`, got {', '.join(sorted(arrays))}")
    slot, ids, vectors = config.slots[name], arrays[f"{name}.ids"], arrays[f"{name}.vectors"]
    if ids.ndim != 1 or ids.dtype.kind not in "iu" or vectors.ndim != 2 or vectors.dtype.kind != "f":
        raise FeatureError(
            name, f"expected ids (n) of integers and vectors (bags, dim) of floats, got {ids.dtype}, {vectors.dtype}"
        )
    lengths = arrays.get(f"{name}.lengths", np.ones(len(ids), np.int64)).astype(np.int64)
    if (lengths < 0).any() or lengths.sum() != len(ids) or vectors.shape != (len(lengths), slot.dim):
        shapes = f"{len(ids)} ids in {len(lengths)} bags of {lengths.sum()}, and vectors {vectors.shape}"
        raise FeatureError(name, f"expected a vector of dim {slot.dim} for each bag, got {shapes}")
    if slot.hash_stack_rounds or (slot.pooling == "raw" and (lengths != 1).any()):
        raise FeatureError(name, "expected a slot without a hash stack, and bags of one id where it is raw")
    return _Recorded(slot, signs_of(ids_of_integers(ids), slot)[0], lengths, vectors.astype(np.float32))


def _find_rows(checkpoint: Path, wanted: list[_Recorded]) -> dict[int, F32]:
    """The rows of the signs that are wanted, by sign. Raises CorruptFile, OSError."""
    defaults = [_default_sign(item.slot) for item in wanted if item.slot.default_id is not None]
    signs = np.unique(np.concatenate([*(item.signs for item in wanted), np.array(defaults, np.uint64)]))
    rows: dict[int, F32] = {}
    for path in open_checkpoint(checkpoint).files:
        for found, dims, values, _ in EmbReader(path):
            ends = np.cumsum(dims, dtype=np.int64)
            for place in np.flatnonzero(np.isin(found, signs)):
                rows[int(found[place])] = values[ends[place] - dims[place] : ends[place]].copy()
    return rows


def _compare(item: _Recorded, rows: dict[int, F32]) -> Comparison:
    slot = item.slot
    default = np.full(slot.dim, slot.default_value or 0, np.float32)
    if slot.default_id is not None:
        default = rows.get(_default_sign(slot), default)
    got = np.zeros_like(item.vectors)
    place = 0
    for bag, length in enumerate(item.lengths.tolist()):
        for sign in item.signs[place : place + length].tolist():
            got[bag] += rows.get(sign, default)
        place += length
    divisors = np.maximum(item.lengths, 1).astype(np.float32)[:, None]
    if slot.pooling in ("mean", "sqrtn"):
        got /= divisors if slot.pooling == "mean" else np.sqrt(divisors)
    places = _places_f32 if slot.output == "f32" else _places
    units = np.abs(places(got) - places(item.vectors))
    kind = "float32" if slot.output == "f32" else "float16"
    return Comparison(slot.name, units.size, int(np.count_nonzero(units)), int(units.max(initial=0)), kind)


def _default_sign(slot: Slot) -> int:
    return int(signs_of(np.array([slot.default_id], np.uint64), slot)[0, 0])


def _places(vectors: F32) -> npt.NDArray[np.int64]:
    """The place of each number among all of float16, so that neighbours differ by 1, and both zeros are one."""
    with np.errstate(over="ignore"):
        bits = vectors.astype(np.float16).view(np.uint16).astype(np.int64)
    return np.where(bits & 0x8000, -(bits & 0x7FFF), bits)


def _places_f32(vectors: F32) -> npt.NDArray[np.int64]:
    """The same among all of float32."""
    bits = vectors.view(np.uint32).astype(np.int64)
    return np.where(bits & 0x80000000, -(bits & 0x7FFFFFFF), bits)
