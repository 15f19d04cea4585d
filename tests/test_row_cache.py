"""The cache of hot rows: right or not used, never older than its age, never of two versions, never larger than its limit."""

from __future__ import annotations

import re
import shutil
import threading
import time
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from golden import GOLDEN
from middlewares import Middleware
from persia_packets import CONFIG, finish, write_packet
from replicas import Replicas, assert_golden, golden_batch, router_of
from routing_reference import encode, signs_of_id
from servers import PATIENCE, EmbeddingServer, free_port, wait_until

from persia import _core
from persia.config import load_embedding_config
from persia.ctx import InferCtx
from persia.errors import Unavailable
from persia.routing.lookup import Lookup, RouterOptions
from persia.routing.router import Router

HOUR = 3600.0
USER = load_embedding_config(CONFIG).slots["user_id"]
UNKNOWN = 2**40


def users(ids: Iterable[int]) -> _core.Batch:
    """A sample each: the tensor has the rows."""
    return encode({"user_id": [[id] for id in ids]})


def signs_of(ids: Iterable[int]) -> list[int]:
    return [sign for id in ids for sign in signs_of_id(id, USER)]


def value_of(lookup: Lookup) -> float:
    """The number that all rows of the answer have."""
    (tensor,) = lookup.tensors
    assert (tensor == tensor[0, 0]).all(), np.unique(tensor)
    return float(tensor[0, 0])


def counts(router: Router) -> tuple[int, int]:
    """Requests that were answered by shards, and by the cache."""
    totals = [rows.totals() for rows in router.hot_rows]
    return sum(each.requests - each.requests_answered for each in totals), sum(each.requests_answered for each in totals)


def cached(router: Router, batch: _core.Batch) -> Lookup:
    """Looks up until no shard is asked."""

    def attempt() -> Lookup | None:
        asked, _ = counts(router)
        lookup = router.lookup(batch)
        return lookup if counts(router)[0] == asked else None

    lookup: Lookup = wait_until(attempt, "the cache answers")
    return lookup


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    with Replicas(tmp_path_factory.mktemp("servers")) as started:
        yield started


class Updated:
    """One shard, without a checkpoint, and its packets."""

    def __init__(self, directory: Path) -> None:
        self.packets = directory / "packets"
        self.packets.mkdir(parents=True)
        self.server = EmbeddingServer(
            directory, CONFIG, incremental_dir=self.packets, arguments=("--port", str(free_port()))
        ).wait_ready()
        self.published = 0

    def publish(self, ids: Iterable[int], value: float) -> None:
        """Returns when the rows are served."""
        self.published += 1
        finish(write_packet(self.packets, self.published, signs_of(ids), value))
        self.server.wait_for_packets(self.published)

    def restart_with(self, ids: Iterable[int], value: float) -> None:
        """At the same version, with other rows."""
        self.server.kill()
        shutil.rmtree(self.packets)
        self.packets.mkdir()
        self.published = 0
        finish(write_packet(self.packets, 1, signs_of(ids), value))
        self.server.start()
        self.server.wait_ready()


@pytest.fixture
def updated(tmp_path: Path) -> Iterator[Updated]:
    shard = Updated(tmp_path)
    with shard.server:
        yield shard


@pytest.mark.parametrize("path", sorted((GOLDEN / "mix" / "golden").glob("*.bin")), ids=lambda path: path.stem)
def test_it_gives_the_tensors_that_the_shards_give(servers: Replicas, path: Path) -> None:
    """Rows, sums, hash stacks, ids without a row."""
    batch = _core.decode_batch(path.read_bytes())
    with router_of(servers.addresses) as plain, router_of(servers.addresses, row_cache_max_age=HOUR) as router:
        want, got = plain.lookup(batch), cached(router, batch)
    for tensor, wanted in zip(got.tensors, want.tensors, strict=True):
        np.testing.assert_array_equal(tensor, wanted)
    assert (got.versions, got.absent, got.wrong_dim) == (want.versions, want.absent, want.wrong_dim)


