"""Packets of a store come to the local disk, each once, and with few listings."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from threading import Barrier, Lock
from typing import Any

import numpy as np
import pytest

from persia.embedding_server.updates.mirror import SHARDS_SECONDS, Mirror
from persia.embedding_server.updates.mirror_directory import take_mirror_directory
from persia.embedding_server.updates.mirrored_finder import MirroredFinder
from persia.formats.bounds import Bounds
from persia.storage import Entry, Store, place_of
from persia.storage.problems import ChangedError
from persia.writers.packet_writer import PacketWriter
from persia.writers.row_buffer import Change
from tests.support.uploads import upload

pytest.importorskip("obstore")

START = 1_700_000_000
LIST_ALL_SECONDS = 300.0


class Written:
    """Packets, one a second, which are put into the store at once."""

    def __init__(self, directory: Path) -> None:
        self.store: Store = place_of(f"file://{directory}/store").open()
        self._writer = PacketWriter(directory / "written", 0, 1000)
        self.seconds = START

    def write(self, *, put: bool = True) -> Path:
        self.seconds += 1
        signs = np.arange(3, dtype=np.uint64)
        packet = self._writer.write([Change(signs, np.ones((3, 2), np.float32))], self.seconds)
        if put:
            upload(self.store, packet, f"s0/{packet.name}")
        return packet


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return Written(tmp_path)


@pytest.fixture
def clock() -> Iterator[list[float]]:
    yield [0.0]


def mirror_of(written: Written, root: Path, clock: list[float], bounds: Bounds = Bounds()) -> Mirror:  # noqa: B008
    return Mirror(written.store, root, bounds, LIST_ALL_SECONDS, clock=lambda: clock[0])


def packets_in(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.glob("s*/inc_*"))


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if not path.name.startswith(".")}


def test_packets_come_whole_and_once(tmp_path: Path, written: Written, clock: list[float]) -> None:
    root = tmp_path / "mirror"
    mirror = mirror_of(written, root, clock)
    mirror.refresh()
    assert packets_in(root) == []
    first = written.write()
    clock[0] += SHARDS_SECONDS
    mirror.refresh()
    assert contents(root / "s0" / first.name) == contents(first)
    before = written.store.requests.totals()
    mirror.refresh()
    after = written.store.requests.totals()
    assert after[0]["list"] == before[0]["list"] + 1 and after[1] == before[1]  # one short listing, and nothing is read


def test_a_packet_that_is_not_complete_waits(tmp_path: Path, written: Written, clock: list[float]) -> None:
    root = tmp_path / "mirror"
    written.write()
    mirror = mirror_of(written, root, clock)
    mirror.refresh()
    packet = written.write(put=False)
    for path in sorted(packet.iterdir(), key=lambda path: path.name == "inc_update_done"):
        assert packets_in(root) == [f"s0/{'inc_' + packets_in(root)[0][-14:]}"]
        written.store.put(f"s0/{packet.name}/{path.name}", path)
        if path.name != "inc_update_done":
            mirror.refresh()
    mirror.refresh()
    assert contents(root / "s0" / packet.name) == contents(packet)


def test_what_comes_late_is_found_by_the_listing_of_all(tmp_path: Path, written: Written, clock: list[float]) -> None:
    root = tmp_path / "mirror"
    late, newest = written.write(put=False), written.write()
    mirror = mirror_of(written, root, clock)
    mirror.refresh()
    upload(written.store, late, f"s0/{late.name}")
    mirror.refresh()
    assert packets_in(root) == [f"s0/{newest.name}"]
    clock[0] += LIST_ALL_SECONDS
    mirror.refresh()
    assert packets_in(root) == [f"s0/{late.name}", f"s0/{newest.name}"]


def test_a_packet_that_is_written_again_while_it_is_fetched(
    tmp_path: Path, written: Written, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is fetched as it is then. A server that starts would end over it otherwise."""
    mirror = mirror_of(written, tmp_path / "mirror", clock)
    packet, read, left = written.write(), written.store.read, [3]
    row_files = f"s0/{packet.name}/0_0.inc"

    def read_what_changes(entry: Entry, *arguments: Any, **named: Any) -> Iterator[memoryview]:
        if entry.name == row_files and left[0]:
            left[0] -= 1
            written.store.put(row_files, bytes(left[0] + 1))
        return read(entry, *arguments, **named)

    monkeypatch.setattr(written.store, "read", read_what_changes)
    mirror.refresh()
    assert (tmp_path / "mirror" / row_files).read_bytes() == b"\0"
    left[0] = 100
    written.write()
    row_files = f"s0/{written.write().name}/0_0.inc"
    with pytest.raises(ChangedError, match="was written again while it was read"):
        mirror.refresh()


def test_a_new_training_shard_is_found(tmp_path: Path, written: Written, clock: list[float]) -> None:
    root = tmp_path / "mirror"
    packet = written.write()
    mirror = mirror_of(written, root, clock)
    mirror.refresh()
    upload(written.store, packet, f"s1/{packet.name}")
    mirror.refresh()
    assert packets_in(root) == [f"s0/{packet.name}"]
    clock[0] += SHARDS_SECONDS
    mirror.refresh()
    assert packets_in(root) == [f"s0/{packet.name}", f"s1/{packet.name}"]


