"""global_config.yaml: what is accepted, under which old names, and what every mistake says."""

import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from config_fuzz import config_or_error, mutants, trees
from hypothesis import given, settings

from persia.config import (
    ConfigWarning,
    EmbeddingConfig,
    GlobalConfig,
    config_keys,
    load_global_config,
    parse_global_config,
)
from persia.config.keys import markdown
from persia.errors import ConfigError

ROOT = Path(__file__).resolve().parent.parent

LAST_RELEASE = """\
common_config:
  metrics_config:
    enable_metrics: true
    push_interval_sec: 20
  job_type: Infer
  infer_config:
    servers:
      - embedding_parameter_server:8888
      - embedding_parameter_server:8889
    embedding_checkpoint: /cache/adult_income_ckpt/
  checkpointing_config:
    num_workers: 8
embedding_parameter_server_config:
  capacity: 1000000
  num_hashmap_internal_shards: 1
  enable_incremental_update: false
  incremental_buffer_size: 5000000
  incremental_channel_capacity: 1000
embedding_worker_config:
  forward_buffer_size: 1000
"""

SHARD_SERVER = """\
common_config:
  metrics_config:
    enable_metrics: true
    push_interval_sec: 20
  job_type: Infer
  infer_config:
    servers:
      - emb_server:8888
    embedding_checkpoint: /workspace/infer_checkpoint/cpu
shard_server_config:
  capacity: 10000000000
  num_hashmap_internal_shards: 128
  full_amount_manager_buffer_size: 1000
  num_persistence_workers: 6
  num_signs_per_file: 5000000
  storage: Ceph
  enable_incremental_update: true
  incremental_buffer_size: 5000000
  incremental_dir: /inc/
  incremental_channel_capacity: 1000
  embedding_recycle_pool_capacity: 10
middleware_config:
  forward_buffer_size: 1000
  buffered_data_expired_sec: 1000
"""

EMBEDDING_SERVER = """\
common_config:
  num_embedding_io_workers: 5
  metrics_config:
    enable_metrics: true
    push_interval_seconds: 20
  job_type: Infer
  infer_config:
    servers:
      - emb_server:8888
    embedding_checkpoint: /cache/infer_checkpoint
embedding_server_config:
  capacity: 1000000
  num_hashmap_internal_shards: 1
  num_embedding_io_workers: 5
  enable_incremental_update: false
middleware_config:
  forward_buffer_size: 1000
"""

CAMEL_CASE = """\
PersiaInferConfig:
  # list of embedding servers(ip:port)
  servers:
    - emb_server_1:8000
    - emb_server_2:8000
  initial_sparse_checkpoint: /your/sparse/model/dir
PersiaShardedServerConfig:
  intent: infer
  capacity: 100000000
  num_hashmap_internal_shards: 128
  full_amount_manager_buffer_size: 1000
  num_persistence_workers: 7
  num_signs_per_file: 5000000
  storage: hdfs
  enable_incremental_update: true
  local_buffer_dir: /tmp/
  incremental_buffer_size: 5000000
  incremental_dir: /inc/
  incremental_channel_capacity: 1000
PersiaMiddlewareConfig:
  forward_buffer_size: 1000
PersiaMetricsConfig:
  enable_metrics: true
  push_interval: 30
"""

GENERATIONS = [LAST_RELEASE, SHARD_SERVER, EMBEDDING_SERVER, CAMEL_CASE]