def test_hot_rows_are_there_without_their_shards(tmp_path: Path) -> None:
    with Replicas(tmp_path) as servers, router_of(servers.addresses, row_cache_max_age=HOUR, wait_for_shard=0.0) as router:
        cached(router, golden_batch())
        for server in servers.all:
            server.kill()
        assert_golden(router.lookup(golden_batch()))
        with pytest.raises(Unavailable):
            router.lookup(users([UNKNOWN]))


def test_it_is_off_by_default(servers: Replicas) -> None:
    with router_of(servers.addresses) as router:
        assert_golden(router.lookup(golden_batch()))
        assert router.hot_rows == []
        assert not cache_threads()


def cache_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "row cache"]


def test_its_thread_begins_with_the_first_use_and_ends_with_the_router(servers: Replicas) -> None:
    router = Router(load_embedding_config(CONFIG), servers.addresses, RouterOptions(row_cache_max_age=HOUR))
    assert not cache_threads()
    router.lookup(golden_batch())
    (thread,) = cache_threads()
    router.close()
    wait_until(lambda: not thread.is_alive(), "the thread ends")


def test_an_unknown_id_is_counted_each_time(servers: Replicas) -> None:
    batch = users([UNKNOWN, UNKNOWN + 1, UNKNOWN + 2])
    with router_of(servers.addresses, row_cache_max_age=HOUR) as router:
        for lookup in (router.lookup(batch), cached(router, batch), router.lookup(batch)):
            assert lookup.absent == 3
            assert value_of(lookup) == 0.0


def test_an_unknown_id_that_gets_a_row(updated: Updated) -> None:
    updated.publish([1], 1.0)
    with router_of([[updated.server.address]], row_cache_max_age=0.1) as router:
        assert cached(router, users([2])).absent == 1
        updated.publish([2], 2.0)
        wait_until(lambda: router.lookup(users([2])).absent == 0, "the id is known")
        assert value_of(cached(router, users([2]))) == 2.0


def test_a_row_may_be_as_old_as_the_age_but_not_when_a_newer_version_was_seen(updated: Updated) -> None:
    updated.publish([1, 2], 1.0)
    with router_of([[updated.server.address]], row_cache_max_age=HOUR) as router:
        old = cached(router, users([1, 2]))
        updated.publish([1, 2], 2.0)
        still = router.lookup(users([1, 2]))
        assert value_of(still) == 1.0 and still.versions == old.versions
        router.lookup(users([UNKNOWN]))  # which asks the shard
        assert value_of(router.lookup(users([1, 2]))) == 2.0
        assert value_of(cached(router, users([1, 2]))) == 2.0


def test_a_restarted_server_has_other_rows_at_the_same_version(updated: Updated) -> None:
    updated.publish([1], 1.0)
    with router_of([[updated.server.address]], row_cache_max_age=HOUR) as router:
        before = cached(router, users([1]))
        updated.restart_with([1], 5.0)
        wait_until(lambda: router.shards[0].usable, "the server is back")
        asked = router.lookup(users([UNKNOWN]))
        assert asked.versions == before.versions
        assert value_of(router.lookup(users([1]))) == 5.0
        assert value_of(cached(router, users([1]))) == 5.0


def test_under_updates_each_answer_is_of_one_version_and_none_is_older_than_the_age(updated: Updated) -> None:
    ids, age = range(200), 0.3
    gone = [0.0]  # gone[v]: when version v was known to be followed by another
    stop = threading.Event()
    failed: list[BaseException] = []
    answers: list[int] = []

    def look(router: Router, seed: int) -> None:
        rng = np.random.default_rng(seed)
        try:
            while not stop.is_set():
                few = rng.choice(200, size=rng.integers(1, 20), replace=False).tolist()
                began = time.monotonic()
                value = int(value_of(router.lookup(users(few))))
                answers.append(value)
                # Not a matter of speed: a row that was not current at any time since `began - age` is never right.
                assert value >= len(gone) or gone[value] >= began - age
        except BaseException as error:
            failed.append(error)

    updated.publish(ids, 1.0)
    with router_of([[updated.server.address]], row_cache_max_age=age) as router:
        threads = [threading.Thread(target=look, args=(router, seed)) for seed in range(3)]
        for thread in threads:
            thread.start()
        try:
            for version in range(2, 12):
                _, before = counts(router)
                wait_until(lambda: counts(router)[1] > before + 50 or failed, "the cache answers")  # noqa: B023
                updated.publish(ids, float(version))
                gone.append(time.monotonic())
            wait_until(lambda: answers[-1] == 11 or failed, "the newest rows are served")
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    assert not failed, failed


