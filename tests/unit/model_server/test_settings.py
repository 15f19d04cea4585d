"""config.properties and TS_* of the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from persia.checking.torchserve_keys import KNOWN
from persia.errors import ConfigError
from persia.model_server.property_keys import UNUSED
from persia.model_server.settings import FOREVER, Settings, config_file, read_settings
from persia.model_server.startup import named_models


def written(directory: Path, text: str) -> Path:
    path = directory / "config.properties"
    path.write_text(text)
    return path


def test_without_a_file_there_are_torchserves_defaults() -> None:
    assert read_settings(None, {}) == Settings()


def test_values_of_the_file(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "inference_address=http://127.0.0.1:9001\nmodel_store=$$STORE$$\nallowed_urls=file://.*,https://models/.*\n"
        'models={"m": {"1.0": {"batchSize": 4}}}\nnumber_of_gpu=2\ninitial_worker_port=9500\nblacklist_env_vars=SECRET.*\n'
        "decode_input_request=false\ninstall_py_dep_per_model=true\n",
    )
    settings = read_settings(path, {"STORE": str(tmp_path)})
    assert settings.inference == "127.0.0.1:9001" and settings.store == tmp_path
    assert [pattern.pattern for pattern in settings.allowed_urls] == ["file://.*", "https://models/.*"]
    assert settings.per_model["m"]["1.0"]["batchSize"] == 4
    assert (settings.gpus, settings.first_worker, settings.decodes_inputs) == (2, 9500, False)
    assert settings.hidden_variables is not None and settings.hidden_variables.fullmatch("SECRETS")
    assert settings.installs_requirements and settings.notes == ()


def test_the_environment_counts_where_the_file_allows_it(tmp_path: Path) -> None:
    environment = {"TS_JOB_QUEUE_SIZE": "7", "TS_ALLOWED_URLS": ".*", "TS_ENABLE_MODEL_API": "true"}
    closed = read_settings(written(tmp_path, "job_queue_size=5\n"), environment)
    assert (closed.job_queue_size, closed.api_enabled) == (5, True)
    opened = read_settings(written(tmp_path, "enable_envvars_config=true\njob_queue_size=5\n"), environment)
    assert opened.job_queue_size == 7 and opened.allowed_urls == ()
    file = written(tmp_path, "enable_envvars_config=true\nuse_env_allowed_urls=true\n")
    assert len(read_settings(file, environment).allowed_urls) == 1


def test_a_model_store_that_is_not_there_is_told(tmp_path: Path) -> None:
    settings = read_settings(written(tmp_path, "job_queue_size=5\nmodel_store=nowhere\nload_models=all\n"), {})
    assert [note for note in settings.notes if "line 2: model_store names 'nowhere', which is no directory" in note]
    assert named_models(settings, (), 0) == []


def test_a_file_of_metrics_that_is_not_there_is_named_with_its_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"line 1: expected the name of a file for metrics_config, got 'none.yaml'"):
        read_settings(written(tmp_path, "metrics_config=none.yaml\n"), {})


def test_every_key_of_torchserve_is_used_or_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "1").mkdir()  # for model_store
    for key in sorted(KNOWN):
        (note,) = read_settings(written(tmp_path, f"{key}=0\n"), {}).notes if key in UNUSED else ("",)
        assert not note or f"{key} has no effect: {UNUSED[key]}" in note
        if key not in UNUSED:
            try:
                assert read_settings(written(tmp_path, f"{key}=1\n"), {}).notes == (), key
            except ConfigError as error:
                assert key in str(error)


def test_a_key_that_is_none_is_told_with_the_next_one(tmp_path: Path) -> None:
    (note,) = read_settings(written(tmp_path, "\njob_queu_size=5\n"), {}).notes
    assert (
        note
        == f"{tmp_path}/config.properties, line 2: job_queu_size is no key of config.properties: did you mean job_queue_size?"
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("max_request_size=2147483648", "expected a number of at most 2147483647 for max_request_size, got '2147483648'"),
        ("max_response_size=2147483648", "expected a number of at most 2147483647 for max_response_size, got '2147483648'"),
        ("job_queue_size=many", "line 1: expected a number for job_queue_size, got 'many'"),
        ("inference_address=8080", "expected an address such as http://127.0.0.1:8080 or unix:/path for inference_address"),
        ("models={1", "expected JSON"),
        ("models=[]", "expected a JSON object for models"),
        ("allowed_urls=a,(b", "expected a regular expression"),
    ],
)
def test_values_that_are_wrong(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words.replace("(", r"\(").replace("[", r"\[")):
        read_settings(written(tmp_path, line), {})


def test_debug_waits_for_who_debugs(tmp_path: Path) -> None:
    settings = read_settings(written(tmp_path, "debug=true\n"), {})
    assert settings.response_timeout == settings.startup_timeout == FOREVER


def test_which_file_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert config_file(None, {}) is None
    written(tmp_path, "")
    assert config_file(None, {}) == Path("config.properties")
    assert config_file(Path("given"), {}) == Path("given")
    assert config_file(Path("given"), {"TS_CONFIG_FILE": "of the environment"}) == Path("of the environment")
