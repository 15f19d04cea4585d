"""The keys of earlier Persias: renamed to ours, or dropped, with one note for each of the two.

Persia's config had three generations: CamelCase sections (the inference guide), snake_case sections named after shards and
middleware, and those of the last release, which are ours too. Persia itself ignored what it did not know, so its users'
files hold keys of several generations at once.
"""

from __future__ import annotations

from persia.config.nodes import List, Map, Node, Scalar, child_path, describe

_SERVER = "embedding_parameter_server_config"
_WORKER = "embedding_worker_config"
_INFER = "common_config.infer_config"

# Applied from top to bottom: sections first, then keys by their section's new name.
GLOBAL_RENAMES = (
    ("PersiaCommonConfig", "common_config"),
    ("PersiaInferConfig", _INFER),
    ("PersiaMetricsConfig", "common_config.metrics_config"),
    ("PersiaShardedServerConfig", _SERVER),
    ("PersiaEmbeddingServerConfig", _SERVER),
    ("shard_server_config", _SERVER),
    ("embedding_server_config", _SERVER),
    ("PersiaMiddlewareConfig", _WORKER),
    ("middleware_config", _WORKER),
    ("common_config.intent", "common_config.job_type"),
    (f"{_SERVER}.intent", "common_config.job_type"),
    (f"{_SERVER}.job_type", "common_config.job_type"),
    ("common_config.servers", f"{_INFER}.servers"),
    ("common_config.initial_sparse_checkpoint", f"{_INFER}.embedding_checkpoint"),
    (f"{_INFER}.initial_sparse_checkpoint", f"{_INFER}.embedding_checkpoint"),
    ("common_config.num_embedding_io_workers", "common_config.checkpointing_config.num_workers"),
    (f"{_SERVER}.num_embedding_io_workers", "common_config.checkpointing_config.num_workers"),
    (f"{_SERVER}.num_persistence_workers", "common_config.checkpointing_config.num_workers"),
)

_METRICS = "common_config.metrics_config"

GLOBAL_IGNORED = {
    f"{_METRICS}.push_interval_seconds": "Prometheus fetches the metrics, and nothing pushes them",
    f"{_METRICS}.push_interval_sec": "Prometheus fetches the metrics, and nothing pushes them",
    f"{_METRICS}.push_interval": "Prometheus fetches the metrics, and nothing pushes them",
    f"{_SERVER}.num_hashmap_internal_shards": "the table here has no locks to spread",
    f"{_SERVER}.full_amount_manager_buffer_size": "only a trainer dumps checkpoints",
    f"{_SERVER}.num_signs_per_file": "only a trainer dumps checkpoints",
    f"{_SERVER}.embedding_recycle_pool_capacity": "only a trainer creates rows one by one",
    f"{_SERVER}.incremental_buffer_size": "only a trainer writes packets, with the `buffer_size` of its `IncrementalDumper`",
    f"{_SERVER}.incremental_channel_capacity": "only a trainer writes packets",
    f"{_WORKER}.forward_buffer_size": "only training keeps batches between two steps",
    f"{_WORKER}.buffered_data_expired_sec": "only training keeps batches between two steps",
}

EMBEDDING_RENAMES = (("slot_config", "slots_config"), ("slot_configs", "slots_config"))

# `*` stands for any slot.
EMBEDDING_IGNORED = {
    "forward_buffer_size": "only training keeps batches between two steps",
    "target_config": "labels are a trainer's matter",
    "slots_config.*.is_pid": "labels are a trainer's matter",
    "slots_config.*.is_uid": "labels are a trainer's matter",
    "slots_config.*.capacity": "the limit is one per server, `embedding_parameter_server_config.capacity`",
    "slots_config.*.index_prefix": "0 means computed, which it always is",
}


class ConfigWarning(UserWarning):
    """A config file holds a key of an earlier Persia that was renamed, or that means nothing for inference."""


def modernise_global(root: Map) -> list[str]:
    """Renames and drops the old keys of a global config, in place. Nodes keep the path that they have in the file.

    Returns:
        What the user should be warned of.
    """
    notes = _first_generation_default(root)
    _unfold_intent(root)
    return notes + _modernise(root, GLOBAL_RENAMES, GLOBAL_IGNORED)


def modernise_embedding(root: Map) -> list[str]:
    """As modernise_global, for an embedding config."""
    slots = next((root.entries[key] for key in ("slots_config", "slot_config", "slot_configs") if key in root.entries), None)
    for slot in slots.entries.values() if isinstance(slots, Map) else ():
        prefix = slot.entries.get("index_prefix") if isinstance(slot, Map) else None
        if prefix is not None and not (isinstance(prefix, Scalar) and prefix.text == "0"):
            raise prefix.error(f"expected no prefix but the computed one, got {describe(prefix)}: use `feature_groups`")
    notes = _numbered_groups(root.entries.get("feature_groups"), slots) if "slot_config" in root.entries else []
    return notes + _modernise(root, EMBEDDING_RENAMES, EMBEDDING_IGNORED)


