"""The table of faults names every fault, and every fault has a test with its number."""

from __future__ import annotations

import re

from tests.support.places import ROOT, TESTS

FAULTS = [*range(1, 27), 34, 39]


def test_every_fault_has_a_line_and_a_test() -> None:
    table = (ROOT / "docs" / "persia-faults.md").read_text()
    assert [int(number) for number in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)] == FAULTS
    texts = "".join(path.read_text() for path in TESTS.rglob("test_*.py"))
    names = re.findall(r"^def test_fault_(\d\d)(?:_and_(\d\d))?_", texts, re.MULTILINE)
    assert sorted({int(number) for pair in names for number in pair if number}) == FAULTS
