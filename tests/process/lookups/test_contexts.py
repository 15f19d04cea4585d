"""Contexts beside each other, in forked processes, closed under load, and for a long time: nothing hangs, nothing leaks."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from persia import _core
from persia.config import load_embedding_config
from persia.config.global_config import EmbeddingWorkerConfig, GlobalConfig
from persia.errors import InvalidInput, PersiaError
from persia.routing.lookup import RouterOptions
from persia.routing.router import Router
from tests.support.persia_packets import CONFIG
from tests.support.proxies import Forwarder
from tests.support.replicas import GOLDEN_BATCH, Replicas, assert_golden, golden_batch, load_of, router_of
from tests.support.servers import PATIENCE, wait_until

pytestmark = pytest.mark.whole_way


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    with Replicas(tmp_path_factory.mktemp("shards")) as started:
        yield started


FORK = """
import os, sys
from persia.ctx import InferCtx

batch = open({batch!r}, "rb").read()
servers = {servers!r}
unused = InferCtx(servers, embedding_config={config!r})
used = InferCtx(servers, embedding_config={config!r})
if {use}:
    used.get_embedding_from_bytes(batch)
child = os.fork()
if child == 0:
    tensors = unused.get_embedding_from_bytes(batch, timeout=20).lookup.tensors
    assert any(tensor.any() for tensor in tensors)
    try:
        used.get_embedding_from_bytes(batch, timeout=20)
        print("the other one works")
    except Exception as error:
        print(type(error).__name__, error)
    sys.stdout.flush()
    used.close()
    unused.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
for context in (unused, used):
    context.get_embedding_from_bytes(batch, timeout=20)
    context.close()
print("the parent works")
"""


def fork(servers: Replicas, use: bool) -> str:
    script = FORK.format(batch=str(GOLDEN_BATCH), servers=servers.addresses, config=str(CONFIG), use=use)
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_a_context_that_was_not_used_before_a_fork_works_after_it(servers: Replicas) -> None:
    assert fork(servers, use=False) == "the other one works\nthe parent works\n"


def test_a_context_that_was_used_before_a_fork_says_so(servers: Replicas) -> None:
    said, parent, _ = fork(servers, use=True).split("\n")
    assert said.startswith("InvalidInput expected a context of this process, ")
    assert said.endswith("make one in each process")
    assert parent == "the parent works"


def test_many_routers_in_one_process(servers: Replicas) -> None:
    routers = [Router(load_embedding_config(CONFIG), servers.addresses, RouterOptions()) for _ in range(20)]
    try:
        for router in routers:
            assert_golden(router.lookup(golden_batch()))
        routers[0].close()
        for router in routers[1:]:
            assert_golden(router.lookup(golden_batch()))
    finally:
        for router in routers:
            router.close()


def test_how_long_a_lookup_stays_awake_is_configured(servers: Replicas, monkeypatch: pytest.MonkeyPatch) -> None:
    made, awake = _core.net.Router, []

    def recorded(*arguments: Any, **options: Any) -> _core.net.Router:
        awake.append(options["spin_for"])
        return made(*arguments, **options)

    monkeypatch.setattr(_core.net, "Router", recorded)
    for microseconds in (0, 250):
        config = GlobalConfig(embedding_worker_config=EmbeddingWorkerConfig(stay_awake_us=microseconds))
        with router_of(servers.addresses, stay_awake=RouterOptions.of(config).stay_awake) as router:
            assert_golden(router.lookup(golden_batch()))
    assert awake == [0.0, 250e-6]


def test_many_threads_share_a_router(servers: Replicas) -> None:
    with router_of(servers.addresses) as router, load_of(router, threads=32) as load:
        load.wait_for_more(500)
    assert load.failures == []


def test_closed_under_load_lookups_end_with_an_answer_or_a_typed_error(servers: Replicas) -> None:
    for _ in range(5):
        with router_of(servers.addresses, wait_for_shard=0.0, timeout=5) as router, load_of(router, threads=8) as load:
            load.wait_for_more()
            router.close()
            wait_until(lambda: len(load.failures) > 20, "lookups fail")
        assert all(isinstance(error, PersiaError) for error in load.failures), load.failures
        with pytest.raises(InvalidInput, match="closed"):
            router.lookup(golden_batch())


def test_nothing_leaks_over_thousands_of_lookups_and_lost_connections(servers: Replicas) -> None:
    (first,), (second,) = servers.addresses
    with (
        Forwarder(first) as way,
        router_of([[way.address], [second]], wait_for_shard=PATIENCE, timeout=PATIENCE) as router,
        load_of(router) as load,
    ):
        states = []
        for _ in range(4):
            for _ in range(25):
                load.wait_for_more(20)
                way.cut()
            gc.collect()
            states.append((resident(), threads_of(router), len(os.listdir("/proc/self/fd"))))
    assert load.failures == []
    memory, threads, files = zip(*states, strict=True)
    assert memory[-1] - memory[0] < 8
    assert threads[-1] <= threads[0] + 2
    assert files[-1] <= files[0] + 20


def threads_of(router: Router) -> int:
    """But for those of the forwarder."""
    return sum(thread.name.startswith(("probe", "resolve")) for thread in threading.enumerate())


def resident() -> float:
    """MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def test_a_closed_router_leaves_nothing(servers: Replicas) -> None:
    def open_and_close() -> None:
        with router_of(servers.addresses) as router, load_of(router) as load:
            load.wait_for_more()

    open_and_close()
    gc.collect()
    threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        open_and_close()
    gc.collect()
    wait_until(lambda: threading.active_count() <= threads, "its threads end")
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= files + 2, "its sockets are closed")


END = """
import threading
from pathlib import Path
from persia import _core
from persia.config import load_embedding_config
from persia.routing.lookup import RouterOptions
from persia.routing.router import Router

batch = _core.decode_batch(open({batch!r}, "rb").read())
router = Router(load_embedding_config(Path({config!r})), {servers!r}, RouterOptions())
started = threading.Barrier(9)


def look():
    started.wait()
    while True:
        router.lookup(batch, 20)


router.lookup(batch, 20)
for _ in range(8):
    threading.Thread(target=look, daemon=True).start()
started.wait()
router.lookup(batch, 20)
"""


def test_a_process_may_end_while_its_threads_look_up(servers: Replicas) -> None:
    code = END.format(batch=str(GOLDEN_BATCH), servers=servers.addresses, config=str(CONFIG))
    for _ in range(5):
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
        assert (run.returncode, run.stderr) == (0, "")
