"""The command line of a middleware."""

from __future__ import annotations

import logging
import os
import threading

import click

from persia import _core
from persia.cli.failures import give_up
from persia.config import load_embedding_config, load_global_config
from persia.errors import ConfigError, PersiaError
from persia.misses import MissWatcher
from persia.routing.lookup import RouterOptions
from persia.routing.router import Router
from persia.security import ClientSecurity
from persia.serving.process import DRAIN_SECONDS, Listeners, server_options, set_up
from persia.system.signals import StopSignal

from .metrics import SECONDS, Metrics
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
def main(
    port: int,
    host: str,
    listen: tuple[str, ...],
    metrics_port: int | None,
    global_config: str | None,
    embedding_config: str | None,
    log_level: str,
    replica_index: int,
    replica_size: int,
) -> None:
    """Turns byte batches into tensors: asks the embedding servers that the global config names.

    Middlewares have no state: start as many as you like. A setting on the command line goes before the environment, the
    environment before the config file, and that before the default.
    """
    set_up(log, log_level)
    try:
        config = load_global_config(global_config)
        slots = load_embedding_config(embedding_config)
    except (ConfigError, OSError) as error:
        give_up(PROGRAM, str(error))
    servers = config.common_config.infer_config.servers
    if not servers:
        give_up(PROGRAM, "expected embedding servers in `common_config.infer_config.servers` of the global config, got none")
    router = Router(slots, servers, RouterOptions.of(config.embedding_worker_config, ClientSecurity(config.security)))
    metrics_config = config.common_config.metrics_config
    counts = _core.net.ForwardCounts(SECONDS)
    metrics = Metrics(router, counts, metrics_config.job_name)
    service = MiddlewareService(router, counts, slots)
    stop = StopSignal()
    try:
        listeners = Listeners(host, port, listen, SERVICE, config.security, workers=_TURNS * (os.cpu_count() or 1))
        if metrics_config.enable_metrics or metrics_port is not None:
            log.info("metrics on %s", listeners.offer_metrics(metrics.registry, metrics_port or 0))
    except PersiaError as error:
        give_up(PROGRAM, str(error))
    service.add_to(listeners.server)
    listeners.start()
    watcher = MissWatcher(router.reporter)
    watcher.start()
    log.info("listening on %s for %d shards", " and ".join([listeners.address, *listeners.more]), len(servers))
    stop.serving()
    stopping = threading.Event()
    watch = threading.Thread(target=_follow_health, args=(router, listeners, stopping), name="health")
    watch.start()
    stop.wait()
    log.info("stopping: up to %.0f s for calls that run", DRAIN_SECONDS)
    service.stopping = True
    stopping.set()
    watch.join()
    watcher.stop()
    listeners.stop(DRAIN_SECONDS)
    router.close()


def _follow_health(router: Router, listeners: Listeners, stopping: threading.Event) -> None:
    """Health checks hear SERVING while lookups are answered."""
    before = None
    while not stopping.wait(_LOOK_SECONDS):
        now = ready, state = readiness(router)
        if now == before:
            continue
        listeners.server.set_serving(ready)
        log.log(logging.INFO if state == "serving" else logging.WARNING, "%s", state)
        before = now


if __name__ == "__main__":
    main(prog_name=PROGRAM)
