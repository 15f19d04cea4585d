"""`persia-launcher check`: slots whose ids are signs have the rows that no group has."""

from __future__ import annotations

import pytest

from persia.checking.report import Report
from persia.checking.scan import Count, Scan
from persia.checking.tables import check_rows
from persia.config import EmbeddingConfig, SlotConfig

CONFIG = EmbeddingConfig(
    slots_config={"keyed": SlotConfig(dim=4, ids_are_signs=True), "plain": SlotConfig(dim=4)},
)


@pytest.mark.parametrize(
    ("counts", "state", "text"),
    [
        ({(0, 4): Count(3), (2, 4): Count(5)}, "ok", "about 8 rows, whose signs are ids"),
        ({(0, 4): Count(3), (2, 5): Count(5)}, "fail", "expected rows of dim 4, got rows of dim 5 whose signs are of no group"),
        ({}, "warn", "the checkpoint has no rows"),
    ],
)
def test_rows_without_a_group_are_theirs(counts: dict[tuple[int, int], Count], state: str, text: str) -> None:
    report, rows = Report(), {**counts, (1, 4): Count(7)}
    check_rows(report, CONFIG, Scan(1, rows=15, total=15, counts=rows))
    found = {finding.subject: finding for finding in report.findings}
    assert (found["keyed"].state, text in found["keyed"].text) == (state, True)
    assert found["plain"].state == "ok" and found.keys() == {"keyed", "plain"}


def test_packets_may_have_them_too() -> None:
    report = Report()
    packets = {(0, 4): Count(1), (2, 4): Count(1)}
    check_rows(report, CONFIG, Scan(1, counts={(0, 4): Count(1), (1, 4): Count(1)}, packets=1, packet_counts=packets))
    assert {finding.state for finding in report.findings} == {"ok"}
