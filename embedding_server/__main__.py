"""The command line of an embedding server."""

from __future__ import annotations

import logging
import sys
from concurrent.futures import ThreadPoolExecutor, wait
from importlib import import_module
from pathlib import Path

import click

from persia.cli.failures import give_up
from persia.config import load_embedding_config, load_global_config
from persia.errors import ConfigError, PersiaError
from persia.serving.process import DRAIN_SECONDS, Listeners, server_options, set_up
from persia.system.signals import StopSignal

from .options import PruneRules, ShardOptions
from .service import SERVICE, EmbeddingService
from .shard import ShardServer

log = logging.getLogger("embedding_server")

PROGRAM = "embedding-server"


@click.command(context_settings={"show_default": True})
@server_options(port=8887)
@click.option("--replica-index", type=click.IntRange(0), default=0, envvar="REPLICA_INDEX", help="Which shard this is, from 0.")
@click.option("--replica-size", type=click.IntRange(1), default=1, envvar="REPLICA_SIZE", help="How many shards there are.")
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
    """Serves one shard of the embedding tables.

    A setting on the command line goes before the environment, the environment before the config file, and that before the
    default.
    """
    set_up(log, log_level)
    if replica_index >= replica_size:
        give_up(PROGRAM, f"expected a replica index below the replica size {replica_size}, got {replica_index}")
    try:
        config = load_global_config(global_config)
        slots = load_embedding_config(embedding_config).slots.values()  # refused here rather than by the first lookup
    except (ConfigError, OSError) as error:
        give_up(PROGRAM, str(error))
    server_config = config.embedding_parameter_server_config
    checkpoint = config.common_config.infer_config.embedding_checkpoint
    if checkpoint and not Path(checkpoint).is_dir():
        give_up(PROGRAM, f"expected a checkpoint directory, there is none at {checkpoint}")
    if not checkpoint:
        log.warning("the global config names no `embedding_checkpoint`: the table is empty until packets come")
    shards = len(config.common_config.infer_config.servers)
    if shards not in (0, replica_size):
        log.warning(
            "the global config names %d shards, --replica-size is %d: who routes by it will refuse this one",
            shards,
            replica_size,
        )
    shard = ShardServer(
        ShardOptions(
            index=replica_index,
            count=replica_size,
            checkpoint=Path(checkpoint) if checkpoint else None,
            incremental_dir=Path(server_config.incremental_dir) if server_config.enable_incremental_update else None,
            storage=server_config.row_storage,
            capacity=server_config.capacity or 0,
            workers=config.common_config.checkpointing_config.num_workers,
            refuse_non_finite=server_config.non_finite_rows == "refuse",
            prune=PruneRules(
                server_config.incremental_prune_older_than_seconds, server_config.incremental_prune_before_checkpoint
            ),
            dims={slot.name: slot.dim for slot in slots},
        )
    )
    metrics_config = config.common_config.metrics_config
    metrics = None
    if metrics_config.enable_metrics or metrics_port is not None:
        from .metrics import Metrics  # only here, because Prometheus takes its time

        metrics = Metrics(shard, metrics_config.job_name)
    stop = StopSignal()
    service = EmbeddingService(shard)
    try:
        listeners = Listeners(host, port, listen, SERVICE, config.security)
        if metrics is not None:
            log.info("metrics on %s", listeners.offer_metrics(metrics.registry, metrics_port or 0))
    except PersiaError as error:
        give_up(PROGRAM, str(error))
    loading = ThreadPoolExecutor(1, thread_name_prefix="load").submit(shard.load)
    # Meanwhile, because it takes long and reading files needs none of it: the core answers with arrays of numpy.
    import_module("numpy")
    if shard.options.incremental_dir is not None:
        import_module(".updates", __package__)
    service.add_to(listeners.server)
    listeners.start()
    where = " and ".join([listeners.address, *listeners.more])
    log.info("listening on %s as shard %d of %d", where, replica_index, replica_size)
    while not loading.done():
        wait([loading], 1)  # a signal that came a moment before an endless wait would not be heard
    try:
        loading.result()
    except Exception as error:
        log.error("%s", str(error) or repr(error), exc_info=not isinstance(error, (PersiaError, OSError, MemoryError)))
        listeners.stop(0)
        sys.exit(1)
    stop.serving()
    listeners.server.set_serving(True)
    log.info("serving version %d", shard.status().version)
    stop.wait()
    log.info("stopping: up to %.0f s for calls that run", DRAIN_SECONDS)
    service.stopping = True
    listeners.stop(DRAIN_SECONDS)
    shard.stop()


if __name__ == "__main__":
    main(prog_name=PROGRAM)
