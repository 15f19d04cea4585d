"""The command line of a middleware."""

from __future__ import annotations

import logging
import os
import threading
from typing import Any

import click

from persia import _core
from persia.misses import MissWatcher
from persia.routing.lookup import RouterOptions
from persia.routing.router import Router
from persia.security import ClientSecurity
from persia.serving.process import server_options
from persia.serving.runner import RunningServer, ServerArguments, Startup

from .metrics import OLD_NAMES, SECONDS, Metrics
from .service import SERVICE, MiddlewareService, readiness

log = logging.getLogger("middleware")

PROGRAM = "middleware"
_LOOK_SECONDS = 0.05
# Lookups that are worked on at a time, for each processor: they wait for the shards most of the time.
_TURNS = 4


@click.command(context_settings={"show_default": True})
@server_options(port=8887)
@click.option("--replica-index", type=click.IntRange(0), default=0, envvar="REPLICA_INDEX", help="For Persia's scripts: any.")
@click.option("--replica-size", type=click.IntRange(1), default=1, envvar="REPLICA_SIZE", help="For Persia's scripts: any.")
def main(replica_index: int, replica_size: int, **arguments: Any) -> None:
    """Turns byte batches into tensors: asks the embedding servers that the global config names.

    Middlewares have no state: start as many as you like. A setting on the command line goes before the environment, the
    environment before the config file, and that before the default.
    """
    startup = Startup(PROGRAM, log, ServerArguments(**arguments))
    router = _make_router(startup)
    counts = _core.net.ForwardCounts(SECONDS)
    spans = startup.start_spans()
    ring = None if spans is None else spans.ring
    service = MiddlewareService(router, counts, startup.embedding_config, ring)
    registry = startup.with_old_names(Metrics(router, counts, ring).registry, OLD_NAMES) if startup.wants_metrics else None
    server = startup.listen(SERVICE, registry, workers=_TURNS * (os.cpu_count() or 1))
    where = server.start(service)
    watcher = MissWatcher(router.reporter)
    watcher.start()
    log.info("listening on %s for %d shards", where, len(startup.config.common_config.infer_config.servers))
    server.serve()
    stopping = threading.Event()
    health = threading.Thread(target=_follow_health, args=(router, server, stopping), name="health")
    health.start()
    server.wait(service)
    stopping.set()
    health.join()
    watcher.stop()
    server.drain()
    router.close()
    if spans is not None:
        spans.stop()


def _make_router(startup: Startup) -> Router:
    """Ends the process if there is nobody to ask."""
    config = startup.config
    servers = config.common_config.infer_config.servers
    if not servers:
        startup.give_up("expected embedding servers in `common_config.infer_config.servers` of the global config, got none")
    options = RouterOptions.of(config, ClientSecurity(config.security))
    return Router(startup.embedding_config, servers, options)


def _follow_health(router: Router, server: RunningServer, stopping: threading.Event) -> None:
    """Health checks hear SERVING while lookups are answered."""
    before = None
    while not stopping.wait(_LOOK_SECONDS):
        now = ready, state = readiness(router)
        if now == before:
            continue
        server.set_health(ready)
        log.log(logging.INFO if state == "serving" else logging.WARNING, "%s", state)
        before = now


if __name__ == "__main__":
    main(prog_name=PROGRAM)
