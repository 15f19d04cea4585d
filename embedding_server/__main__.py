"""The command line of an embedding server."""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path
from typing import NoReturn

import click

from persia.config import load_embedding_config, load_global_config
from persia.errors import ConfigError, PersiaError
from persia.rpc import Server, StopSignal
from persia.v1 import embedding_pb2_grpc as pb_grpc

from .metrics import Metrics
from .service import SERVICE, EmbeddingService
from .shard import ShardOptions, ShardServer

log = logging.getLogger("embedding_server")

DRAIN_SECONDS = 10.0

# How long a thread that works in Python may keep one waiting that has a lookup to answer. Python's own 5 ms are several.
SWITCH_SECONDS = 0.0005


@click.command(context_settings={"show_default": True})
@click.option("--port", type=click.IntRange(0, 65_535), default=8887, help="0: any free one, which the log names.")
@click.option("--host", default="127.0.0.1", help="The address to listen on; 0.0.0.0 for all.")
@click.option("--replica-index", type=click.IntRange(0), default=0, envvar="REPLICA_INDEX", help="Which shard this is, from 0.")
@click.option("--replica-size", type=click.IntRange(1), default=1, envvar="REPLICA_SIZE", help="How many shards there are.")
@click.option("--global-config", type=click.Path(), help="Instead of $PERSIA_GLOBAL_CONFIG.")
@click.option("--embedding-config", type=click.Path(), help="Instead of $PERSIA_EMBEDDING_CONFIG.")
@click.option("--metrics-port", type=click.IntRange(0, 65_535), help="Where Prometheus finds the metrics, on the same host.")
@click.option(
    "--log-level", default="info", envvar="LOG_LEVEL", type=click.Choice(["debug", "info", "warning", "error"], False)
)
def main(
    port: int,
    host: str,
    replica_index: int,
    replica_size: int,
    global_config: str | None,
    embedding_config: str | None,
    metrics_port: int | None,
    log_level: str,
) -> None:
    """Serves one shard of the embedding tables.

    A setting on the command line goes before the environment, the environment before the config file, and that before the
    default.
    """
    logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    # Without the place in our code and its source: the message names the place in the file.
    warnings.showwarning = lambda message, *_: log.warning("%s", message)
    if replica_index >= replica_size:
        _give_up(f"expected a replica index below the replica size {replica_size}, got {replica_index}")
    try:
        config = load_global_config(global_config)
        load_embedding_config(embedding_config)  # refused here rather than by the first lookup
    except (ConfigError, OSError) as error:
        _give_up(str(error))
    server_config = config.embedding_parameter_server_config
    checkpoint = config.common_config.infer_config.embedding_checkpoint
    shard = ShardServer(
        ShardOptions(
            index=replica_index,
            count=replica_size,
            checkpoint=Path(checkpoint) if checkpoint else None,
            incremental_dir=Path(server_config.incremental_dir) if server_config.enable_incremental_update else None,
            storage=server_config.row_storage,
            capacity=server_config.capacity or 0,
            workers=config.common_config.checkpointing_config.num_workers,
        )
    )
    metrics_config = config.common_config.metrics_config
    metrics = Metrics(shard, metrics_config.job_name)
    sys.setswitchinterval(SWITCH_SECONDS)
    stop = StopSignal()
    url_host = f"[{host}]" if ":" in host and not host.startswith("[") else host  # of IPv6
    try:
        server = Server(f"{url_host}:{port}", [SERVICE])
        if metrics_config.enable_metrics or metrics_port is not None:
            log.info("metrics on http://%s:%d/metrics", url_host, metrics.serve(url_host.strip("[]"), metrics_port or 0))
    except (PersiaError, OSError) as error:
        _give_up(str(error))
    pb_grpc.add_EmbeddingServerServicer_to_server(EmbeddingService(shard, metrics), server.grpc)
    server.start()
    log.info("listening on %s as shard %d of %d", server.address, replica_index, replica_size)
    try:
        shard.load()
    except Exception as error:
        log.error("%s", str(error) or repr(error), exc_info=not isinstance(error, (PersiaError, OSError, MemoryError)))
        server.stop(0)
        sys.exit(1)
    stop.serving()
    server.set_serving(True)
    log.info("serving version %d", shard.status().version)
    stop.wait()
    log.info("stopping: up to %.0f s for calls that run", DRAIN_SECONDS)
    server.stop(DRAIN_SECONDS)
    shard.stop()


def _give_up(reason: str) -> NoReturn:
    click.echo(f"embedding-server: {reason}", err=True)
    sys.exit(2)


if __name__ == "__main__":
    main(prog_name="embedding-server")