def test_replicas_at_the_same_version_with_other_rows_are_not_mixed(tmp_path: Path) -> None:
    """One of them lags behind: the numbers of their versions say nothing of each other."""
    ids = range(50)
    shards = [Updated(tmp_path / name) for name in "ab"]
    with shards[0].server, shards[1].server:
        for value, shard in enumerate(shards, 1):
            shard.publish(ids, float(value))
        addresses = [[shard.server.address for shard in shards]]
        with router_of(addresses, row_cache_max_age=HOUR) as router:
            for begin in range(0, 50, 5):  # which are asked for one after the other, of one replica or the other
                value_of(cached(router, users(range(begin, begin + 5))))
            value_of(cached(router, users(ids)))
        with router_of(addresses, row_cache_max_age=0.2) as router:
            value = int(value_of(cached(router, users(ids))))
            shards[value - 1].server.kill()
            wait_until(lambda: value_of(cached(router, users(ids))) == 3 - value, "the rows of the other one are there")


def test_its_memory_is_bounded_under_a_flood_of_ids(tmp_path: Path) -> None:
    rows = 40_000
    finish(write_packet(tmp_path / "packets", 1, (np.arange(rows) + USER.prefix).tolist(), 1.0))
    with (
        EmbeddingServer(tmp_path, CONFIG, incremental_dir=tmp_path / "packets").wait_ready() as server,
        router_of([[server.address]], row_cache_max_age=HOUR, row_cache_bytes=1 << 20) as router,
    ):
        most = 0
        for begin in range(0, rows, 2000):
            lookup = cached(router, users(range(begin, begin + 2000)))
            assert value_of(lookup) == 1.0 and lookup.absent == 0
            totals = router.hot_rows[0].totals()
            assert totals.bytes <= 1 << 20
            most = max(most, totals.rows)
        assert 5_000 < most < 15_000
        # Ids that have no row take memory, too.
        for begin in range(UNKNOWN, UNKNOWN + 6_000, 300):
            assert cached(router, users(range(begin, begin + 300))).absent == 300
            assert router.hot_rows[0].totals().bytes <= 1 << 20


def test_through_a_middleware_with_its_metrics(servers: Replicas, tmp_path: Path) -> None:
    settings = {"row_cache_max_age_ms": 3_600_000, "row_cache_mib": 16}
    with (
        Middleware(
            tmp_path, CONFIG, servers.addresses, settings=settings, arguments=("--metrics-port", "0")
        ).wait_ready() as middleware,
        InferCtx([middleware.address]) as context,
    ):
        path = GOLDEN / "mix" / "golden" / "batch16_0.bin"
        url = re.search(r"metrics on (\S+)", middleware.log())
        assert url is not None

        def values(name: str) -> list[float]:
            with urllib.request.urlopen(url[1], timeout=PATIENCE) as response:
                text = response.read().decode()
            return [float(value) for value in re.findall(rf"^{name}{{.*}} ([\d.e+]+)$", text, re.MULTILINE)]

        def look() -> bool:
            assert_golden(context.get_embedding_from_bytes(path.read_bytes()).lookup)
            return all(answered > 10 for answered in values("row_cache_requests_answered_total"))

        wait_until(look, "the cache answers for both shards")
        assert len(values("row_cache_hit_ratio")) == 2
        assert all(0 < ratio <= 1 for ratio in values("row_cache_hit_ratio"))
        assert all(0 < size <= 8 << 20 for size in values("row_cache_bytes"))
        assert all(values("row_cache_rows"))
        signs, answered = values("row_cache_signs_total"), values("row_cache_signs_answered_total")
        requests, requests_answered = values("row_cache_requests_total"), values("row_cache_requests_answered_total")
        assert all(a <= b for a, b in zip(answered + requests_answered, signs + requests, strict=True))
