"""`persia-launcher check`: rows of packets, rows that packets delete, and tables of which only a part was read."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from persia.checking.report import Report
from persia.checking.samples import check_sample, read_sample
from persia.checking.scan import Rows, Scan
from persia.formats.marker import read_marker
from persia.formats.sign_files import write_sign_file
from persia.signs import signs_of
from persia.writers import IncrementalDumper
from tests.support.checks import CONFIG, SAMPLES, Files, parse, table_ids


@pytest.fixture
def files(tmp_path: Path) -> Files:
    files = Files(tmp_path)
    files.write()
    return files


def test_packets_count_by_the_bound_of_their_training_shard_as_for_servers(files: Files) -> None:
    directory = files.directory / "incremental"
    files.global_config(enable_incremental_update=True, incremental_dir=str(directory))
    user = parse(CONFIG).slots["user"]
    new = np.arange(1 << 50, (1 << 50) + SAMPLES, dtype=np.uint64)
    with IncrementalDumper(directory) as dumper:
        dumper.commit(signs_of(new, user)[0], np.ones((len(new), 4), np.float32))
    root = files.checkpoint / "embedding_dump_done"
    marker = read_marker(files.checkpoint)
    assert marker is not None  # Persia writes that of the root last, some time after those of the shards
    root.write_bytes(msgspec.structs.replace(marker, seconds=marker.seconds + 30).to_bytes())
    files.write_sample({**files.ids(), "user": [new[i : i + 1] for i in range(SAMPLES)]})
    checked = files.check("--middleware-port", "0")
    assert any("1 packets are newer than the checkpoint" in text for text in checked.of("ok"))
    assert any("sample user: 16 of 16 distinct ids have a row" in text for text in checked.of("ok"))
    short = next(directory.glob("s0/inc_*/*.inc"))
    short.write_bytes(b"short")
    assert any("expected at least 12 bytes" in text for text in files.check("--middleware-port", "0").of("fail"))


def test_rows_that_packets_delete_are_absent(files: Files) -> None:
    directory = files.directory / "incremental"
    files.global_config(enable_incremental_update=True, incremental_dir=str(directory))
    user = parse(CONFIG).slots["user"]
    signs = np.sort(signs_of(table_ids()["user"], user)[0])
    with IncrementalDumper(directory) as dumper:
        dumper.delete(signs)
    checked = files.check("--middleware-port", "0")
    assert any("sample user: 0 of 31 distinct ids have a row" in text for text in checked.of("fail"))
    assert any("rows user: about 200 rows" in text for text in checked.of("ok"))
    with IncrementalDumper(directory) as dumper:
        dumper.commit(signs, np.ones((len(signs), 4), np.float32))
    checked = files.check("--middleware-port", "0")
    assert any("sample user: 31 of 31 distinct ids have a row" in text for text in checked.of("ok"))


@pytest.mark.parametrize(
    ("share", "found", "state", "text"),
    [
        (0.5, 0, "fail", "about 0% of 31 distinct ids have a row: 0 were found in the 50% of the table that was read"),
        (0.5, 2, "warn", "about 13% of 31 distinct ids have a row"),
        (0.5, 15, "ok", "about 97% of 31 distinct ids have a row"),
        (0.05, 0, "warn", "not enough of the table was read to say -> --full"),
        (0.05, 2, "ok", "about 100% of 31 distinct ids have a row"),
        (0.0, 0, "warn", "not enough of the table was read to say -> --full"),
    ],
)
@pytest.mark.parametrize("floats", [False, True])
def test_a_part_of_the_table_is_judged_by_how_much_it_is(
    files: Files, share: float, found: int, state: str, text: str, floats: bool
) -> None:
    ids = np.arange(31, dtype=np.uint64) * np.uint64(1 << 50) + np.uint64(1 << 55) if floats else table_ids()["user"][:31]
    files.write_sample({"user": [ids]}, [])
    sample = read_sample(Report(), files.directory / "sample.bin", parse(CONFIG))
    assert sample is not None
    report, read = Report(), round(1000 * share)
    signs = np.sort(signs_of(ids, sample.features[0].slot)[0])[:found]
    rows = Rows.of([(signs, np.ones(found, np.uint32), np.ones(found, np.float32))])
    check_sample(report, sample, Scan(6, rows=read, total=1000, fair=read, whole=False, found=rows))
    (finding,) = report.findings
    assert finding.state == ("fail" if floats and found == 2 and share == 0.5 else state)
    assert text in f"{finding.text} -> {finding.advice}"


def test_guesses_allow_for_the_part_that_was_read(files: Files) -> None:
    ids = table_ids()["user"][:31]
    files.write_sample({"user": [ids]}, [])
    sample = read_sample(Report(), files.directory / "sample.bin", parse(CONFIG))
    assert sample is not None
    for share, found, state in ((0.3, 10, "fail"), (0.2, 6, "warn"), (0.3, 3, ""), (1 / 1000, 1, "")):
        report, read = Report(), round(1000 * share)
        rows = Rows.of([(np.sort(ids)[:found], np.ones(found, np.uint32), np.ones(found, np.float32))])
        check_sample(report, sample, Scan(6, rows=read, total=1000, fair=read, whole=False, found=rows))
        (finding,) = report.findings
        assert ("% have one with the ids themselves as signs" in finding.text) == bool(state)
        assert not state or finding.state == state


def test_rows_of_the_checkpoint_that_have_ended_are_absent(files: Files) -> None:
    signs = np.sort(signs_of(table_ids()["user"], parse(CONFIG).slots["user"])[0])
    for path in files.checkpoint.glob("s*/*.emb"):
        write_sign_file(path.with_suffix(".ttl"), signs, 1, np.ones(len(signs), np.uint64))
    checked = files.check("--middleware-port", "0")
    assert any("sample user: 0 of 31 distinct ids have a row" in text for text in checked.of("fail"))