def test_packets_that_the_store_deletes_go(tmp_path: Path, written: Written, clock: list[float]) -> None:
    root = tmp_path / "mirror"
    gone, kept = written.write(), written.write()
    mirror = mirror_of(written, root, clock)
    mirror.refresh()
    for entry in list(written.store.list_files(f"s0/{gone.name}")):
        written.store.remove(entry.name)
    clock[0] += LIST_ALL_SECONDS
    mirror.refresh()
    assert packets_in(root) == [f"s0/{kept.name}"]


def test_packets_of_the_checkpoint_are_not_fetched(tmp_path: Path, written: Written, clock: list[float]) -> None:
    """Neither one of ours, by its manifest, nor one of Persia's, which has none."""
    root = tmp_path / "mirror"
    written.write()
    of_persia = written.write(put=False)
    (of_persia / "manifest.json").unlink()
    upload(written.store, of_persia, f"s0/{of_persia.name}")
    newest = written.write()
    mirror = mirror_of(written, root, clock, Bounds(written.seconds, (written.seconds,)))
    mirror.refresh()
    assert packets_in(root) == [f"s0/{newest.name}"]


def test_packets_are_looked_at_many_at_a_time_and_fetched_by_the_workers(
    tmp_path: Path, written: Written, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store far away answers late. The barrier is passed only by so many looks at once."""
    together, workers = 16, 2
    for _ in range(together):
        written.write()
    read, met, now, most, lock = written.store.read, Barrier(together), [0], [0], Lock()

    def read_from_far(entry: Entry, *arguments: Any, **named: Any) -> Iterator[memoryview]:
        if entry.name.endswith("manifest.json") and len(looked) < together:
            looked.append(entry.name)
            met.wait(30)
        elif entry.name.endswith(".inc"):
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            yield from read(entry, *arguments, **named)
            with lock:
                now[0] -= 1
            return
        yield from read(entry, *arguments, **named)

    looked: list[str] = []
    monkeypatch.setattr(written.store, "read", read_from_far)
    mirror = Mirror(written.store, tmp_path / "mirror", Bounds(START, (START,)), LIST_ALL_SECONDS, workers, lambda: clock[0])
    mirror.refresh()
    assert len(packets_in(tmp_path / "mirror")) == together
    assert most[0] <= workers


def test_a_packet_that_gets_a_file_has_it_here_too(tmp_path: Path, written: Written, clock: list[float]) -> None:
    root = tmp_path / "mirror"
    packet = written.write()
    mirror = mirror_of(written, root, clock)
    mirror.refresh()
    shutil.copy(packet / "0_0.inc", packet / "0_1.inc")
    written.store.put(f"s0/{packet.name}/0_1.inc", packet / "0_1.inc")
    clock[0] += LIST_ALL_SECONDS
    mirror.refresh()
    assert contents(root / "s0" / packet.name) == contents(packet)


def test_a_restart_fetches_only_what_is_new(tmp_path: Path, written: Written, clock: list[float]) -> None:
    root = tmp_path / "mirror"
    written.write()
    mirror_of(written, root, clock).refresh()
    newest = written.write()
    read = written.store.requests.totals()[1]
    mirror_of(written, root, clock).refresh()
    assert written.store.requests.totals()[1] - read == sum(path.stat().st_size for path in newest.iterdir())
    (root / ".boot").write_text("another start of the machine")
    mirror_of(written, root, clock).refresh()
    assert written.store.requests.totals()[1] - read > 2 * sum(path.stat().st_size for path in newest.iterdir())
    assert len(packets_in(root)) == 2


def test_a_packet_that_cannot_be_fetched_is_tried_again(
    tmp_path: Path, written: Written, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not keep those before it, and is not passed over for one behind it."""
    root = tmp_path / "mirror"
    first = written.write()
    mirror = mirror_of(written, root, clock)
    mirror.refresh()  # which lists all; from here on only what is behind
    second, third = written.write(), written.write()
    read = written.store.read

    def fails(entry, *arguments, **options):  # type: ignore[no-untyped-def]
        if f"/{second.name}/" in entry.name:
            raise PermissionError(13, "no answer", entry.name)
        return read(entry, *arguments, **options)

    finder = MirroredFinder(mirror, root)
    monkeypatch.setattr(written.store, "read", fails)
    findings = finder.find()
    assert [packet.directory.name for packet in findings.packets] == [first.name, third.name]
    [failure] = findings.failures
    assert "no answer" in str(failure)
    monkeypatch.setattr(written.store, "read", read)
    finder.find()
    assert packets_in(root) == [f"s0/{packet.name}" for packet in (first, second, third)]


def test_two_servers_have_two_mirrors(tmp_path: Path) -> None:
    """Also two replicas of one shard; who starts again finds what it had."""
    taken = [take_mirror_directory(tmp_path, "s3://a/b", *place) for place in ((0, 2), (0, 2), (1, 2))]
    taken += [take_mirror_directory(tmp_path, "s3://a/c", 0, 2)]
    assert len(set(taken)) == 4
