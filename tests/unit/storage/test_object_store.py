"""The verbs of an object store, tried on a local directory that the same library makes one of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from persia.errors import CorruptFile
from persia.storage import Store, place_of
from persia.storage.fetching import fetch
from persia.storage.problems import ChangedError, StoreUnavailable
from persia.storage.store import Entry
from persia.storage.tree import Tree

pytest.importorskip("obstore")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return place_of(f"file://{tmp_path}/store").open()


def names(store: Store, directory: str = "", after: str = "") -> list[str]:
    return [entry.name for entry in store.list_files(directory, after)]


def test_what_is_put_is_listed_in_order_and_from_a_name_on(store: Store) -> None:
    for name in ("s1/b", "s0/b/2", "s0/a", "s0/b/1", "top"):
        store.put(name, b"x")
    assert names(store) == ["s0/a", "s0/b/1", "s0/b/2", "s1/b", "top"]
    assert names(store, "s0") == ["s0/a", "s0/b/1", "s0/b/2"]
    assert names(store, "s0", after="s0/b/1") == ["s0/b/2"]
    assert names(store, "s0", after="s0/a/~") == ["s0/b/1", "s0/b/2"]
    assert names(store, "s2") == []
    assert store.directories() == ["s0", "s1"] and store.directories("s0") == ["b"] and store.directories("s2") == []


def test_a_file_is_read_whole_and_in_part(store: Store, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(bytes(range(100)))
    store.put("a", tmp_path / "local")
    entry = store.stat("a")
    assert (entry.name, entry.size) == ("a", 100) and entry.mtime_ns > 0
    assert store.read_whole("a") == bytes(range(100))
    assert b"".join(store.read(entry, 90)) == bytes(range(90, 100))
    assert b"".join(store.read(entry, 3, 5)) == bytes([3, 4])
    assert b"".join(store.read(entry, 100)) == b""


def test_an_empty_file(store: Store) -> None:
    store.put("marker", b"")
    assert store.read_whole("marker") == b""


def test_of_several_who_create_a_file_the_first_one_wins(store: Store) -> None:
    assert store.create("a", b"1")
    assert not store.create("a", b"2")
    assert store.read_whole("a") == b"1"
    store.put("a", b"3")
    assert store.read_whole("a") == b"3"


def test_what_is_not_there(store: Store) -> None:
    with pytest.raises(FileNotFoundError, match=f"{store.url}/a"):
        store.stat("a")
    store.remove("a")
    store.put("a", b"")
    store.remove("a")
    assert names(store) == []


def test_a_file_that_was_written_again_is_not_read_for_the_old_one(store: Store) -> None:
    store.put("a", b"old")
    entry = store.stat("a")
    store.put("a", b"other")
    for old in (entry, replace(entry, tag="")):  # also where a store has no tags
        with pytest.raises(ChangedError, match="written again"):
            list(store.read(old))


def test_requests_are_counted(store: Store) -> None:
    store.put("a", b"12345")
    store.create("a", b"")
    store.read_whole("a")
    names(store)
    assert store.requests.totals() == ({"put": 1, "create": 1, "stat": 1, "read": 1, "list": 1}, 5)


class Broken(Store):
    """A store that sends some bytes and breaks off, as often as it is told."""

    def __init__(self, content: bytes, pieces: list[int | Exception]) -> None:
        super().__init__("test://broken")
        self.content, self.pieces = content, pieces
        self.begins: list[int] = []

    def read(self, entry: Entry, begin: int = 0, end: int | None = None, piece: int | None = None):  # type: ignore[no-untyped-def]
        self.begins.append(begin)
        sent = self.pieces.pop(0) if self.pieces else len(self.content)
        if isinstance(sent, Exception):
            raise sent
        yield memoryview(self.content[begin : begin + sent])
        if begin + sent < len(self.content):
            raise StoreUnavailable(5, "the connection was lost", "test://broken/a")

    list_files = directories = stat = put = create = remove = None  # type: ignore[assignment]


ENTRY = Entry("a", 100, 0, "")


def test_what_breaks_off_goes_on_where_it_ended(tmp_path: Path) -> None:
    lost = StoreUnavailable(5, "no answer", "test://broken/a")
    store = Broken(bytes(range(100)), [10, lost, lost, 20, 30])
    pauses: list[float] = []
    fetch(store, ENTRY, tmp_path / "a", pauses.append)
    assert (tmp_path / "a").read_bytes() == bytes(range(100))
    assert store.begins == [0, 10, 10, 10, 30, 60]
    assert len(pauses) == 5


def test_nothing_more_comes(tmp_path: Path) -> None:
    store = Broken(bytes(100), [10, *[StoreUnavailable(5, "no answer", "x")] * 9])
    with pytest.raises(StoreUnavailable, match=r"broke off after 10 of 100 bytes: .*no answer.*test://broken/a"):
        fetch(store, ENTRY, tmp_path / "a", lambda seconds: None)
    assert len(store.begins) == 6


def test_a_file_that_ends_too_early_is_not_taken_for_whole(tmp_path: Path) -> None:
    store = Broken(bytes(60), [])
    with pytest.raises(StoreUnavailable, match="the store says that it has 100 bytes, and sends 60"):
        fetch(store, ENTRY, tmp_path / "a", lambda seconds: None)


def test_a_file_that_has_more_than_was_said(tmp_path: Path) -> None:
    with pytest.raises(ChangedError):
        fetch(Broken(bytes(120), []), ENTRY, tmp_path / "a")


def test_a_tree_has_the_names_sizes_times_and_ends(store: Store, tmp_path: Path) -> None:
    content = bytes(range(200)) + bytes(100_000) + bytes(range(200))
    store.put("s0/large.emb", content)
    store.put("s0/tiny.emb", b"tiny")
    store.put("marker", b"whole" * 100)
    with Tree(store, tmp_path / "buffer", lambda name: not name.endswith(".emb")) as tree:
        large = tree.root / "s0" / "large.emb"
        assert large.stat().st_size == len(content)
        assert large.stat().st_mtime_ns == store.stat("s0/large.emb").mtime_ns
        assert large.read_bytes()[:64] == content[:64] and large.read_bytes()[-64:] == content[-64:]
        assert (tree.root / "s0" / "tiny.emb").read_bytes() == b"tiny"
        assert (tree.root / "marker").read_bytes() == b"whole" * 100
        with tree.fetched(large) as here:
            assert here.read_bytes() == content
        assert not here.exists()
        assert tree.is_unchanged()
        store.put("s0/tiny.emb", b"other")
        assert not tree.is_unchanged()
    assert list((tmp_path / "buffer").iterdir()) == []


def test_a_file_of_a_tree_that_is_fetched_over_a_longer_one_is_whole(store: Store, tmp_path: Path) -> None:
    contents = {"a.emb": b"a" * 5000, "b.emb": b"b" * 3000, "c.emb": b"c" * 4000}
    for name, content in contents.items():
        store.put(name, content)
    with Tree(store, tmp_path / "buffer", lambda name: False) as tree, tree.fetched(tree.root / "a.emb") as first:
        with tree.fetched(tree.root / "a.emb") as second:
            assert second != first and second.read_bytes() == contents["a.emb"]
        for name in ("b.emb", "c.emb"):
            with tree.fetched(tree.root / name) as here:
                assert here == second and here.read_bytes() == contents[name]
        assert first.read_bytes() == contents["a.emb"]


def test_what_is_corrupt_in_a_tree_is_named_by_its_url(store: Store, tmp_path: Path) -> None:
    store.put("s0/a.emb", bytes(1000))
    with Tree(store, tmp_path / "buffer", lambda name: False) as tree:
        path = tree.root / "s0" / "a.emb"
        with pytest.raises(CorruptFile, match=f"^{store.url}/s0/a.emb at byte 3:"), tree.fetched(path) as here:
            raise CorruptFile(str(here), "a", "b", 3)
        with pytest.raises(CorruptFile, match=f"^{store.url}/s0/a.emb at byte 3:"), tree.by_url():
            raise CorruptFile(str(path), "a", "b", 3)


def test_a_directory_without_files_is_no_tree(store: Store, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=store.url):
        Tree(store, tmp_path / "buffer", lambda name: True)
