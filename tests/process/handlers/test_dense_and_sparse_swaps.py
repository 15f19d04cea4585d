"""A dense model and its rows are switched together on both homes of its handler, under load."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.dense_homes import HOMES, judge_swaps

pytestmark = pytest.mark.whole_way

SWAPS = 2


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
@pytest.mark.parametrize("home", list(HOMES))
def test_no_pair_is_wrong_and_no_request_is_lost(tmp_path: Path, home: str) -> None:
    judgement = judge_swaps(tmp_path, HOMES[home], SWAPS, packets_each=0.2)
    assert (judgement.mismatched, judgement.misread, judgement.versions) == (0, 0, SWAPS + 1), judgement
