"""An import that was stopped goes on where it was, with the same source, and ends in the same files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from persia.config import EmbeddingConfig, SlotConfig
from persia.config.embedding_config import DefaultRowConfig
from persia.errors import CorruptFile, InvalidInput, Unavailable
from persia.importers import ImportReport, MappedSlot, Source, SourceTable, TableMap, import_tables, verify_import
from persia.importers.source import Block
from persia.importers.unfinished import WORK
from persia.system.lock import lock_file
from tests.support.imported import config_of

ROWS = np.random.default_rng(3).normal(size=(500, 2)).astype(np.float32)
STEP = 50


class Stopped(OSError):
    """As the system refuses something."""


def source_of(file: Path, stop_at: int | None = None, tables: tuple[str, ...] = ("a", "b"), step: int = STEP) -> Source:
    """Two tables that name the file, in blocks of so many rows; the second one stops at that row."""

    def blocks_of(name: str) -> Any:
        def blocks() -> Iterator[Block]:
            for begin in range(0, len(ROWS), step):
                if name == tables[-1] and begin == stop_at:
                    raise Stopped("no more")
                yield np.arange(begin, begin + step, dtype=np.uint64), ROWS[begin : begin + step] + np.float32(name == "b")

        return blocks

    return Source((file,), {name: SourceTable(name, len(ROWS), 2, "rows", blocks_of(name)) for name in tables})


def import_source(out: Path, source: Source, origin: Path, **settings: Any) -> ImportReport:
    slots = dict(zip(("user", "item"), source.tables, strict=False))
    defaults: dict[str, Any] = {
        "format": "test",
        "config": config_of(dict.fromkeys(slots, 2)),
        "table_map": TableMap(slots={slot: MappedSlot(table=name) for slot, name in slots.items()}),
        "shards": 2,
        "files_per_shard": 2,
        "save_every": 2 * STEP * 8,  # a block of 50 rows has 400 bytes
    }
    return import_tables(source, out, origin=origin, **(defaults | settings))


def files_of(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*.emb"))}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(b"12345678")
    return path


def stop(out: Path, file: Path, at: int = 250, **settings: Any) -> None:
    with pytest.raises(Stopped):
        import_source(out, source_of(file, at), file, **settings)
    assert (out / WORK).exists() and not (out / "embedding_dump_done").exists()


@pytest.mark.parametrize("at", [0, 50, 100, 250, 450])
def test_it_goes_on_and_ends_in_the_same_files(at: int, tmp_path: Path, file: Path) -> None:
    stop(tmp_path / "out", file, at)
    done: dict[str, int] = {}
    report = import_source(
        tmp_path / "out",
        source_of(file),
        file,
        progress=lambda step, rows, total: done.update({step: done.get(step, 0) + rows}),
    )
    kept = (500 + at) // (2 * STEP) * 2 * STEP
    assert done == {"skip": kept, "read": 1000 - kept, "verify": 1000}
    import_source(tmp_path / "straight", source_of(file), file)
    assert files_of(tmp_path / "out") == files_of(tmp_path / "straight")
    assert not (tmp_path / "out" / WORK).exists()
    assert verify_import(tmp_path / "out") == report


def test_what_was_written_after_the_last_save_is_cut_off(tmp_path: Path, file: Path) -> None:
    stop(tmp_path / "out", file, 250, memory=1)  # all rows go to the files at once
    import_source(tmp_path / "out", source_of(file), file)
    import_source(tmp_path / "straight", source_of(file), file)
    assert files_of(tmp_path / "out") == files_of(tmp_path / "straight")


def test_where_blocks_have_other_ends_it_is_refused_and_then_begins_anew(tmp_path: Path, file: Path) -> None:
    """As in another release."""
    stop(tmp_path / "out", file, 250)  # 200 rows of the second table are kept
    with pytest.raises(InvalidInput, match=r"`b` was stopped after 200 rows, where no block of it ends now.*begins anew"):
        import_source(tmp_path / "out", source_of(file, step=125), file)
    import_source(tmp_path / "out", source_of(file, step=125), file)
    import_source(tmp_path / "straight", source_of(file), file)
    assert files_of(tmp_path / "out") == files_of(tmp_path / "straight")


@pytest.mark.parametrize("what", ["changed", "touched", "gone", "come"])
def test_a_changed_source_is_refused(what: str, tmp_path: Path, file: Path) -> None:
    stop(tmp_path / "out", file)
    source, word = source_of(file), "changed since"
    if what == "changed":
        file.write_bytes(b"123456789")
    elif what == "touched":
        os.utime(file, ns=(1, 1))
    elif what == "gone":
        source, word = Source((), source.tables), "is gone"
    else:
        other = file.with_name("other")
        other.touch()
        source, word = Source((file, other), source.tables), r"\.\./other of its source has come since"
    with pytest.raises(InvalidInput, match=rf"an import that was stopped, and the file .*{word}.*`--restart`"):
        import_source(tmp_path / "out", source, file)
    assert (tmp_path / "out" / WORK / "progress.json").exists()  # the user may still put the source back
    import_source(tmp_path / "out", source, file, restart=True)
    import_source(tmp_path / "straight", source, file)
    assert files_of(tmp_path / "out") == files_of(tmp_path / "straight")


@pytest.mark.parametrize("settings", [{"shards": 3}, {"files_per_shard": 1}, {"allow_non_finite": True}, {"format": "other"}])
def test_other_settings_are_refused(settings: dict[str, Any], tmp_path: Path, file: Path) -> None:
    stop(tmp_path / "out", file)
    name, value = next(iter(settings.items()))
    with pytest.raises(InvalidInput, match=rf"its {name.replace('_', ' ')} were .* {value} now"):
        import_source(tmp_path / "out", source_of(file), file, **settings)


def test_another_map_is_refused(tmp_path: Path, file: Path) -> None:
    stop(tmp_path / "out", file)
    table_map = TableMap(slots={"user": MappedSlot(table="b"), "item": MappedSlot(table="a")})
    with pytest.raises(InvalidInput, match="the `table` of its table `a` was a, and is b now: give it what it had"):
        import_source(tmp_path / "out", source_of(file), file, table_map=table_map)
    with pytest.raises(InvalidInput, match="its tables were 2, and are 1 now"):
        import_source(tmp_path / "out", source_of(file, tables=("a",)), file)


@pytest.mark.parametrize(
    ("slot", "mapped", "problem"),
    [
        (SlotConfig(dim=2, modulo=900), {}, "the `modulo` of its table `a` was 0, and is 900 now"),
        (
            SlotConfig(dim=2, default_row=DefaultRowConfig(value=1)),
            {},
            "the `keeps_padding` of its table `a` was False, and is True",
        ),
        (
            SlotConfig(dim=2, default_row=DefaultRowConfig(id=7)),
            {"default": "row 7"},
            "the `keeps_padding` of its table `a` was False",
        ),
    ],
)
def test_other_options_of_a_slot_are_refused(
    slot: SlotConfig, mapped: dict[str, Any], problem: str, tmp_path: Path, file: Path
) -> None:
    """A table that was read to its end is not read again, so what is new would not be done with it."""
    stop(tmp_path / "out", file)
    config = EmbeddingConfig(slots_config={"user": slot, "item": SlotConfig(dim=2)})
    table_map = TableMap(slots={"user": MappedSlot(table="a", **mapped), "item": MappedSlot(table="b")})
    with pytest.raises(InvalidInput, match=problem):
        import_source(tmp_path / "out", source_of(file), file, config=config, table_map=table_map)


def test_a_refused_source_leaves_nothing_to_go_on_with(tmp_path: Path, file: Path) -> None:
    def blocks() -> Iterator[Block]:
        yield np.arange(500, dtype=np.uint64), ROWS
        raise CorruptFile(str(file), "rows", "none", 3)

    source = Source((file,), {"a": SourceTable("a", 600, 2, "rows", blocks)})
    with pytest.raises(CorruptFile):
        import_source(tmp_path / "out", source, file)
    assert not (tmp_path / "out" / WORK).exists()


def test_the_earlier_checkpoint_stays_until_the_new_one_is_proved(tmp_path: Path, file: Path) -> None:
    import_source(tmp_path / "out", source_of(file, tables=("a",)), file)
    before = files_of(tmp_path / "out")
    with pytest.raises(Stopped):
        import_source(tmp_path / "out", source_of(file, 250), file, overwrite=True)
    assert (tmp_path / "out" / "embedding_dump_done").exists()
    assert {name: data for name, data in files_of(tmp_path / "out").items() if not name.startswith(".")} == before
    with pytest.raises(InvalidInput, match="without a finished checkpoint"):
        import_source(tmp_path / "out", source_of(file), file)
    assert (tmp_path / "out" / WORK / "progress.json").exists()
    report = import_source(tmp_path / "out", source_of(file), file, overwrite=True)
    assert verify_import(tmp_path / "out") == report and len(report.tables) == 2


def test_a_finished_checkpoint_is_left_as_it_is(tmp_path: Path, file: Path) -> None:
    import_source(tmp_path / "out", source_of(file), file)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    with pytest.raises(InvalidInput, match="without a finished checkpoint"):
        import_source(tmp_path / "out", source_of(file), file)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names


def test_a_second_import_waits_for_its_turn(tmp_path: Path, file: Path) -> None:
    stop(tmp_path / "out", file)
    lock = lock_file(tmp_path / "out" / WORK / "lock")
    assert lock is not None
    with pytest.raises(Unavailable, match="another import is writing"):
        import_source(tmp_path / "out", source_of(file), file)
    os.close(lock)
    import_source(tmp_path / "out", source_of(file), file)


def test_spoiled_progress_is_refused_by_its_path(tmp_path: Path, file: Path) -> None:
    stop(tmp_path / "out", file)
    state = tmp_path / "out" / WORK / "progress.json"
    state.write_bytes(state.read_bytes()[:-9])
    with pytest.raises(CorruptFile, match=r"progress.json.*`--restart` drops it"):
        import_source(tmp_path / "out", source_of(file), file)


def test_files_that_lost_rows_are_refused(tmp_path: Path, file: Path) -> None:
    stop(tmp_path / "out", file)
    rows = tmp_path / "out" / WORK / "s0" / "replica_0_shard_0.emb"
    os.truncate(rows, 100)
    with pytest.raises(CorruptFile, match=r"replica_0_shard_0.emb.*at byte 100: expected \d+ bytes, as when it was saved"):
        import_source(tmp_path / "out", source_of(file), file)
