"""The schema of global_config.yaml. A field's type, default, unit and description are its documentation, too."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from persia.config.nodes import Node, Scalar, describe
from persia.config.security import SecurityConfig
from persia.config.servers import read_servers

_PositiveInt = Annotated[int, Meta(ge=1, le=2**63 - 1)]
_Path = Annotated[str, Meta(min_length=1)]


def _read_job_type(node: Node) -> str:
    text = node.text.lower() if isinstance(node, Scalar) else ""
    if text in ("train", "eval"):
        # In Persia one binary reads this key to find out which of the two it is, so no file was ever shared between a
        # trainer and an inference server: serving from a trainer's file is a mix-up, not a habit to support.
        raise node.error(f"expected `Infer`, got {describe(node)}: this is a trainer's file, and persia-serve only infers")
    if text != "infer":
        raise node.error(f"expected `Infer`, got {describe(node)}")
    return "Infer"


class InferConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the embedding servers are, and what they load."""

    servers: Annotated[
        tuple[tuple[str, ...], ...],
        Meta(
            description="The embedding servers as `host:port`. The order is the shard number. An entry that is a list names "
            "the replicas of one shard.",
            extra={"read": read_servers, "type": "a list of `host:port`, or of lists of `host:port`"},
        ),
    ] = ()
    embedding_checkpoint: Annotated[
        _Path | None, Meta(description="The sparse checkpoint directory that an embedding server loads before it serves.")
    ] = None


class CheckpointingConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How checkpoints and packets are read."""

    num_workers: Annotated[
        int, Meta(ge=1, le=1024, description="How many files are read and decoded at a time.", extra={"unit": "threads"})
    ] = 4


class MetricsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is measured, and under which name."""

    enable_metrics: Annotated[bool, Meta(description="Whether a server offers metrics.")] = False
    job_name: Annotated[str, Meta(min_length=1, description="The `job` label of every metric.")] = "persia_default_jobname"


class CommonConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all processes share."""

    job_type: Annotated[
        Literal["Infer"],
        Meta(
            description="Always `Infer`; kept because Persia's files have it. `Train` and `Eval` are errors.",
            extra={"read": _read_job_type},
        ),
    ] = "Infer"
    infer_config: InferConfig = InferConfig()
    checkpointing_config: CheckpointingConfig = CheckpointingConfig()
    metrics_config: MetricsConfig = MetricsConfig()


class EmbeddingParameterServerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One embedding server (Persia's embedding parameter server)."""

    capacity: Annotated[
        _PositiveInt | None,
        Meta(
            description="The most rows that one server holds; beyond it the least recently used goes. Nothing is set aside "
            "in advance.",
            extra={"unit": "rows", "default": "no limit"},
        ),
    ] = None
    row_storage: Annotated[
        Literal["f32", "f16", "int8"],
        Meta(description="How a row is kept in memory: `f32` as trained, `f16` in half, `int8` (with a scale) in a quarter."),
    ] = "f32"
    non_finite_rows: Annotated[
        Literal["accept", "refuse"],
        Meta(
            description="What becomes of a file with a row that has a NaN or an infinite number: with `accept` it is loaded, "
            "and the log names it; with `refuse` a packet is set aside, and a checkpoint is not loaded."
        ),
    ] = "accept"
    enable_incremental_update: Annotated[
        bool, Meta(description="Whether packets in `incremental_dir` are applied while serving.")
    ] = False
    incremental_dir: Annotated[_Path, Meta(description="The directory that a trainer writes its update packets to.")] = (
        "/workspace/incremental_dir/"
    )
    incremental_prune_before_checkpoint: Annotated[
        bool,
        Meta(
            description="Whether packets are deleted that are older than the checkpoint that the servers of all shards started "
            "from, and than the one in `embedding_checkpoint`."
        ),
    ] = False
    incremental_prune_older_than_seconds: Annotated[
        _PositiveInt | None,
        Meta(
            description="Packets older than so long are deleted when the servers of all shards have applied them, and the "
            "checkpoint in `embedding_checkpoint` is newer. None is deleted that a restart would miss.",
            extra={"unit": "s", "default": "never"},
        ),
    ] = None


_Milliseconds = Annotated[int, Meta(ge=1, le=3_600_000)]


class EmbeddingWorkerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The middleware (Persia's embedding worker), and an `InferCtx` that routes by itself."""

    lookup_timeout_ms: Annotated[
        _Milliseconds,
        Meta(description="How long a lookup may take whose caller gives no time of its own.", extra={"unit": "ms"}),
    ] = 10_000
    hedge_after_ms: Annotated[
        _Milliseconds,
        Meta(
            description="After how long a replica that has not answered is hedged by another one of the same shard.",
            extra={"unit": "ms"},
        ),
    ] = 100
    wait_for_shard_ms: Annotated[
        _Milliseconds,
        Meta(
            description="How long a lookup waits for a shard of which no replica can be used, for instance while it restarts.",
            extra={"unit": "ms"},
        ),
    ] = 1_000
    stay_awake_us: Annotated[
        int,
        Meta(
            ge=0,
            le=10_000,
            description="How long who waits for shards looks for their answers, at most, before it sleeps: then it is not "
            "woken, which takes long on virtual machines. Only a thread that waits alone in its process does so, and while "
            "answers come as soon as that; under a CPU quota (containers) it counts against the quota. 0: it always sleeps, "
            "which leaves more of the processors to others.",
            extra={"unit": "µs"},
        ),
    ] = 300
    missing_shard: Annotated[
        Literal["error", "zeros"],
        Meta(
            description="What becomes of a lookup when a shard is not there in time: `error`, or an answer with `zeros` for "
            "its rows, which says so."
        ),
    ] = "error"
    mixed_checkpoints: Annotated[
        Literal["old", "error"],
        Meta(
            description="What becomes of lookups while embedding servers hold different checkpoints, for instance because one "
            "was written over the other and a server was restarted: `old` asks only servers of the checkpoint that is served "
            "now, for as long as every shard has one; then of the newest that every shard has. `error` refuses lookups "
            "until all servers hold the same. Rows of two checkpoints are never mixed in one answer."
        ),
    ] = "old"
    clients_ask_shards: Annotated[
        bool,
        Meta(
            description="Whether clients such as handlers ask the embedding servers themselves, a hop less, where they reach "
            "them. They come to the middleware for everything else, and always where it answers with zeros for missing shards."
        ),
    ] = True


class GlobalConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """global_config.yaml: what the processes of one deployment have in common."""

    common_config: CommonConfig = CommonConfig()
    embedding_parameter_server_config: EmbeddingParameterServerConfig = EmbeddingParameterServerConfig()
    embedding_worker_config: EmbeddingWorkerConfig = EmbeddingWorkerConfig()
    security: SecurityConfig = SecurityConfig()
