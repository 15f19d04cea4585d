"""HDFS, with a name node and a data node of Hadoop itself: the verbs of a store, and a server that reads from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from persia.storage import hdfs
from persia.storage.fetching import fetch
from persia.storage.problems import ChangedError, StoreUnavailable
from persia.writers import IncrementalDumper, write_checkpoint
from tests.support.hadoops import Hadoop, needs_hadoop
from tests.support.servers import EmbeddingServer, wait_until
from tests.support.stored import CONFIG, SIGNS
from tests.support.written import block

pytestmark = pytest.mark.whole_way


@pytest.fixture(scope="module")
def hadoop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hadoop]:
    needs_hadoop()
    started = Hadoop(tmp_path_factory.mktemp("hadoop"))
    started.start()
    yield started
    started.stop()


def test_the_verbs(hadoop: Hadoop, tmp_path: Path) -> None:
    store = hadoop.store("verbs")
    for name in ("s1/b", "s0/a", "s0/b/1", "s0/b/2", "s0/b.c", "marker"):
        store.put(name, name.encode())
    names = [entry.name for entry in store.list_files()]
    assert names == sorted(names) and len(names) == 6
    assert [entry.name for entry in store.list_files("s0", "s0/b/1")] == ["s0/b/2"]
    assert [entry.name for entry in store.list_files("s0", "s0/a/~")] == ["s0/b.c", "s0/b/1", "s0/b/2"]
    assert store.directories() == ["s0", "s1"] and list(store.list_files("s9")) == []
    assert store.create("once", b"1") and not store.create("once", b"2") and store.read_whole("once") == b"1"
    (tmp_path / "large").write_bytes(bytes(range(256)) * 40_000)
    store.put("large", tmp_path / "large")
    fetch(store, store.stat("large"), tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == (tmp_path / "large").read_bytes()
    entry = store.stat("s0/a")
    assert b"".join(store.read(entry, 1, 3)) == b"0/"
    store.put("s0/a", b"other bytes")
    with pytest.raises(ChangedError):
        list(store.read(entry))
    store.remove("s0/a")
    store.remove("s0/a")
    with pytest.raises(FileNotFoundError, match=r"hdfs://.*/verbs/s0/a"):
        store.stat("s0/a")


def test_nodes_that_hang_are_given_up_and_asked_again(hadoop: Hadoop, tmp_path: Path) -> None:
    store = hdfs.HdfsStore(hadoop.url("hanging"), patience=hdfs.Patience(read=1, write=1, idle=1))
    content = bytes(range(256)) * 4096
    store.put("a", content)
    entry = store.stat("a")
    with hadoop.hanging(0), pytest.raises(StoreUnavailable, match="no answer came within 1 s"):
        store.stat("a")
    assert store.stat("a") == entry
    with ExitStack() as stack:
        stack.enter_context(hadoop.hanging(1))
        with pytest.raises(StoreUnavailable, match=r"DataNodes failed: \[localhost\]"):
            store.read_whole("a")
        with pytest.raises(StoreUnavailable):
            store.put("b", content)
        fetch(store, entry, tmp_path / "fetched", lambda seconds: stack.close())
    assert (tmp_path / "fetched").read_bytes() == content
    store.put("b", content)
    assert store.read_whole("b") == content


def test_a_user_without_rights(hadoop: Hadoop, monkeypatch: pytest.MonkeyPatch) -> None:
    hadoop.store("rights").put("a", b"a")
    monkeypatch.setenv("HADOOP_USER_NAME", "stranger")
    store = hadoop.store("rights")
    assert store.read_whole("a") == b"a"
    with pytest.raises(
        PermissionError, match=r"user=stranger, access=WRITE.*: give this user the right, or .*HADOOP_USER_NAME"
    ):
        store.put("b", b"b")
    with pytest.raises(PermissionError, match="HDFS refuses"):
        store.create("b", b"b")


def test_checkpoint_packets_and_epochs_are_served(hadoop: Hadoop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By plain paths, as in Persia: `storage: hdfs` and Hadoop's own configuration say where they are."""
    monkeypatch.setenv("HADOOP_CONF_DIR", str(hadoop.directory))
    write_checkpoint(hadoop.url("ctr/checkpoint"), [block(SIGNS)], shards=2, files_per_shard=2)
    server = EmbeddingServer(
        tmp_path,
        CONFIG,
        checkpoint=Path("/ctr/checkpoint"),
        incremental_dir=Path("/ctr/packets"),
        settings={"storage": "hdfs", "local_buffer_dir": str(tmp_path / "buffer"), "enable_epochs": True},
    )
    with server, IncrementalDumper("hdfs:///ctr/packets") as dumper:
        server.wait_ready()
        dumper.commit(*block(SIGNS[:3], 2.0))
        dumper.flush()
        wait_until(lambda: server.rows(SIGNS, 2)[0][:4, 0].tolist() == [2.0, 2.0, 2.0, 1.0], "the packet is served")
        hadoop.stop()
        wait_until(lambda: server.status().problems, "the problem is told")
        assert server.rows(SIGNS[:1], 2)[0][0, 0] == 2.0
        with pytest.raises(StoreUnavailable):
            hadoop.store("ctr").stat("checkpoint/embedding_dump_done")
        hadoop.start()
        dumper.commit(*block(SIGNS[:1], 3.0))
        dumper.flush()
        wait_until(lambda: server.rows(SIGNS[:1], 2)[0][0, 0] == 3.0, "the next packet is served")
        wait_until(lambda: not server.status().problems, "the problem is over")
        assert server.status().packets_applied == 2
        with hadoop.hanging(0):
            wait_until(lambda: any("no answer came" in text for text in server.status().problems), "the problem is told")
            assert server.rows(SIGNS[:1], 2)[0][0, 0] == 3.0
        dumper.commit(*block(SIGNS[:1], 4.0))
        dumper.flush()
        wait_until(lambda: server.rows(SIGNS[:1], 2)[0][0, 0] == 4.0, "the next packet is served")
        wait_until(lambda: not server.status().problems, "the problem is over")
        assert server.status().packets_applied == 3
        with hadoop.hanging(0):
            assert server.terminate() == 0
