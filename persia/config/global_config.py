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


def _read_storage(node: Node) -> str:
    text = node.text.lower() if isinstance(node, Scalar) else ""
    if text not in ("ceph", "hdfs"):
        raise node.error(f"expected `ceph` or `hdfs`, got {describe(node)}: a URL such as s3://bucket/path needs no `storage`")
    return text


class InferConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the embedding servers are, and what they load."""

    servers: Annotated[
        tuple[tuple[str, ...], ...],
        Meta(
            description="The addresses of the embedding servers, one entry for each shard, in the order of the shards. An "
            "entry that is a list names the replicas of one shard.",
            extra={"read": read_servers, "type": "a list of `host:port`, or of lists of `host:port`"},
        ),
    ] = ()
    embedding_checkpoint: Annotated[
        _Path | None,
        Meta(
            description="The sparse checkpoint directory that an embedding server loads before it serves: a path, or the URL "
            "of a store, such as `s3://bucket/path`."
        ),
    ] = None


class CheckpointingConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How checkpoints and packets are read."""

    num_workers: Annotated[
        int, Meta(ge=1, le=1024, description="How many files are read and decoded at a time.", extra={"unit": "threads"})
    ] = 4


class MetricsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is measured, and under which name."""

    enable_metrics: Annotated[bool, Meta(description="Whether a server offers metrics.")] = False
    legacy_names: Annotated[
        bool,
        Meta(
            description="Whether each metric is offered under its earlier names as well, of which some are Persia's, and "
            "every metric has the label `job`. For dashboards that ask for these."
        ),
    ] = False
    job_name: Annotated[str, Meta(min_length=1, description="The `job` label of every metric, with `legacy_names`.")] = (
        "persia_default_jobname"
    )


class CommonConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all processes share."""

    job_type: Annotated[
        Literal["Infer"],
        Meta(
            description="Always `Infer`; kept because Persia's files have it. `Train` and `Eval` are errors.",
            extra={"read": _read_job_type},
        ),
    ] = "Infer"
    deployment: Annotated[
        str,
        Meta(
            description="A name that no other deployment has, of any form. Clients and routers that have one do not ask "
            "servers with another one: an address that a server has left may be given to a server of another deployment.",
        ),
    ] = ""
    infer_config: InferConfig = InferConfig()
    checkpointing_config: CheckpointingConfig = CheckpointingConfig()
    metrics_config: MetricsConfig = MetricsConfig()


class EmbeddingParameterServerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One embedding server (Persia's embedding parameter server)."""

    capacity: Annotated[
        _PositiveInt | None,
        Meta(
            description="The most rows that one server holds. Beyond this number the least recently used rows are removed. No "
            "memory is reserved in advance.",
            extra={"unit": "rows", "default": "no limit"},
        ),
    ] = None
    row_storage: Annotated[
        Literal["f32", "f16", "int8", "uint8"],
        Meta(
            description="How rows are kept in memory: `f32` as trained, `f16` in half of the memory, `int8` (with a scale) in "
            "a quarter. `uint8` (with a scale and a bias) takes four bytes a row more, and keeps rows exactly that FBGEMM has "
            "quantised."
        ),
    ] = "f32"
    non_finite_rows: Annotated[
        Literal["accept", "refuse"],
        Meta(
            description="What happens to a file with a NaN or an infinite number in a row. `accept` loads the file, and the "
            "log names it. `refuse` sets such a packet aside and does not load such a checkpoint."
        ),
    ] = "accept"
    enable_incremental_update: Annotated[
        bool, Meta(description="Whether the server applies packets from `incremental_dir` while it serves.")
    ] = False
    incremental_dir: Annotated[
        _Path,
        Meta(
            description="The directory to which a trainer writes its update packets: a path, or the URL of a store, such as "
            "`s3://bucket/path`."
        ),
    ] = "/workspace/incremental_dir/"
    storage: Annotated[
        Literal["ceph", "hdfs"],
        Meta(
            description="What a plain path in `embedding_checkpoint` or `incremental_dir` means: `ceph` a path of a mounted "
            "file system, of any kind, and `hdfs` a path in the file system that Hadoop's configuration names. A URL says "
            "itself what it means.",
            extra={"read": _read_storage},
        ),
    ] = "ceph"
    local_buffer_dir: Annotated[
        _Path | None,
        Meta(
            description="The directory of the local disk in which files of a store lie while they are read; without the key, "
            "the system's temporary directory. Packets stay there until the store deletes them, with notes of what was "
            "applied, so a restart does not fetch them again.",
        ),
    ] = None
    storage_poll_ms: Annotated[
        int,
        Meta(
            ge=50,
            le=600_000,
            description="How long a server waits between two looks for new packets in a store. A look is one request for each "
            "training shard, and one more with `enable_epochs`.",
            extra={"unit": "ms"},
        ),
    ] = 500
    storage_list_all_seconds: Annotated[
        int,
        Meta(
            ge=1,
            le=86_400,
            description="How long a server waits between two listings of all packets in a store. They find what looks for new "
            "packets do not: a packet that came late, was changed or was deleted. A listing is one request for each thousand "
            "files.",
            extra={"unit": "s"},
        ),
    ] = 300
    enable_epochs: Annotated[
        bool,
        Meta(
            description="Whether packets are applied by epochs, with `enable_incremental_update`. Each lookup is then "
            "answered from one epoch on all servers. All servers of a deployment have to have the same setting."
        ),
    ] = False
    retained_epochs: Annotated[
        int,
        Meta(
            ge=1,
            le=1000,
            description="How many epochs before the current one a server keeps readable, so that it and slower servers have "
            "one in common. Epochs of the last three seconds are kept as well. What they need beyond the current rows is at "
            "most `retained_epochs_percent` of the table's memory, or 64 MiB.",
        ),
    ] = 8
    retained_epochs_percent: Annotated[
        int,
        Meta(
            ge=1,
            le=400,
            description="How much of the table's memory earlier epochs may take, if that is more than 64 MiB. Beyond it the "
            "oldest go early, and an epoch with a new checkpoint that differs in more is not built. 200 is enough for one in "
            "which each row is another one.",
            extra={"unit": "%"},
        ),
    ] = 10
    incremental_prune_before_checkpoint: Annotated[
        bool,
        Meta(
            description="Whether old packets are deleted. A packet is deleted when it is older than the checkpoint in "
            "`embedding_checkpoint`, and older than the checkpoint from which the servers of every shard started."
        ),
    ] = False
    incremental_prune_older_than_seconds: Annotated[
        _PositiveInt | None,
        Meta(
            description="The age after which packets are deleted, if the servers of all shards have applied them and the "
            "checkpoint in `embedding_checkpoint` is newer. A packet that a restart would need is never deleted.",
            extra={"unit": "s", "default": "never"},
        ),
    ] = None


_Milliseconds = Annotated[int, Meta(ge=1, le=3_600_000)]


class EmbeddingWorkerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The middleware (Persia's embedding worker), and an `InferCtx` that routes by itself."""

    lookup_timeout_ms: Annotated[
        _Milliseconds,
        Meta(description="How long a lookup may take if its caller sets no deadline.", extra={"unit": "ms"}),
    ] = 10_000
    hedge_after_ms: Annotated[
        _Milliseconds,
        Meta(
            description="How long a replica may take to answer before the same request goes to another replica of the shard, "
            "too. It does not go to one that is slow itself, so where all replicas of a shard are slow a request waits for the "
            "first one.",
            extra={"unit": "ms"},
        ),
    ] = 100
    wait_for_shard_ms: Annotated[
        _Milliseconds,
        Meta(
            description="How long a lookup waits for a shard without a usable replica, for instance while the shard restarts.",
            extra={"unit": "ms"},
        ),
    ] = 1_000
    stay_awake_us: Annotated[
        int,
        Meta(
            ge=0,
            le=10_000,
            description="How long a thread that waits for shards polls for their answers before it sleeps. Polling saves the "
            "time of waking the thread, which is long on virtual machines. A thread polls only while it waits alone in its "
            "process and the last answers came within this time. Under a CPU quota (containers), polling counts against the "
            "quota. With 0 a thread always sleeps, which leaves more of the processors to other processes.",
            extra={"unit": "µs"},
        ),
    ] = 300
    missing_shard: Annotated[
        Literal["error", "zeros"],
        Meta(
            description="What happens to a lookup when a shard does not answer in time. `error` fails the lookup. `zeros` "
            "answers with zeros for the rows of the shard, and the answer names the shard."
        ),
    ] = "error"
    mixed_checkpoints: Annotated[
        Literal["old", "error"],
        Meta(
            description="What happens to lookups while embedding servers hold different checkpoints, for instance because a "
            "checkpoint was overwritten and one server was restarted. `old` keeps to the checkpoint that is served now, for as "
            "long as every shard has a server with it, and then takes the newest checkpoint that every shard has. `error` "
            "refuses lookups until all servers hold the same checkpoint. Rows of two checkpoints are never mixed in an answer."
        ),
    ] = "old"
    clients_ask_shards: Annotated[
        bool,
        Meta(
            description="Whether clients such as handlers ask the embedding servers directly where they can reach them, which "
            "saves a hop. A client asks the middleware for everything else, and always with `missing_shard: zeros`. With "
            "more than a hundred shards write `false`: each process that asks them has a thread for each server."
        ),
    ] = True


class GlobalConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """global_config.yaml: what the processes of one deployment have in common."""

    common_config: CommonConfig = CommonConfig()
    embedding_parameter_server_config: EmbeddingParameterServerConfig = EmbeddingParameterServerConfig()
    embedding_worker_config: EmbeddingWorkerConfig = EmbeddingWorkerConfig()
    security: SecurityConfig = SecurityConfig()