def parse(text: str | bytes) -> GlobalConfig:
    """Parses a text that must not warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return parse_global_config(text)


def parse_old(text: str) -> tuple[GlobalConfig, list[str]]:
    with pytest.warns(ConfigWarning) as caught:
        config = parse_global_config(text, "g.yml")
    return config, [str(w.message) for w in caught]


def error_of(text: str | bytes, file: str | None = None) -> str:
    with warnings.catch_warnings(), pytest.raises(ConfigError) as caught:
        warnings.simplefilter("ignore", ConfigWarning)
        parse_global_config(text, file)
    return str(caught.value)


def test_the_example_holds_only_current_names() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = load_global_config(ROOT / "global_config.yaml")
    assert config.common_config.infer_config.servers == (("127.0.0.1:8888",), ("127.0.0.1:8889",))


def test_last_release() -> None:
    config, notes = parse_old(LAST_RELEASE)
    infer = config.common_config.infer_config
    assert infer.servers == (("embedding_parameter_server:8888",), ("embedding_parameter_server:8889",))
    assert infer.embedding_checkpoint == "/cache/adult_income_ckpt/"
    assert config.common_config.checkpointing_config.num_workers == 8
    assert config.common_config.metrics_config.enable_metrics is True
    assert config.common_config.metrics_config.push_interval_seconds == 20
    assert config.embedding_parameter_server_config.capacity == 1_000_000
    assert notes[0] == (
        "g.yml: old key names: `$.common_config.metrics_config.push_interval_sec` is now "
        "`common_config.metrics_config.push_interval_seconds`"
    )
    assert re.findall(r"`\$\.(\S+)`", notes[1]) == [
        "embedding_parameter_server_config.num_hashmap_internal_shards",
        "embedding_parameter_server_config.incremental_buffer_size",
        "embedding_parameter_server_config.incremental_channel_capacity",
        "embedding_worker_config.forward_buffer_size",
    ]
    assert len(notes) == 2


def test_the_same_file_with_current_names_does_not_warn() -> None:
    text = re.sub(r".*(num_hashmap|incremental_buffer|incremental_channel|forward_buffer).*\n", "", LAST_RELEASE)
    assert parse(text.replace("interval_sec:", "interval_seconds:")) == parse_old(LAST_RELEASE)[0]


def test_shard_server_generation() -> None:
    config, notes = parse_old(SHARD_SERVER)
    server = config.embedding_parameter_server_config
    assert (server.capacity, server.enable_incremental_update, server.incremental_dir) == (10**10, True, "/inc/")
    assert config.common_config.checkpointing_config.num_workers == 6
    assert "`$.shard_server_config` is now `embedding_parameter_server_config`" in notes[0]
    assert "`$.shard_server_config.num_persistence_workers` is now" in notes[0]
    assert "`$.shard_server_config.storage` (paths are read as they stand" in notes[1]


def test_embedding_server_generation() -> None:
    config, notes = parse_old(EMBEDDING_SERVER)
    assert config.common_config.checkpointing_config.num_workers == 5
    assert config.common_config.metrics_config.push_interval_seconds == 20
    assert config.embedding_parameter_server_config.capacity == 1_000_000
    assert "`$.embedding_server_config` is now `embedding_parameter_server_config`" in notes[0]


def test_camel_case_generation() -> None:
    config, notes = parse_old(CAMEL_CASE)
    assert config.common_config.infer_config.servers == (("emb_server_1:8000",), ("emb_server_2:8000",))
    assert config.common_config.infer_config.embedding_checkpoint == "/your/sparse/model/dir"
    assert config.common_config.metrics_config.push_interval_seconds == 30
    assert config.common_config.checkpointing_config.num_workers == 7
    assert config.embedding_parameter_server_config.incremental_dir == "/inc/"
    assert "`$.PersiaInferConfig` is now `common_config.infer_config`" in notes[0]
    assert len(notes) == 2


def test_the_inference_guide_alone() -> None:
    config, _ = parse_old("PersiaInferConfig:\n  servers:\n    - a:1\n  initial_sparse_checkpoint: /c\n")
    assert config.common_config.infer_config.servers == (("a:1",),)
    assert config.common_config.job_type == "Infer"


@pytest.mark.parametrize(("enabled", "expected"), [("true", "/tmp/persia_inc/"), ("false", "/workspace/incremental_dir/")])
def test_camel_case_keeps_its_default_directory(enabled: str, expected: str) -> None:
    config, notes = parse_old(f"PersiaShardedServerConfig:\n  enable_incremental_update: {enabled}\n")
    assert config.embedding_parameter_server_config.incremental_dir == expected
    assert any("`/tmp/persia_inc/`" in note for note in notes) is (enabled == "true")


def test_the_last_tutorial_has_servers_beside_job_type() -> None:
    config, _ = parse_old("common_config:\n  job_type: Infer\n  servers: [a:1]\n  initial_sparse_checkpoint: /c\n")
    assert config.common_config.infer_config.servers == (("a:1",),)
    assert config.common_config.infer_config.embedding_checkpoint == "/c"


def test_intent_as_enum_with_content() -> None:
    config, _ = parse_old("common_config:\n  intent:\n    Infer:\n      servers: [a:1]\n      embedding_checkpoint: /c\n")
    assert config.common_config.infer_config.servers == (("a:1",),)
    assert config.common_config.job_type == "Infer"


def test_errors_in_old_sections_name_the_place_in_the_file() -> None:
    assert error_of("PersiaInferConfig:\n  servers: [a:1, b]\n", "g.yml") == (
        "g.yml, line 2: expected `host:port`, got `b` - at `$.PersiaInferConfig.servers[1]`"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "common_config:\n  job_type: Train\n",
            "line 2: expected `Infer`, got `Train`: this is a trainer's file, and persia-serve only infers"
            " - at `$.common_config.job_type`",
        ),
        (
            "PersiaShardedServerConfig: {intent: train}",
            "line 1: expected `Infer`, got `train`: this is a trainer's file, and persia-serve only infers"
            " - at `$.PersiaShardedServerConfig.intent`",
        ),
        ("common_config: {job_type: Serve}", "line 1: expected `Infer`, got `Serve` - at `$.common_config.job_type`"),
        (
            "embedding_parameter_server_config:\n  capcity: 1\n",
            "line 2: unknown key `capcity`, did you mean `capacity`? - at `$.embedding_parameter_server_config.capcity`",
        ),
        (
            "zzz: 1",
            "line 1: unknown key `zzz`, known here: `common_config`, `embedding_parameter_server_config`,"
            " `embedding_worker_config` - at `$.zzz`",
        ),
        (
            "embedding_worker_config: {x: 1}",
            "line 1: unknown key `x`, no keys are known here - at `$.embedding_worker_config.x`",
        ),
        (
            "embedding_parameter_server_config:\n\n  capacity: many\n",
            "line 3: expected an integer from 1 to 9223372036854775807, got `many`"
            " - at `$.embedding_parameter_server_config.capacity`",
        ),
        (
            "common_config: {checkpointing_config: {num_workers: 0}}",
            "line 1: expected an integer from 1 to 1024, got `0` - at `$.common_config.checkpointing_config.num_workers`",
        ),
        (
            "common_config: {checkpointing_config: {num_workers: '4'}}",
            "line 1: expected an integer from 1 to 1024, got the text '4'"
            " - at `$.common_config.checkpointing_config.num_workers`",
        ),
        (
            "common_config: {checkpointing_config: {num_workers: 010}}",
            "line 1: expected an integer from 1 to 1024, got `010` - at `$.common_config.checkpointing_config.num_workers`",
        ),
        (
            "common_config: {metrics_config: {enable_metrics: yes}}",
            "line 1: expected true or false, got `yes` - at `$.common_config.metrics_config.enable_metrics`",
        ),
        (
            "common_config: {metrics_config: {job_name: }}",
            "line 1: expected a text that is not empty, got nothing (null) - at `$.common_config.metrics_config.job_name`",
        ),
        (
            "common_config: {metrics_config: {job_name: [a]}}",
            "line 1: expected a text that is not empty, got a list - at `$.common_config.metrics_config.job_name`",
        ),
        (
            "embedding_parameter_server_config: {row_storage: f61}",
            "line 1: expected `f16` or `f32` or `int8`, got `f61` - at `$.embedding_parameter_server_config.row_storage`",
        ),
        ("common_config: 5", "line 1: expected a mapping, got `5` - at `$.common_config`"),
        ("common_config:\n  # below\n  - 5\n", "line 1: expected a mapping, got a list - at `$.common_config`"),
        (
            "common_config: {infer_config: {embedding_checkpoint: ''}}",
            "line 1: expected a text that is not empty, got the text ''"
            " - at `$.common_config.infer_config.embedding_checkpoint`",
        ),
        ("common_config: [5]", "line 1: expected a mapping, got a list - at `$.common_config`"),
        ("", "the file is empty: expected a mapping - at `$`"),
        ("# nothing\n", "the file is empty: expected a mapping - at `$`"),
        ("- a\n", "line 1: expected a mapping, got a list - at `$`"),
        ("hello", "line 1: expected a mapping, got `hello` - at `$`"),
        ("a: 1\na: 2\n", "line 2: the key `a` stands twice, first on line 1 - at `$.a`"),
        (
            "common_config:\n  infer_config:\n    servers: [a:1]\n    servers: [b:1]\n",
            "line 4: the key `servers` stands twice, first on line 3 - at `$.common_config.infer_config.servers`",
        ),
        ("? [a]\n: 1\n", "line 1: expected a name as key, got a list - at `$`"),
        ("a: 1\n---\nb: 2\n", "line 2: expected one YAML document, got a second - at `$`"),
        (
            "a: !!python/object:os.system x",
            "line 1: expected no YAML tag, got `tag:yaml.org,2002:python/object:os.system` - at `$.a`",
        ),
        ("a: *b\n", "line 1: the alias `*b` names no complete value above it - at `$.a`"),
        ("a: &a [*a]\n", "line 1: the alias `*a` names no complete value above it - at `$.a[0]`"),
        ("a: 1\nb: \x01\n", "line 2: expected text, got the control character U+0001 - at `$`"),
        (b"a: 1\nb: \xff\n", "line 2: expected UTF-8, got the byte 0xff (byte 8 of the file) - at `$`"),
        ("x" * (1 << 24) + "x", "expected at most 16777216 bytes, got more - at `$`"),
        (
            "embedding_server_config: {}\nembedding_parameter_server_config: {}\n",
            "line 1: an old name of `embedding_parameter_server_config`, which is also set on line 2"
            " - at `$.embedding_server_config`",
        ),
        (
            "common_config:\n  metrics_config:\n    push_interval_sec: 3\n    push_interval_seconds: 4\n",
            "line 3: an old name of `common_config.metrics_config.push_interval_seconds`, which is also set on line 4"
            " - at `$.common_config.metrics_config.push_interval_sec`",
        ),
        (
            "common_config:\n  intent: {Infer: {}}\n  infer_config: {}\n",
            "line 2: an old form of `common_config.infer_config`, which is also set on line 3 - at `$.common_config.intent`",
        ),
        ("common_config: 1\nPersiaInferConfig: {}\n", "line 1: expected a mapping, got `1` - at `$.common_config`"),
    ],
)
def test_mistakes(text: str | bytes, message: str) -> None:
    assert error_of(text) == message


def test_mistakes_name_the_file_and_carry_their_parts() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_global_config("common_config: 5", "etc/g.yml")
    error = caught.value
    assert str(error) == "etc/g.yml, line 1: expected a mapping, got `5` - at `$.common_config`"
    assert (error.file, error.line, error.path) == ("etc/g.yml", 1, "$.common_config")
    assert error.problem == "expected a mapping, got `5`"


def test_syntax_errors_name_line_and_column() -> None:
    assert error_of("a: 1\nb: [1,\n", "g.yml").startswith("g.yml, line 3: not valid YAML at column 1: ")


def test_the_tutorial_as_printed_is_no_yaml_and_the_message_says_where() -> None:
    message = error_of("common_config:\n  job_type: Infer\n    servers:\n      - a:1\n")
    assert message.startswith("line 3: not valid YAML at column 12: mapping values are not allowed")
    assert "(is the line indented too far?)" in message


@pytest.mark.parametrize("loader", [yaml.SafeLoader, getattr(yaml, "CSafeLoader", yaml.SafeLoader)])
def test_with_and_without_libyaml(loader: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("persia.config.tree._Loader", loader)
    assert parse_old(CAMEL_CASE)[0].common_config.infer_config.servers == (("emb_server_1:8000",), ("emb_server_2:8000",))
    assert "not valid YAML" in error_of('a: "\\U00110000"')
    assert error_of("a: 1\nb: [1,\n").startswith("line 3: not valid YAML at column 1: ")
    assert "expected at most 32 levels" in error_of("[" * 5000)


def test_a_bomb_of_aliases_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    assert "expected at most 500000 values (aliases expanded), got more" in error_of("\n".join(lines))


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "a: " + "[" * 33, "{a: " * 50_000, "\n".join(" " * i + "a:" for i in range(40))]
)
def test_deep_nesting_is_refused(text: str) -> None:
    assert "expected at most 32 levels, got more" in error_of(text)


def test_aliases_inside_aliases_are_no_way_around_the_levels() -> None:
    lines = ["a0: &a0 x"] + [f"a{i}: &a{i} {'[' * 29}*a{i - 1}{']' * 29}" for i in range(1, 40)]
    assert "expected at most 32 levels (aliases expanded), got more" in error_of("\n".join(lines))


def test_aliases_work_and_errors_name_the_place_of_use() -> None:
    text = "common_config:\n  metrics_config: &m {enable_metrics: true}\n  checkpointing_config: *m\n"
    assert error_of(text) == (
        "line 3: unknown key `enable_metrics`, known here: `num_workers`"
        " - at `$.common_config.checkpointing_config.enable_metrics`"
    )
    text = "PersiaMiddlewareConfig: {forward_buffer_size: &l [a:1, b]}\nPersiaInferConfig:\n  servers: *l\n"
    assert error_of(text) == "line 3: expected `host:port`, got `b` - at `$.PersiaInferConfig.servers[1]`"
    text = "common_config: {metrics_config: {job_name: &n x1}, infer_config: {embedding_checkpoint: *n}}"
    assert parse(text).common_config.infer_config.embedding_checkpoint == "x1"


def test_texts_stay_as_written() -> None:
    for text in ("007", "on", "2022-01-01", "1e3", "1:30", "0x10", "true", "~/dir"):
        config = parse(f"common_config: {{metrics_config: {{job_name: {text}}}}}")
        assert config.common_config.metrics_config.job_name == text


def test_integers() -> None:
    for text, value in (("1_000_000", 10**6), ("1__0_", 10), ("+5", 5), ("0x10", 16), ("0o10", 8), (str(2**63 - 1), 2**63 - 1)):
        config = parse(f"embedding_parameter_server_config: {{capacity: {text}}}")
        assert config.embedding_parameter_server_config.capacity == value
    assert parse("embedding_parameter_server_config: {capacity: null}").embedding_parameter_server_config.capacity is None


def test_empty_sections_and_a_byte_order_mark() -> None:
    assert parse(b"\xef\xbb\xbfcommon_config:\nembedding_worker_config:\n") == GlobalConfig()
    assert parse("{}") == GlobalConfig()


def servers_of(text: str) -> tuple[tuple[str, ...], ...]:
    return parse(f"common_config: {{infer_config: {{servers: {text}}}}}").common_config.infer_config.servers


def test_servers_with_replicas() -> None:
    assert servers_of("[[a:1, b:1], [c:1], d:1]") == (("a:1", "b:1"), ("c:1",), ("d:1",))
    assert servers_of("[]") == ()


@pytest.mark.parametrize(
    "address",
    ["localhost:1", "10.0.0.1:65535", "'[::1]:8888'", "'[fe80::1]:80'", "a_b.c-d.example.:80", "x" * 63 + ":1", "1a:80"],
)
def test_addresses(address: str) -> None:
    assert servers_of(f"[{address}]") == ((address.strip("'"),),)


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("host", "expected `host:port`, got `host`"),
        ("':80'", "expected `host:port`, got `:80`"),
        ("''", "expected `host:port`, got ``"),
        ("'[::1]'", "expected `host:port`, got `[::1]`"),
        ("host:0", "expected `host:port` with a port from 1 to 65535, got `host:0`"),
        ("host:65536", "expected `host:port` with a port from 1 to 65535, got `host:65536`"),
        ("host:http", "expected `host:port` with a port from 1 to 65535, got `host:http`"),
        ("'host:'", "expected `host:port` with a port from 1 to 65535, got `host:`"),
        ("host:٣", "expected `host:port` with a port from 1 to 65535, got `host:٣`"),
        ("http://host:80", "expected `host:port` without a scheme, got `http://host:80`"),
        ("'::1:80'", "expected `host:port` with an IPv6 address in brackets, as in `[::1]:8888`, got `::1:80`"),
        ("'[::g]:80'", "expected `host:port` with an IPv6 address in the brackets, got `[::g]:80`"),
        ("'[10.0.0.1]:80'", "expected `host:port` with an IPv6 address in the brackets, got `[10.0.0.1]:80`"),
        ("10.0.0.256:80", "expected `host:port` with an IPv4 address, got `10.0.0.256:80`"),
        ("-host:80", "expected `host:port` with a DNS name, got `-host:80`"),
        ("a..b:80", "expected `host:port` with a DNS name, got `a..b:80`"),
        ("ho st:80", "expected `host:port` with a DNS name, got `ho st:80`"),
        ("x" * 64 + ":80", f"expected `host:port` with a DNS name, got `{'x' * 64}:80`"),
        ("null", "expected `host:port`, got nothing (null)"),
        ("{a: 1}", "expected `host:port`, got a mapping"),
        ("first:1", "`first:1` stands twice, first at `$.common_config.infer_config.servers[0]`"),
        ("[]", "expected at least one replica, got an empty list"),
    ],
)
def test_servers_that_are_none(entry: str, problem: str) -> None:
    message = error_of(f"common_config: {{infer_config: {{servers: [first:1, {entry}]}}}}")
    assert message == f"line 1: {problem} - at `$.common_config.infer_config.servers[1]`"


def test_a_broken_replica_is_named() -> None:
    message = error_of("common_config: {infer_config: {servers: [[a:1, b:1], [c:1, d]]}}")
    assert message == "line 1: expected `host:port`, got `d` - at `$.common_config.infer_config.servers[1][1]`"
    assert error_of("common_config: {infer_config: {servers: a:1}}") == (
        "line 1: expected a list of `host:port`, got `a:1` - at `$.common_config.infer_config.servers`"
    )


def test_configs_are_frozen() -> None:
    with pytest.raises(AttributeError):
        GlobalConfig().common_config.job_type = "Infer"  # type: ignore[misc]


def test_the_command_line_wins_over_the_environment(tmp_path: Path) -> None:
    for name in ("cli", "env"):
        (tmp_path / name).write_text(f"common_config: {{metrics_config: {{job_name: {name}}}}}")
    environ = {"PERSIA_GLOBAL_CONFIG": str(tmp_path / "env")}
    for path, expected in ((tmp_path / "cli", "cli"), (None, "env")):
        assert load_global_config(path, environ=environ).common_config.metrics_config.job_name == expected


def test_the_environment_is_the_process_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "g").write_text("{}")
    monkeypatch.setenv("PERSIA_GLOBAL_CONFIG", str(tmp_path / "g"))
    assert load_global_config() == GlobalConfig()


@pytest.mark.parametrize("environ", [{}, {"PERSIA_GLOBAL_CONFIG": ""}])
def test_no_file_named(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_global_config(environ=environ)
    assert str(caught.value) == "no global config: name one with --global-config or $PERSIA_GLOBAL_CONFIG - at `$`"


def test_missing_files_say_how_they_were_chosen(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.yml")
    with pytest.raises(FileNotFoundError, match=r"the global config, chosen by --global-config: .*missing.yml"):
        load_global_config(missing)
    with pytest.raises(FileNotFoundError, match=r"the global config, chosen by \$PERSIA_GLOBAL_CONFIG: .*missing.yml"):
        load_global_config(environ={"PERSIA_GLOBAL_CONFIG": missing})
    with pytest.raises(IsADirectoryError, match="chosen by --global-config"):
        load_global_config(tmp_path)


def test_errors_and_warnings_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "g.yml"
    path.write_text("middleware_config: {}\nx: 1\n")
    with pytest.warns(ConfigWarning, match=re.escape(f"{path}: old key names")) as caught, pytest.raises(ConfigError) as error:
        load_global_config(path)
    assert caught[0].filename == __file__
    assert error.value.file == str(path)


def test_documentation_is_generated_from_the_code() -> None:
    assert (ROOT / "docs" / "configuration.md").read_text() == markdown(), "python -m persia.config > docs/configuration.md"
    run = subprocess.run([sys.executable, "-m", "persia.config"], capture_output=True, text=True, check=True)
    assert run.stdout == markdown()


@pytest.mark.parametrize("struct", [GlobalConfig, EmbeddingConfig])
def test_every_key_is_documented_and_has_its_default(struct: type[msgspec.Struct]) -> None:
    keys = list(config_keys(struct))
    assert all(key.doc and key.type for key in keys)
    assert len({key.path for key in keys}) == len(keys)
    if struct is GlobalConfig:
        for key in keys:
            value: Any = GlobalConfig()
            for name in key.path.split("."):
                value = getattr(value, name)
            shown = {None: ("none", "no limit"), True: ("true",), False: ("false",), (): ("[]",)}.get(value, (str(value),))
            assert key.default in shown


KEYS = sorted({part for line in (*GENERATIONS, "row_storage:") for part in re.findall(r"(\w+):", line)} | {"intent", "Infer"})


@settings(max_examples=300, deadline=None)
@given(trees(KEYS))
def test_any_tree_is_a_config_or_a_config_error(tree: object) -> None:
    config_or_error(parse_global_config, tree)


@settings(max_examples=500, deadline=None)
@given(mutants([*GENERATIONS, (ROOT / "global_config.yaml").read_text()]))
def test_any_broken_text_is_a_config_or_a_config_error(text: bytes) -> None:
    config_or_error(parse_global_config, text)
