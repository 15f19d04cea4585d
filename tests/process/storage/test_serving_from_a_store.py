"""An embedding server whose checkpoint and packets are in an object store serves as one with directories does."""

from __future__ import annotations

from pathlib import Path

import pytest

from persia.formats.checkpoint import open_checkpoint_at
from persia.formats.identity import identify
from persia.storage import place_of
from persia.writers import IncrementalDumper, write_checkpoint
from tests.support.s3_servers import S3Server
from tests.support.servers import PATIENCE, wait_until
from tests.support.stored import SIGNS, server_of
from tests.support.uploads import upload
from tests.support.written import block


@pytest.mark.parametrize("epochs", [False, True], ids=["packets", "epochs"])
def test_checkpoint_and_packets_are_served(tmp_path: Path, s3: S3Server, epochs: bool) -> None:
    """Those that our writers put there, and those that somebody copies there."""
    name = f"served-{epochs}"
    write_checkpoint(s3.url(f"{name}/checkpoint"), [block(SIGNS)], shards=2, files_per_shard=2)
    with server_of(tmp_path, s3, name, enable_epochs=epochs) as server:
        server.wait_ready()
        assert server.rows(SIGNS, 2)[0].tolist() == [[1.0, 1.0]] * len(SIGNS)
        assert server.status().checkpoint == s3.url(f"{name}/checkpoint")
        with IncrementalDumper(s3.url(f"{name}/packets")) as dumper:
            dumper.commit(*block(SIGNS[:3], 2.0))
        wait_until(lambda: server.rows(SIGNS, 2)[0][:4, 0].tolist() == [2.0, 2.0, 2.0, 1.0], "the packet is served")
        with IncrementalDumper(tmp_path / "written", shard_index=1) as copied:
            copied.commit(*block(SIGNS[:1], 3.0))
        upload(s3.store(f"{name}/packets"), tmp_path / "written")
        wait_until(lambda: server.rows(SIGNS, 2)[0][:3, 0].tolist() == [3.0, 2.0, 2.0], "the copied packet is served")
        asked = dict(server.metrics(r'persia_storage_requests_total\{.*verb="(\w+)"\} (\S+)'))
        assert asked.keys() >= {"list", "read"}
        assert list((tmp_path / "buffer").glob("persia-fetched-*/fetched-*")) == []
        assert server.terminate() == 0


def test_a_bucket_and_a_copy_of_it_have_one_identity(tmp_path: Path, s3: S3Server) -> None:
    """So that a router takes answers of a server that reads the one and of a server that reads the other."""
    write_checkpoint(tmp_path / "checkpoint", [block(SIGNS)], shards=2, files_per_shard=2)
    upload(s3.store("copied"), tmp_path / "checkpoint")
    places = (tmp_path / "checkpoint", place_of(s3.url("copied")))
    first, second = (identify(open_checkpoint_at(place, tmp_path, None, 0, 2), 4) for place in places)
    assert first == second


def test_two_replicas_share_a_bucket_and_a_buffer(tmp_path: Path, s3: S3Server) -> None:
    """Each has a directory of its own, so none takes the other's for its own; a restart finds its own again."""
    write_checkpoint(s3.url("shared/checkpoint"), [block(SIGNS)], shards=1)
    with IncrementalDumper(s3.url("shared/packets")) as dumper:
        dumper.commit(*block(SIGNS[:3], 2.0))
        (tmp_path / "a").mkdir()
        (tmp_path / "b").mkdir()
        settings = {"local_buffer_dir": str(tmp_path / "buffer")}
        with server_of(tmp_path / "a", s3, "shared", **settings) as one:
            one.wait_ready()
            with server_of(tmp_path / "b", s3, "shared", **settings) as two:
                two.wait_ready()
                dumper.flush()
                for server in (one, two):
                    wait_until(lambda: server.rows(SIGNS[:1], 2)[0][0, 0] == 2.0, "the packet is served")  # noqa: B023
            assert len(list((tmp_path / "buffer").glob("packets-*"))) == 2
            one.kill()
            one.start()
            one.wait_ready()
            assert one.rows(SIGNS[:1], 2)[0][0, 0] == 2.0
            assert len(list((tmp_path / "buffer").glob("packets-*"))) == 2


def test_what_is_wrong_with_a_checkpoint_is_named_by_its_url(tmp_path: Path, s3: S3Server) -> None:
    write_checkpoint(s3.url("wrong/checkpoint"), [block(SIGNS)], shards=1, files_per_shard=2)
    store, name = s3.store("wrong/checkpoint"), "s0/replica_0_shard_1.emb"
    store.put(name, store.read_whole(name)[:-7])
    server = server_of(tmp_path, s3, "wrong")
    assert server.process.wait(PATIENCE) == 1
    assert f"{s3.url('wrong/checkpoint')}/{name} at byte " in server.log()
    store.remove(name)
    server.start()
    assert server.process.wait(PATIENCE) == 1
    assert f"{s3.url('wrong/checkpoint')}/s0 at byte 0: expected the 2 files" in server.log()


def test_settings_that_cannot_be(tmp_path: Path, s3: S3Server) -> None:
    for settings, problem in (
        ({"incremental_prune_before_checkpoint": True}, "let rules of the store delete old packets"),
        ({"storage": "ftp"}, "expected `ceph` or `hdfs`"),
    ):
        server = server_of(tmp_path, s3, "none", **settings)
        assert server.process.wait(PATIENCE) == 2
        assert problem in server.log()
