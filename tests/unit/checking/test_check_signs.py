"""`persia-launcher check`: slots whose ids are signs, have a modulo, or a default row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from persia.batch import PersiaBatch
from persia.checking.default_rows import check_default_rows, default_signs
from persia.checking.report import Report
from persia.checking.samples import check_sample, read_sample
from persia.checking.scan import Count, Rows, Scan
from persia.checking.tables import check_rows
from persia.config import EmbeddingConfig, SlotConfig
from persia.config.embedding_config import DefaultRowConfig, Keep

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


def rows_of(signs: list[int]) -> Rows:
    wanted = np.sort(np.array(signs, np.uint64))
    return Rows.of([(wanted, np.full(len(signs), 4, np.uint32), np.zeros(4 * len(signs), np.float32))])


def test_a_default_row_that_is_not_there_is_a_warning() -> None:
    """Without it ids without a row are zeros, and no lookup says so."""
    slots = {name: SlotConfig(dim=4, default_row=DefaultRowConfig(id=id)) for name, id in {"there": 3, "away": 9}.items()}
    config, report = EmbeddingConfig(slots_config=slots), Report()
    signs = default_signs(config)
    assert signs == {"there": (1 << 56) + 3, "away": (2 << 56) + 9}
    check_default_rows(report, config, Scan(2, found=rows_of([signs["there"]])))
    (finding,) = report.findings
    assert (finding.state, finding.subject) == ("warn", "away")
    assert "the default row, that of the id 9, is not in the table: ids without a row are zeros" in finding.text
    begun = Report()
    check_default_rows(begun, config, Scan(2, whole=False))
    assert not begun.findings


@pytest.mark.parametrize(("modulo", "warns"), [(1000, True), (1024, False), (0, False)])
def test_hashes_under_a_modulo_are_a_warning(modulo: int, warns: bool, tmp_path: Path) -> None:
    """Hashes without a sign have other remainders, unless by a power of two, and rows of other ids are found for them."""
    config = EmbeddingConfig(slots_config={"city": SlotConfig(dim=4, modulo=modulo)})
    path, report = tmp_path / "sample.bin", Report()
    path.write_bytes(PersiaBatch.from_dict({"city": [f"city {i}" for i in range(30)]}).to_bytes())
    sample = read_sample(report, path, config)
    assert sample is not None
    check_sample(report, sample, Scan(1, found=rows_of([int(sign) for sign in sample.wanted])))
    told = [finding.text for finding in report.findings if finding.state == "warn"]
    assert [f"`modulo: {modulo}` takes those from 2^63 on as negative numbers" in text for text in told] == [True] * warns


@pytest.mark.parametrize(("keep", "state"), [("first", "warn"), ("all", "fail")])
def test_histories_without_room_are_cut_or_refused(keep: Keep, state: str, tmp_path: Path) -> None:
    slot = SlotConfig(dim=4, pooling="raw", sample_fixed_size=2, keep=keep)
    config = EmbeddingConfig(slots_config={"seen": slot})
    path, report = tmp_path / "sample.bin", Report()
    path.write_bytes(PersiaBatch.from_dict({"seen": [[1, 2, 3], [4]]}).to_bytes())
    sample = read_sample(report, path, config)
    assert sample is not None
    check_sample(report, sample, Scan(1, found=rows_of([int(sign) for sign in sample.wanted])))
    texts = [finding.text for finding in report.findings if finding.state == state]
    end = "requests with such a sample are refused" if keep == "all" else "the first 2 are kept, others are cut"
    assert any(f"1 of 2 samples have more than 2 ids (up to 3): {end}" in text for text in texts)
