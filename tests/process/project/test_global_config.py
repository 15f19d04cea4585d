"""global_config.yaml: what is accepted, under which old names."""

import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import msgspec
import pytest

from persia.config import ConfigWarning, EmbeddingConfig, GlobalConfig, config_keys, load_global_config
from persia.config.keys import markdown
from persia.errors import ConfigError
from tests.support.global_configs import CAMEL_CASE, EMBEDDING_SERVER, LAST_RELEASE, SHARD_SERVER, parse, parse_old
from tests.support.places import ROOT


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
    assert config.embedding_parameter_server_config.capacity == 1_000_000
    assert len(notes) == 1
    assert notes[0].startswith("g.yml: ignored, without a meaning for inference: ")
    assert re.findall(r"`\$\.(\S+)`", notes[0]) == [
        "common_config.metrics_config.push_interval_sec",
        "embedding_parameter_server_config.num_hashmap_internal_shards",
        "embedding_parameter_server_config.incremental_buffer_size",
        "embedding_parameter_server_config.incremental_channel_capacity",
        "embedding_worker_config.forward_buffer_size",
    ]


def test_keys_that_nobody_reads_are_said_to_be_ignored() -> None:
    """Also by their newest names: whoever sets one must not believe that it does something."""
    for key, value in (("push_interval_seconds", "(Prometheus fetches"), ("push_interval", "(Prometheus fetches")):
        _, [note] = parse_old(f"common_config:\n  metrics_config:\n    {key}: 20\n")
        assert f"`$.common_config.metrics_config.{key}` {value}" in note
    _, [note] = parse_old("embedding_parameter_server_config:\n  incremental_buffer_size: 5\n")
    assert "`$.embedding_parameter_server_config.incremental_buffer_size` (only a trainer writes packets, with the" in note


def test_the_same_file_with_current_names_does_not_warn() -> None:
    ignored = r".*(push_interval|num_hashmap|incremental_buffer|incremental_channel|forward_buffer).*\n"
    assert parse(re.sub(ignored, "", LAST_RELEASE)) == parse_old(LAST_RELEASE)[0]


def test_shard_server_generation() -> None:
    config, notes = parse_old(SHARD_SERVER)
    server = config.embedding_parameter_server_config
    assert (server.capacity, server.enable_incremental_update, server.incremental_dir) == (10**10, True, "/inc/")
    assert config.common_config.checkpointing_config.num_workers == 6
    assert "`$.shard_server_config` is now `embedding_parameter_server_config`" in notes[0]
    assert "`$.shard_server_config.num_persistence_workers` is now" in notes[0]
    assert (server.storage, server.local_buffer_dir) == ("ceph", None)


def test_embedding_server_generation() -> None:
    config, notes = parse_old(EMBEDDING_SERVER)
    assert config.common_config.checkpointing_config.num_workers == 5
    assert config.embedding_parameter_server_config.capacity == 1_000_000
    assert "`$.embedding_server_config` is now `embedding_parameter_server_config`" in notes[0]


def test_camel_case_generation() -> None:
    config, notes = parse_old(CAMEL_CASE)
    assert config.common_config.infer_config.servers == (("emb_server_1:8000",), ("emb_server_2:8000",))
    assert config.common_config.infer_config.embedding_checkpoint == "/your/sparse/model/dir"
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
            special = {None: ("none", "no limit", "never"), True: ("true",), False: ("false",), (): ("[]",)}
            shown = (str(value),) if type(value) is int else special.get(value, (str(value),))  # 0 is not false
            assert key.default in shown
