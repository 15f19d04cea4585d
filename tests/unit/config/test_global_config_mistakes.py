"""What every mistake in global_config.yaml says."""

import re

import pytest
import yaml
from hypothesis import given, settings

from persia.config import parse_global_config
from persia.errors import ConfigError
from tests.support.config_fuzz import config_or_error, mutants, trees
from tests.support.examples import examples
from tests.support.global_configs import CAMEL_CASE, GENERATIONS, error_of, parse, parse_old
from tests.support.places import ROOT


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
            " `embedding_worker_config`, `security` - at `$.zzz`",
        ),
        (
            "embedding_worker_config: {x: 1}",
            "line 1: unknown key `x`, known here: `lookup_timeout_ms`, `hedge_after_ms`, `wait_for_shard_ms`, "
            "`stay_awake_us`, `missing_shard`, `mixed_checkpoints`, `clients_ask_shards`"
            " - at `$.embedding_worker_config.x`",
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
            "line 1: expected `f16` or `f32` or `int8` or `uint8`, got `f61`"
            " - at `$.embedding_parameter_server_config.row_storage`",
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
            "common_config:\n  initial_sparse_checkpoint: /a\n  infer_config:\n    embedding_checkpoint: /b\n",
            "line 2: an old name of `common_config.infer_config.embedding_checkpoint`, which is also set on line 4"
            " - at `$.common_config.initial_sparse_checkpoint`",
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


KEYS = sorted({part for line in (*GENERATIONS, "row_storage:") for part in re.findall(r"(\w+):", line)} | {"intent", "Infer"})


@settings(max_examples=examples(300), deadline=None)
@given(trees(KEYS))
def test_any_tree_is_a_config_or_a_config_error(tree: object) -> None:
    config_or_error(parse_global_config, tree)


@settings(max_examples=examples(500), deadline=None)
@given(mutants([*GENERATIONS, (ROOT / "global_config.yaml").read_text()]))
def test_any_broken_text_is_a_config_or_a_config_error(text: bytes) -> None:
    config_or_error(parse_global_config, text)
