"""The table of ways to get wrong scores: every way has a number, and every test that it names is there."""

from __future__ import annotations

import re

from tests.support.places import ROOT, TESTS

FILES = {path.name: path for path in TESTS.rglob("test_*.py")}
TABLE = (ROOT / "docs" / "wrong-scores.md").read_text()
ROWS = {int(number): row for number, row in re.findall(r"^\| (\d+) \| (.*) \|$", TABLE, re.MULTILINE)}
OWN = {"config", "ids", "requests"}  # test_wrong_scores_*.py, where tests have the number in their names


def test_ways_are_numbered_without_a_gap_and_the_title_counts_them() -> None:
    assert sorted(ROWS) == list(range(1, len(ROWS) + 1))
    assert len(ROWS) == 70 and TABLE.startswith("# Seventy ways")
    assert all(row.count(" | ") == 3 for row in ROWS.values())


def test_every_way_has_a_test_and_every_test_a_way() -> None:
    named = {}
    for kind in OWN:
        text = FILES[f"test_wrong_scores_{kind}.py"].read_text()
        named[kind] = {int(number) for number in re.findall(r"^def test_way_(\d\d)_", text, re.MULTILINE)}
    for kind, numbers in named.items():
        assert numbers == {number for number, row in ROWS.items() if kind in re.split(r"; ", row.rpartition(" | ")[2])}


def test_tests_of_others_that_it_names_are_there() -> None:
    missing = []
    for number, row in ROWS.items():
        tests = row.rpartition(" | ")[2]
        references = re.findall(r"`(test_\w+\.py)::(test_\w+)`", tests)
        assert references or OWN & set(tests.split("; ")), number
        for file, name in references:
            if file not in FILES or f"\ndef {name}(" not in FILES[file].read_text():
                missing.append((number, file, name))
    assert missing == []
