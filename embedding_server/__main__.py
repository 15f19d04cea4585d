"""The command line of an embedding server."""

from __future__ import annotations

import logging
import sys
from concurrent.futures import Future, ThreadPoolExecutor, wait
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from persia import _core
from persia.errors import PersiaError
from persia.serving.process import server_options
from persia.serving.runner import RunningServer, ServerArguments, Startup

from .options import PruneRules, ShardOptions
from .service import SERVICE, EmbeddingService
from .shard import ShardServer
from .store_places import StorePlaces

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

log = logging.getLogger("embedding_server")

PROGRAM = "embedding-server"


@click.command(context_settings={"show_default": True})
@server_options(port=8887)
@click.option("--replica-index", type=click.IntRange(0), default=0, envvar="REPLICA_INDEX", help="Which shard this is, from 0.")
@click.option("--replica-size", type=click.IntRange(1), default=1, envvar="REPLICA_SIZE", help="How many shards there are.")
def main(replica_index: int, replica_size: int, **arguments: Any) -> None:
    """Serves one shard of the embedding tables.

    A setting on the command line goes before the environment, the environment before the config file, and that before the
    default.
    """
    startup = Startup(PROGRAM, log, ServerArguments(**arguments))
    shard = ShardServer(_shard_options(startup, replica_index, replica_size))
    spans = startup.start_spans()
    ring = None if spans is None else spans.ring
    service = EmbeddingService(shard, ring)
    server = startup.listen(SERVICE, _make_registry(startup, shard, ring))
    loading = ThreadPoolExecutor(1, thread_name_prefix="load").submit(shard.load)
    # What packets need takes 0.1 s to import, numpy most of it: that is done while the files of the checkpoint are read.
    import_module(".following", __package__)
    log.info("listening on %s as shard %d of %d", server.start(service), replica_index, replica_size)
    _wait_for(loading, server)
    server.serve()
    server.set_health(True)
    log.info("serving version %d", shard.status().version)
    server.wait(service)
    server.drain()
    shard.stop()
    if spans is not None:
        spans.stop()


def _shard_options(startup: Startup, index: int, count: int) -> ShardOptions:
    """Ends the process if there can be no such shard."""
    config = startup.config
    server_config = config.embedding_parameter_server_config
    stores = StorePlaces(startup, index, count)
    checkpoint = stores.checkpoint
    if index >= count:
        startup.give_up(f"expected a replica index below the replica size {count}, got {index}")
    is_elsewhere = checkpoint is not None and checkpoint.path is not None and not checkpoint.path.is_dir()
    if is_elsewhere and not server_config.enable_epochs:  # records of epochs may name another one
        startup.give_up(f"expected a checkpoint directory, there is none at {checkpoint}")
    if not checkpoint:
        log.warning("the global config names no `embedding_checkpoint`: the table is empty until packets come")
    shards = len(config.common_config.infer_config.servers)
    if shards not in (0, count):
        log.warning(
            "the global config names %d shards, --replica-size is %d: who routes by it will refuse this one", shards, count
        )
    return ShardOptions(
        index=index,
        count=count,
        checkpoint=checkpoint,
        incremental_dir=stores.incremental_dir,
        packets=stores.packets,
        packet_poll_seconds=server_config.storage_poll_ms / 1000,
        packet_list_all_seconds=server_config.storage_list_all_seconds,
        buffer=stores.buffer,
        storage=server_config.row_storage,
        capacity=server_config.capacity or 0,
        workers=config.common_config.checkpointing_config.num_workers,
        epochs=server_config.enable_epochs,
        retained_epochs=server_config.retained_epochs,
        retained_share=server_config.retained_epochs_percent / 100,
        refuse_non_finite=server_config.non_finite_rows == "refuse",
        prune=PruneRules(server_config.incremental_prune_older_than_seconds, server_config.incremental_prune_before_checkpoint),
        deployment=config.common_config.deployment,
        dims={slot.name: slot.dim for slot in startup.embedding_config.slots.values()},
    )


def _make_registry(startup: Startup, shard: ShardServer, ring: _core.tracing.SpanRing | None) -> CollectorRegistry | None:
    if not startup.wants_metrics:
        return None
    from .metrics import OLD_NAMES, Metrics  # only here, because Prometheus takes its time

    return startup.with_old_names(Metrics(shard, ring).registry, OLD_NAMES)


def _wait_for(loading: Future[None], server: RunningServer) -> None:
    """Until the shard is loaded; if that fails, the process ends."""
    while not loading.done():
        wait([loading], 1)  # a signal that came a moment before an endless wait would not be heard
    try:
        loading.result()
    except Exception as error:
        log.error("%s", str(error) or repr(error), exc_info=not isinstance(error, (PersiaError, OSError, MemoryError)))
        server.abandon()
        sys.exit(1)


if __name__ == "__main__":
    main(prog_name=PROGRAM)
