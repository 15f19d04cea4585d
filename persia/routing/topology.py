"""What a middleware tells its clients about the embedding servers, so that they can do without it.

On the wire it is called directions.
"""

from __future__ import annotations

import msgspec

from persia.config import EmbeddingConfig
from persia.errors import InvalidInput
from persia.routing.router import Router
from persia.v1 import middleware_pb2 as pb

__all__ = ["config_bytes", "config_of", "topology_of"]


def topology_of(router: Router, config: bytes) -> pb.DirectionsResponse:
    """Empty where only the middleware itself can do what its config says. config: config_bytes() of the router's."""
    options = router.options
    if not options.clients_ask_shards or options.zeros_for_missing_shards:
        return pb.DirectionsResponse()
    usable = [replica.health for shard in router.shards for replica in shard.replicas if replica.usable]
    return pb.DirectionsResponse(
        shards=[pb.ShardDirections(addresses=addresses) for addresses in router.servers],
        embedding_config=config,
        hedge_after_ms=round(options.hedge_after * 1000),
        server_starts=[
            health.server_start for health in usable if health.server_start
        ],  # an older server is told from no other one
        mixed_checkpoints=options.mixed_checkpoints,
    )


def config_bytes(config: EmbeddingConfig) -> bytes:
    """For config_of(), in another process."""
    return msgspec.json.encode(config)


_DECODER = msgspec.json.Decoder(EmbeddingConfig)


def config_of(data: bytes) -> EmbeddingConfig:
    """Raises InvalidInput."""
    try:
        return _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:  # of a middleware that is newer or older
        raise InvalidInput(f"expected an embedding config as this release has it, got another one: {error}") from None
