"""What a table should hold, as two plain columns over a fixed choice of signs."""

from __future__ import annotations

import numpy as np

from persia import _core

DIMS = (3, 4, 16)  # one of a size that the native code has no special case for
STORAGES = ("f32", "f16", "int8", "uint8")

# Small signs, signs of several groups, both ends of 64 bits; in no order, so that a slice is a mixture of all.
UNIVERSE = np.random.default_rng(1).permutation(
    np.array([*range(700), *range(3 << 56, (3 << 56) + 4900, 7), *range(2**64 - 600, 2**64)], np.uint64)
)
N = len(UNIVERSE)


def row_values(signs: np.ndarray, stamp: np.ndarray | int, dim: int) -> np.ndarray:
    """(n) -> (n, dim): other numbers for every sign, column and stamp, which tells one put from another."""
    known = (signs % np.uint64(100_003)).astype(np.int64) * 31 + np.asarray(stamp, np.int64) * 7
    return ((known[:, np.newaxis] + np.arange(dim) * 3) % 1021 - 510).astype(np.float32) / np.float32(3)


def assert_close(got: np.ndarray, want: np.ndarray, storage: str) -> None:
    """Equal but for what the storage costs: half an ulp of f16, or half a step of int8 or uint8."""
    if storage == "f32":
        np.testing.assert_array_equal(got, want)
        return
    if storage == "uint8":
        slack = (want.max(axis=1, keepdims=True, initial=-1e9) - want.min(axis=1, keepdims=True, initial=1e9)) / 510 + 1e-4
    else:
        slack = np.abs(want) / 2048 if storage == "f16" else np.abs(want).max(axis=1, keepdims=True, initial=0) / 254
    assert (np.abs(got - want) <= slack * 1.0001).all()


class Oracle:
    """`dims[i]` and `stamps[i]` are those of the row of UNIVERSE[i]; a dim of 0 is no row."""

    def __init__(self) -> None:
        self.dims = np.zeros(N, np.int64)
        self.stamps = np.zeros(N, np.int64)

    def copy(self) -> Oracle:
        other = Oracle()
        other.dims, other.stamps = self.dims.copy(), self.stamps.copy()
        return other

    def put(self, places: np.ndarray, dim: int, stamp: int) -> None:
        self.dims[places] = dim
        self.stamps[places] = stamp

    def delete(self, places: np.ndarray) -> None:
        self.dims[places] = 0

    @property
    def present(self) -> np.ndarray:
        return self.dims > 0

    def under(self, own: dict[int, tuple[int, int]]) -> Oracle:
        """As a variant has it that says `own`: by place a dim and a stamp, with a dim of 0 for a deletion."""
        whole = self.copy()
        for place, (dim, stamp) in own.items():
            whole.dims[place], whole.stamps[place] = dim, stamp
        return whole

    def check(self, snapshot: _core.Snapshot, storage: str, places: np.ndarray | None = None, variant: int = 0) -> None:
        """The snapshot has exactly these rows, asked for at `places` (all of them if there are none given)."""
        where = np.arange(N) if places is None else places
        dims, stamps, signs = self.dims[where], self.stamps[where], UNIVERSE[where]
        for dim in DIMS:
            rows, absent, wrong_dim = snapshot.rows(signs, dim, variant)
            assert rows.shape == (len(where), dim)
            assert absent == np.count_nonzero(dims == 0)
            assert wrong_dim == np.count_nonzero((dims != 0) & (dims != dim))
            right = dims == dim
            assert not rows[~right].any()
            assert_close(rows[right], row_values(signs[right], stamps[right], dim), storage)
        if places is None and not variant:
            self.check_signs(snapshot)

    def check_signs(self, snapshot: _core.Snapshot) -> None:
        np.testing.assert_array_equal(np.sort(snapshot.signs()), np.sort(UNIVERSE[self.present]))


def places_of(signs: np.ndarray) -> np.ndarray:
    """Where the signs stand in UNIVERSE."""
    order = np.argsort(UNIVERSE)
    places: np.ndarray = order[np.searchsorted(UNIVERSE, signs, sorter=order)]
    return places
