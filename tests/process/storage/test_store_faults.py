"""What a store does wrong ends in a clear problem, and when it is over no packet is lost or applied twice."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from persia.storage import place_of
from persia.storage.fetching import fetch
from persia.storage.problems import StoreUnavailable
from persia.writers import IncrementalDumper, write_checkpoint
from tests.support.faulty_stores import FaultyStore, faulty_store
from tests.support.s3_servers import S3Server
from tests.support.servers import PATIENCE, EmbeddingServer, wait_until
from tests.support.stored import SIGNS, server_of
from tests.support.written import block


@pytest.fixture
def proxy(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyStore]:
    """Servers that are started ask it. The tests ask the store itself."""
    with faulty_store(s3.environment["AWS_ENDPOINT_URL"]) as started:
        yield started


def started(directory: Path, s3: S3Server, proxy: FaultyStore, name: str) -> EmbeddingServer:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        return server_of(directory, s3, name)


FAULTS = {
    "503": "the store did not do it, although it was asked again",
    "skewed": "set this machine's clock",
    "truncated": "",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_while_packets_come(tmp_path: Path, s3: S3Server, proxy: FaultyStore, fault: str) -> None:
    """The server serves what it has, says what is wrong, and goes on where it was."""
    name = f"fault-{fault}"
    write_checkpoint(s3.url(f"{name}/checkpoint"), [block(SIGNS)], shards=1)
    with (
        IncrementalDumper(s3.url(f"{name}/packets")) as dumper,
        started(tmp_path, s3, proxy, name) as server,
    ):
        server.wait_ready()
        dumper.commit(*block(SIGNS[:3], 2.0))
        dumper.flush()
        server.wait_for_packets(1)
        proxy.fault = fault
        dumper.commit(*block(SIGNS[1:4], 3.0))
        dumper.flush()
        dumper.commit(*block(SIGNS[2:5], 4.0))
        dumper.flush()
        wait_until(lambda: proxy.faults > 3, "requests met the fault")
        if FAULTS[fault]:
            wait_until(lambda: any(FAULTS[fault] in text for text in server.status().problems), "the problem is told")
        assert server.rows(SIGNS[:1], 2)[0][0, 0] == 2.0
        proxy.fault = None
        server.wait_for_packets(3)
        assert server.rows(SIGNS, 2)[0][:6, 0].tolist() == [2.0, 3.0, 4.0, 4.0, 4.0, 1.0]
        wait_until(lambda: not server.status().problems, "the problem is over")
        assert server.status().packets_applied == 3 and not server.status().set_aside


def test_a_store_that_is_slow_is_waited_for(tmp_path: Path, s3: S3Server, proxy: FaultyStore) -> None:
    """Lookups do not wait with it, and neither does the end of the server."""
    write_checkpoint(s3.url("slow/checkpoint"), [block(SIGNS)], shards=1)
    with (
        IncrementalDumper(s3.url("slow/packets")) as dumper,
        started(tmp_path, s3, proxy, "slow") as server,
    ):
        server.wait_ready()
        proxy.fault = "slow"
        dumper.commit(*block(SIGNS[:3], 2.0))
        dumper.flush()
        wait_until(lambda: proxy.faults > 0, "a request is answered slowly")
        assert server.rows(SIGNS[:1], 2)[0][0, 0] == 1.0
        assert server.terminate() == 0
        proxy.fault = None
        proxy.released.set()
        server.start()
        with pytest.MonkeyPatch.context():
            server.wait_ready()
        assert server.rows(SIGNS[:1], 2)[0][0, 0] == 2.0


def test_a_file_comes_through_answers_that_break_off(tmp_path: Path, s3: S3Server, proxy: FaultyStore) -> None:
    """Each answer is cut in half: the next request goes on there."""
    content = os.urandom(1 << 20)
    store = s3.store("halves")
    store.put("a", content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        broken = place_of(s3.url("halves")).open()
    entry = store.stat("a")
    proxy.fault = "truncated"
    fetch(broken, entry, tmp_path / "fetched", lambda seconds: None)
    assert (tmp_path / "fetched").read_bytes() == content
    proxy.fault = "503"
    with pytest.raises(StoreUnavailable, match="broke off after 0 of"):
        fetch(broken, entry, tmp_path / "fetched", lambda seconds: None)


def test_a_store_that_is_away_when_a_server_starts(tmp_path: Path, s3: S3Server, proxy: FaultyStore) -> None:
    write_checkpoint(s3.url("away/checkpoint"), [block(SIGNS)], shards=1)
    proxy.fault = "503"
    server = started(tmp_path, s3, proxy, "away")
    assert server.process.wait(PATIENCE) == 1
    assert FAULTS["503"] in server.log() and s3.url("away/checkpoint") in server.log()
    assert "Traceback" not in server.log()


def test_credentials_that_do_not_do(tmp_path: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    server = server_of(tmp_path, s3, "credentials")
    assert server.process.wait(PATIENCE) == 1
    assert "the store refuses with SignatureDoesNotMatch: the secret key is not that of the access key" in server.log()
    with pytest.raises(PermissionError, match="credentials"):
        place_of(s3.url("credentials")).open().stat("a")
