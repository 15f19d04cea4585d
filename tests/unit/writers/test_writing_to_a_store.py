"""Writers whose directory is the URL of a store write there what they write to a directory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from persia.errors import InvalidInput, Unavailable
from persia.formats.checkpoint import open_checkpoint_at
from persia.formats.epoch_log import open_epoch_log
from persia.formats.layout import CHECKPOINT_MARKER, PACKET_MARKER
from persia.storage import Place, Store, place_of
from persia.storage.objects import ObjectStore
from persia.storage.problems import StoreUnavailable
from persia.storage.store import Data
from persia.storage.tree import Tree
from persia.writers import EpochCommitter, IncrementalDumper, verify_packet, write_checkpoint
from tests.support.written import block, packets_in, read_packet, rows_of

pytest.importorskip("obstore")

SIGNS = np.arange(1, 100, dtype=np.uint64)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return place_of(f"file://{tmp_path}/store")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Of the place, which is a local one here."""
    return tmp_path / "store"


def write(place: Place, value: float = 1.0, **options: object) -> None:
    write_checkpoint(str(place), [block(SIGNS, value)], shards=2, files_per_shard=2, **options)  # type: ignore[arg-type]


def names(store: Store) -> list[str]:
    return [entry.name for entry in store.list_files()]


def test_a_checkpoint_is_what_it_is_in_a_directory(tmp_path: Path, place: Place) -> None:
    write(place)
    write_checkpoint(tmp_path / "here", [block(SIGNS)], shards=2, files_per_shard=2)
    here = {path.relative_to(tmp_path / "here").as_posix() for path in (tmp_path / "here").rglob("*") if path.is_file()}
    assert set(names(place.open())) == here
    assert len(open_checkpoint_at(place, tmp_path).files) == 4


