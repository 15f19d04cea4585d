"""`row_storage: uint8`: rows that FBGEMM has quantised are served as they were, and others within half a step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persia import _core
from persia.importers.formats import open_source
from tests.support.examples import examples
from tests.support.imported import TORCHREC, all_rows

F32 = np.float32


def stored(rows: np.ndarray) -> np.ndarray:
    builder = _core.TableBuilder("uint8")
    signs = np.arange(len(rows), dtype=np.uint64)
    builder.put(signs, np.ascontiguousarray(rows, F32), 0, 1)
    found: np.ndarray = _core.Table(builder).pin().rows(signs, rows.shape[1])[0]
    return found


@pytest.mark.parametrize("kind", ["int8", "int4"])
@pytest.mark.parametrize(("name", "dim"), [("user", 12), ("item", 8)])
def test_rows_of_torchrecs_quantised_tables_are_exact(kind: Any, name: str, dim: int) -> None:
    source = open_source("torch", TORCHREC / f"{kind}.pt")
    _, rows = all_rows(source.packed[f"embedding_bags.t_{name}.weight"](kind, dim))
    np.testing.assert_array_equal(stored(rows), rows)


@settings(max_examples=examples(300), deadline=None)
@given(seed=st.integers(0, 2**32 - 1), dim=st.integers(2, 70), steps=st.sampled_from([255, 15]), shift=st.floats(-0.5, 1.5))
def test_rows_are_exact_whatever_scale_and_bias_in_f16_they_were_made_with(
    seed: int, dim: int, steps: int, shift: float
) -> None:
    rng = np.random.default_rng(seed)
    scale = F32(np.float16(10.0 ** rng.uniform(-6, 2)))
    bias = F32(np.float16(-shift * steps * scale))
    codes = rng.integers(0, steps + 1, dim)
    codes[rng.choice(dim, 2, replace=False)] = [0, steps]  # as FBGEMM chooses scale and bias
    rows = (codes.astype(F32) * scale + bias)[np.newaxis]
    np.testing.assert_array_equal(stored(rows), rows)


def quantised_to_4_bits(rows: np.ndarray) -> np.ndarray:
    """The numbers that FBGEMM's FloatToFusedNBitRowwiseQuantizedSBHalf keeps: it rounds the bias before it chooses codes."""
    bias = rows.min(1, keepdims=True).astype(np.float16).astype(F32)
    scale = ((rows.max(1, keepdims=True) - bias) / F32(15)).astype(np.float16).astype(F32)
    scale[scale == 0] = 1
    codes = np.clip(np.rint((rows - bias) / scale), 0, 15).astype(F32)
    kept: np.ndarray = codes * scale + bias
    return kept


@settings(max_examples=examples(200), deadline=None)
@given(seed=st.integers(0, 2**32 - 1), dim=st.integers(2, 40), far=st.floats(0, 4))
def test_rows_of_4_bits_are_exact_however_far_from_zero_they_are(seed: int, dim: int, far: float) -> None:
    rng = np.random.default_rng(seed)
    rows = quantised_to_4_bits((rng.normal(size=(50, dim)) + rng.choice([-1, 1]) * 10**far).astype(F32) * F32(0.1))
    np.testing.assert_array_equal(stored(rows), rows)
    assert _core.inexact_rows("uint8", rows) == 0


def test_rows_that_do_not_come_out_as_they_were_are_counted() -> None:
    rows = np.array([[0, 1, 255], [0, np.pi, 7], [5, 5, 5], [1, 2, np.e]], F32)
    assert [_core.inexact_rows(storage, rows) for storage in ("f32", "f16", "uint8")] == [0, 2, 2]
    assert _core.inexact_rows("uint8", rows[:0]) == 0


def test_numbers_whose_range_float32_does_not_hold_stay_finite() -> None:
    most = float(np.finfo(F32).max)
    rows = np.array([[-most, most, 0], [-3e38, 1e38, 2e37], [1e38, 1.01e38, 1.02e38], [-most, 1, 0]], F32)
    found = stored(rows)
    bound = F32(2.0**126)
    np.testing.assert_allclose(found[:2], np.clip(rows[:2], -bound, bound), atol=2.0**127 / 255)
    np.testing.assert_allclose(found[2:], rows[2:], atol=most / 255)


def test_the_largest_number_of_float32_stays_finite_in_int8() -> None:
    builder = _core.TableBuilder("int8")
    most = float(np.finfo(F32).max)
    builder.put(np.array([1], np.uint64), np.array([[most, -most, 0]], F32), 0, 1)
    found = _core.Table(builder).pin().rows(np.array([1], np.uint64), 3)[0]
    np.testing.assert_allclose(found, [[most, -most, 0]], rtol=1e-6)


@settings(max_examples=examples(100), deadline=None)
@given(seed=st.integers(0, 2**32 - 1), dim=st.integers(1, 40), size=st.sampled_from([1e-30, 1e-3, 1.0, 1e30]))
def test_other_rows_are_within_half_a_step(seed: int, dim: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    rows = (rng.normal(size=(3, dim)) * size + rng.normal() * size).astype(F32)
    step = (rows.max(1) - rows.min(1)) / 255
    slack = step[:, np.newaxis] * 0.501 + np.abs(rows).max(1)[:, np.newaxis] * 2e-7
    assert (np.abs(stored(rows) - rows) <= slack).all()


def test_numbers_that_are_none_do_not_spoil_the_others() -> None:
    rows = np.array([[np.nan, np.inf, -1, 0.5], [np.nan] * 4, [7.0] * 4, [-np.inf, 3, 3, 3]], F32)
    found = stored(rows)
    np.testing.assert_allclose(found[0], [0, 0.5, -1, 0.5], atol=0.004)
    assert found[1:].tolist() == [[0] * 4, [7] * 4, [3] * 4]


def test_a_row_takes_a_byte_a_number_and_eight_bytes() -> None:
    more = [_core.bytes_per_row(storage, 64) for storage in ("f32", "int8", "uint8")]
    assert more[0] > 3 * more[2] and 4 <= more[2] - more[1] <= 5
