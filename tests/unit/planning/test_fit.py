"""Prices from points, and how far off they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from persia.planning.fit import fit_prices, misfit_of

PRICES = st.lists(st.floats(0.01, 100), min_size=3, max_size=3)


@given(PRICES)
def test_prices_that_points_were_made_of_are_found(prices: list[float]) -> None:
    counts = np.random.default_rng(0).uniform(0.5, 2, (12, 3))
    assert fit_prices(counts.tolist(), (counts @ prices).tolist()) == pytest.approx(prices, rel=1e-6)


@given(arrays(float, (8, 3), elements=st.floats(0.1, 10)), arrays(float, 8, elements=st.floats(0.1, 10)))
def test_no_price_is_below_0_and_none_of_a_neighbour_is_better(counts: np.ndarray, costs: np.ndarray) -> None:
    prices = fit_prices(counts.tolist(), costs.tolist())

    def off(candidate: np.ndarray) -> float:
        return float(np.sum((counts @ candidate / costs - 1) ** 2))

    assert (prices >= 0).all()
    for place in range(3):
        for factor in (-0.05, 0.05):
            other = prices.copy()
            other[place] = max(0.0, other[place] + factor * max(prices.max(), 0.01))
            assert off(prices) <= off(other) + 1e-6


def test_a_thing_that_makes_cheaper_has_no_price() -> None:
    counts = [[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]]
    assert fit_prices(counts, [3.0, 2.0, 1.0])[1] == 0


def test_half_is_as_far_off_as_twice() -> None:
    misfit = misfit_of([1.0, 4.0, 2.0], [2.0, 2.0, 2.0])
    assert (misfit.median, misfit.worst, misfit.points) == (1.0, 1.0, 3)
    assert str(misfit) == "off by 100%, at worst 100%, at 3 points held out"