def test_the_root_marker_is_the_last_to_be_put(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    put: list[str] = []
    for verb in ("put", "create"):
        call = getattr(ObjectStore, verb)

        def noting(self: Store, name: str, data: Data, call: object = call) -> object:
            put.append(name)
            return call(self, name, data)  # type: ignore[operator]

        monkeypatch.setattr(ObjectStore, verb, noting)
    write(place)
    assert put[-1] == CHECKPOINT_MARKER and len(put) == 4 + 2 + 2
    assert all(name.endswith(".emb") for name in put[:4])


def test_a_finished_checkpoint_is_kept_unless_it_is_to_go(tmp_path: Path, place: Place) -> None:
    write(place)
    with pytest.raises(InvalidInput, match=f"without a finished checkpoint, got {place}/{CHECKPOINT_MARKER}"):
        write(place)
    store = place.open()
    store.put("s1/replica_1_shard_7.emb", b"left of an earlier one")
    store.put("notes.txt", b"of somebody")
    write(place, 2.0, overwrite=True)
    assert "s1/replica_1_shard_7.emb" not in names(store) and "notes.txt" in names(store)
    open_checkpoint_at(place, tmp_path)


def test_what_servers_would_refuse_is_in_the_way(place: Place) -> None:
    place.open().put("s5/of_another_system", b"")
    with pytest.raises(InvalidInput, match=f"expected a directory without {place}/s5"):
        write(place)


def test_a_writer_that_fails_leaves_no_marker(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Store, name: str, data: Data) -> None:
        raise StoreUnavailable(5, "away", name)

    with monkeypatch.context() as patch, pytest.raises(StoreUnavailable):
        patch.setattr(ObjectStore, "put", fails)
        write(place)
    assert names(place.open()) == []


def test_packets_are_what_they_are_in_a_directory(place: Place, directory: Path) -> None:
    with IncrementalDumper(str(place), rows_per_file=50) as dumper:
        dumper.commit(*block(SIGNS, 2.0), ttl=60)
        first = dumper.flush()
        dumper.commit(*block(SIGNS[:5], 3.0))
        dumper.delete(SIGNS[50:])
        second = dumper.flush()
    assert first is not None and second is not None
    assert [path.relative_to(directory) for path in packets_in(directory / "s0")] == [first, second]
    assert read_packet(directory / first) == rows_of([block(SIGNS, 2.0)])
    infos = [verify_packet(directory / packet) for packet in (first, second)]
    assert [(info.complete, info.manifest.sequence if info.manifest else None) for info in infos] == [(True, 0), (True, 1)]
    assert infos[0].ends == len(SIGNS) and infos[1].deletions == len(SIGNS) - 50


def test_a_writer_goes_on_where_the_last_one_stopped(place: Place, directory: Path) -> None:
    """Also where the note of the last packet was lost, or where the store has deleted all packets since."""
    for step in range(4):
        with IncrementalDumper(str(place)) as dumper:
            dumper.commit(*block(SIGNS, float(step)))
            packet = dumper.flush()
            assert packet is not None
        info = verify_packet(directory / packet)
        assert info.manifest is not None and info.manifest.sequence == step
        if step == 1:
            (directory / "s0" / ".writer" / "manifest.json").unlink()
        if step == 2:
            store = place.open()
            for name in names(store):
                if "/inc_" in name:
                    store.remove(name)


def test_an_error_keeps_the_rows_and_the_next_packet_has_another_name(
    place: Place, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was left under the first name has no marker, and never gets one."""
    create = ObjectStore.create

    def fails(self: ObjectStore, name: str, data: Data) -> bool:
        if name.endswith("manifest.json"):
            raise StoreUnavailable(5, "away", name)
        return create(self, name, data)

    with IncrementalDumper(str(place)) as dumper:
        dumper.commit(*block(SIGNS))
        with monkeypatch.context() as patch, pytest.raises(StoreUnavailable):
            patch.setattr(ObjectStore, "create", fails)
            dumper.flush()
        packet = dumper.flush()
    assert packet is not None
    left, whole = packets_in(directory / "s0")
    assert whole == directory / packet and not (left / PACKET_MARKER).exists()
    assert read_packet(whole) == rows_of([block(SIGNS)])


def test_a_request_that_was_sent_twice_finds_its_own_file(
    place: Place, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first answer was lost: the second one says that the file is there. Its content tells that it is ours."""
    create = ObjectStore.create

    def twice(self: ObjectStore, name: str, data: Data) -> bool:
        create(self, name, data)
        return create(self, name, data) if not name.endswith(".inc") else True

    with IncrementalDumper(str(place)) as dumper:
        monkeypatch.setattr(ObjectStore, "create", twice)
        dumper.commit(*block(SIGNS))
        packet = dumper.flush()
    assert packet is not None and verify_packet(directory / packet).complete


def test_somebody_else_writes_the_same_packet(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    create = ObjectStore.create

    def after_another(self: ObjectStore, name: str, data: Data) -> bool:
        if name.endswith("manifest.json"):
            create(self, name, b"another's")
        return create(self, name, data)

    with IncrementalDumper(str(place)) as dumper:
        dumper.commit(*block(SIGNS))
        with monkeypatch.context() as patch, pytest.raises(Unavailable, match="expected one writer"):
            patch.setattr(ObjectStore, "create", after_another)
            dumper.flush()


def test_two_writers_of_a_shard_take_names_of_their_own(place: Place, directory: Path) -> None:
    with IncrementalDumper(str(place)) as one, IncrementalDumper(str(place)) as two:
        for dumper in (one, two, one, two):
            dumper.commit(*block(SIGNS))
            dumper.flush()
    assert len(packets_in(directory / "s0")) == 4
    assert all(verify_packet(packet).complete for packet in packets_in(directory / "s0"))


def test_epochs_are_committed_to_a_store(place: Place) -> None:
    with IncrementalDumper(str(place)) as dumper:
        dumper.commit(*block(SIGNS))
        packet = dumper.flush()
    assert packet is not None
    committer = EpochCommitter(str(place))
    assert committer.commit([packet], dense={"ctr": "1.0"}) == 2  # the first one holds the log
    log = open_epoch_log(place)
    assert log.read() == 2 and log.history.held
    assert list(log.history.packets) == [packet.as_posix()]
    assert log.foreign_files() == []
    with pytest.raises(InvalidInput, match="complete"):
        committer.commit([packet.with_name("inc_20200101000000")])


def test_a_tree_has_a_checkpoint_that_was_written_there(tmp_path: Path, place: Place) -> None:
    write(place)
    with Tree(place.open(), tmp_path / "buffer", lambda name: True) as tree:
        assert (tree.root / CHECKPOINT_MARKER).exists()
