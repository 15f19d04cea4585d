"""All keys with type, default, unit and description, read off the structs, so that no document can disagree with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import NODEFAULT
from msgspec import inspect as types

from persia.config import legacy
from persia.config.embedding_config import EmbeddingConfig
from persia.config.global_config import GlobalConfig
from persia.config.reader import expectation


class ConfigKey(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table. `default` is None for a key that must be there; NAME in `path` stands for any name."""

    path: str
    type: str
    default: str | None
    unit: str
    doc: str


def config_keys(struct: type[msgspec.Struct] = GlobalConfig) -> Iterator[ConfigKey]:
    """The keys of a config, in the order of its file."""
    kind = types.type_info(struct)
    assert isinstance(kind, types.StructType)
    yield from _walk(kind, "")


def _walk(kind: types.StructType, prefix: str) -> Iterator[ConfigKey]:
    for field in kind.fields:
        meta = field.type if isinstance(field.type, types.Metadata) else types.Metadata(field.type)
        inner, extra, schema = meta.type, meta.extra or {}, meta.extra_json_schema or {}
        path = prefix + field.name
        if isinstance(inner, types.StructType):
            yield from _walk(inner, path + ".")
            continue
        yield ConfigKey(
            path=path,
            type=expectation(field.type),
            default=None if field.required else str(extra.get("default", _shown(_default(field)))),
            unit=str(extra.get("unit", "")),
            doc=str(schema.get("description", "")),
        )
        if isinstance(inner, types.DictType) and isinstance(inner.value_type, types.StructType):
            yield from _walk(inner.value_type, f"{path}.NAME.")


def _default(field: types.Field) -> Any:
    return field.default if field.default is not NODEFAULT else field.default_factory()


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if value == ():
        return "[]"
    return str(value)


def markdown() -> str:
    """docs/configuration.md."""
    lines = [_HEAD]
    for struct, file, head, renames, ignored in (
        (GlobalConfig, "global_config.yaml", _GLOBAL, legacy.GLOBAL_RENAMES, legacy.GLOBAL_IGNORED),
        (EmbeddingConfig, "embedding_config.yml", _EMBEDDING, legacy.EMBEDDING_RENAMES, legacy.EMBEDDING_IGNORED),
    ):
        lines += [f"## {file}\n", head, "| key | type | default | unit | meaning |", "|---|---|---|---|---|"]
        for key in config_keys(struct):
            default = "**required**" if key.default is None else f"`{key.default}`"
            lines.append(f"| `{key.path}` | {key.type} | {default} | {key.unit} | {key.doc} |")
        lines += [f"\n### Old names in {file}\n", "| old | now |", "|---|---|"]
        lines += [f"| `{old}` | `{new}` |" for old, new in renames]
        lines += [f"\n### Ignored in {file}\n", "| key | why |", "|---|---|"]
        lines += [f"| `{key}` | {reason} |" for key, reason in ignored.items()]
        lines.append("")
    lines.append(_MEMORY)
    return "\n".join(lines)


_HEAD = """\
# Configuration

<!-- Generated: python -m persia.config > docs/configuration.md -->

Two files describe a deployment, and all of its processes read the same two files.

| file | command line | else |
|---|---|---|
| global_config.yaml | `--global-config` | `$PERSIA_GLOBAL_CONFIG` |
| embedding_config.yml | `--embedding-config` | `$PERSIA_EMBEDDING_CONFIG` |

A setting on the command line wins over the environment, the environment over the file, and the file over the default.

A key that is unknown, that stands in the file twice or whose value has the wrong type is an error, which names the file, the
line and the key. Names and texts are kept as written: `on` and `007` are names like any other, and `true` and `false` are the
only booleans. Anchors and aliases work; merge keys (`<<`) and tags do not. A section without keys has the defaults.

Files of Persia work as they are. An old key name gives one `ConfigWarning`, and so does a key that has no meaning for
inference. Both kinds are listed below; a key of an old section is listed under the new name of its section. A file that has
both the old and the new name of a key is an error, unless both have the same value.
"""

_MEMORY = """\
## Memory of requests

No key sets how much memory requests and answers may take that are under way. Each listener has a budget of its own, and refuses
calls beyond it with RESOURCE_EXHAUSTED, or with 503 over REST:

| server | budgets |
|---|---|
| embedding server | 2 GiB |
| middleware | 2 GiB, of which the answers of the shards are part |
| model server | 2 GiB for each listener of gRPC; 1 GiB, or `max_request_size`, for the requests of each one of REST |

[Threads of a server](architecture.md#threads-of-a-server) says what a budget counts.
"""

_GLOBAL = """\
This file says where the embedding servers are, and how the processes work. An example is
[global_config.yaml](../global_config.yaml).

The form `intent: {Infer: {servers: ..., embedding_checkpoint: ...}}` of earlier Persias works as well. A
`PersiaShardedServerConfig` that enables updates without an `incremental_dir` gets the default of its generation,
`/tmp/persia_inc/`.
"""

_EMBEDDING = """\
This file has the slots of the model. It must be the file with which the model was trained, because the place of a slot in the
table follows from the order of groups and slots. An example is [embedding_config.yml](../examples/embedding_config.yml).

Groups are numbered from 0, in the order of the file. Then every slot outside of all groups becomes a group of its own, in the
order of the slots.
The sign of an id is `id % (2^(64 - bits) - 1) + ((group + 1) << (64 - bits))`, with `bits` = `feature_index_prefix_bit`. A slot
with `ids_are_signs: true` is in no group, has no number, and leaves the numbers of the others as they are.
"""