def _modernise(root: Map, renames: tuple[tuple[str, str], ...], ignored: dict[str, str]) -> list[str]:
    renamed = [done for old, new in renames if (done := _rename(root, old, new))]
    dropped = [done for key, reason in ignored.items() for done in _drop(root, key.split("."), reason)]
    notes = [f"old key names: {'; '.join(renamed)}"] if renamed else []
    return notes + ([f"ignored, without a meaning for inference: {'; '.join(dropped)}"] if dropped else [])


def _first_generation_default(root: Map) -> list[str]:
    """That generation looked for packets elsewhere: with our default a server would wait at the wrong place, in silence."""
    server = root.entries.get("PersiaShardedServerConfig")
    if not isinstance(server, Map) or "incremental_dir" in server.entries:
        return []
    enabled = server.entries.get("enable_incremental_update")
    if not isinstance(enabled, Scalar) or enabled.text.lower() != "true":
        return []
    path = child_path(server.path, "incremental_dir")
    server.entries["incremental_dir"] = Scalar(path, server.line, server.file, "/tmp/persia_inc/")
    return [f"`{path}` is not set: taking `/tmp/persia_inc/`, the default of its generation"]


def _unfold_intent(root: Map) -> None:
    """`intent: {Infer: {servers: ...}}` -> `intent: Infer` and `infer_config: {servers: ...}`."""
    common = root.entries.get("common_config")
    intent = common.entries.get("intent") if isinstance(common, Map) else None
    if not isinstance(common, Map) or not isinstance(intent, Map) or list(intent.entries) != ["Infer"]:
        return
    if there := common.entries.get("infer_config"):
        raise intent.error(f"an old form of `{_INFER}`, which is also set on line {there.line}")
    common.entries["infer_config"] = intent.entries["Infer"]
    common.entries["intent"] = Scalar(intent.path, intent.line, intent.file, "Infer")


def _numbered_groups(groups: Node | None, slots: Node | None) -> list[str]:
    """With `slot_config` a group's name could be its number. Here, as in the last release, that is its place in the file."""
    if not isinstance(groups, Map) or not groups.entries or not all(name.isdecimal() for name in groups.entries):
        return []
    in_order = all(name == str(i + 1) for i, name in enumerate(groups.entries))
    grouped = sum(len(members.items) for members in groups.entries.values() if isinstance(members, List))
    if in_order and isinstance(slots, Map) and grouped == len(slots.entries):
        return []
    return [
        f"`{groups.path}`: a group named by a number had that number in the first generation; here a group's number is its "
        "place in the file, and slots outside every group follow"
    ]


def _find(root: Map, keys: list[str]) -> Map | None:
    """The mapping that holds the last of `keys`, if it holds it."""
    node: Node | None = root
    for key in keys[:-1]:
        node = node.entries.get(key) if isinstance(node, Map) else None
    return node if isinstance(node, Map) and keys[-1] in node.entries else None


def _rename(root: Map, old: str, new: str) -> str | None:
    """Moves the value at `old` to `new`; says so, or returns None if there is nothing to move."""
    keys, new_keys = old.split("."), new.split(".")
    holder = _find(root, keys)
    if holder is None:
        return None
    value = holder.entries.pop(keys[-1])
    target = root
    for key in new_keys[:-1]:
        below = target.entries.setdefault(key, Map(value.path, value.line, value.file))
        if not isinstance(below, Map):
            raise below.error(f"expected a mapping, got {describe(below)}")
        target = below
    there = target.entries.get(new_keys[-1])
    if there is None:
        target.entries[new_keys[-1]] = value
    elif not (isinstance(there, Scalar) and isinstance(value, Scalar) and there.text == value.text):
        raise value.error(f"an old name of `{new}`, which is also set on line {there.line}")
    return f"`{value.path}` is now `{new}`"


def _drop(node: Node, keys: list[str], reason: str) -> list[str]:
    """Removes what is at `keys`; says so, once for each key of the file."""
    if not isinstance(node, Map):
        return []
    if len(keys) == 1:
        value = node.entries.pop(keys[0], None)
        return [] if value is None else [f"`{value.path}` ({reason})"]
    names = list(node.entries) if keys[0] == "*" else [keys[0]]
    return [done for name in names if name in node.entries for done in _drop(node.entries[name], keys[1:], reason)]
