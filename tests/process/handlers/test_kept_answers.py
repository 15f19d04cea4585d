"""Answers of both homes, kept while packets come, are made again to the byte. `make replay-test` does it with many."""

from __future__ import annotations

from pathlib import Path

import pytest

from persia.receipts.kept import read_kept
from tests.support.dense_homes import HOMES
from tests.support.replay_loop import answers_in, keep_answers, replay_all

ANSWERS = 120

pytestmark = [pytest.mark.whole_way, pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")]


@pytest.mark.parametrize("home", list(HOMES))
def test_all_are_the_same_to_the_byte(tmp_path: Path, home: str) -> None:
    place = keep_answers(tmp_path, ANSWERS, home)
    told = replay_all(place)
    assert (told["answers"], told["same"], told["problems"]) == (2 * ANSWERS, 2 * ANSWERS, []), told
    assert answers_in(place.ring) == ANSWERS
    answers = [kept for path in place.kept.iterdir() for kept in read_kept(path)]
    assert len({kept.receipt.epoch for kept in answers}) > 1
