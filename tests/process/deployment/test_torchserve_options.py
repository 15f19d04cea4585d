"""The files and the command line that a TorchServe gets."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from persia.errors import InvalidInput
from persia.rpc.wire import MAX_MESSAGE_BYTES
from persia.torchserve.run.options import Directories, Options, command, environment, log4j2, properties
from persia.torchserve.run.store import models_of
from persia.torchserve.settings import environment_threads
from tests.support.torchserves import make_archive


def parsed(options: Options, directories: Directories) -> dict[str, str]:
    lines = properties(options, directories).splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_what_is_closed_unless_it_is_asked_for(tmp_path: Path) -> None:
    settings = parsed(Options(tmp_path, [("ctr", "a.mar")]), Directories(tmp_path))
    assert settings["allowed_urls"] == "none"
    assert settings["disable_token_authorization"] == settings["enable_metrics_api"] == "false"
    assert settings["grpc_inference_address"] == settings["grpc_management_address"] == "127.0.0.1"
    assert settings["inference_address"] == f"unix:{tmp_path}/tmp/http"
    assert settings["management_address"] == f"unix:{tmp_path}/tmp/http_management"
    assert settings["load_models"] == "ctr=a.mar"


def test_only_inference_leaves_loopback(tmp_path: Path) -> None:
    options = Options(tmp_path, (), host="0.0.0.0", http_port=1, http_management_port=2)
    settings = parsed(options, Directories(tmp_path))
    assert settings["grpc_inference_address"] == "0.0.0.0" and settings["inference_address"] == "http://0.0.0.0:1"
    assert settings["grpc_management_address"] == "127.0.0.1" and settings["management_address"] == "http://127.0.0.1:2"


def test_requests_and_answers_have_one_limit_that_the_servers_behind_take(tmp_path: Path) -> None:
    settings = parsed(Options(tmp_path, ()), Directories(tmp_path))
    assert int(settings["max_request_size"]) == int(settings["max_response_size"]) <= MAX_MESSAGE_BYTES


def test_the_heap_grows_with_the_messages(tmp_path: Path) -> None:
    for options, heap in [({}, "1024m"), ({"max_message_bytes": 256 << 20}, "4096m"), ({"heap": "7g"}, "7g")]:
        made = Options(tmp_path, (), **options)  # type: ignore[arg-type]
        assert f"-Xmx{heap}" in command("java", Path("/site"), "python", made, Directories(tmp_path))


def test_paths_of_any_letters_reach_java(tmp_path: Path) -> None:
    settings = parsed(Options(Path("/a b\\ü😀"), ()), Directories(tmp_path))
    assert settings["model_store"] == r"/a b\\\u00fc\ud83d\ude00"


def test_the_log_configuration_is_xml_for_any_path(tmp_path: Path) -> None:
    root = ElementTree.fromstring(log4j2(Directories(Path('/a "&<>'))))
    assert [file.get("fileName") for file in root.iter("RollingFile")] == [
        f'/a "&<>/logs/{name}.log' for name in ("ts_log", "model_log")
    ]


def test_the_environment_of_others_does_not_configure_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TS_CONFIG_FILE", "/x")
    monkeypatch.setenv("TEMP", "/x")
    monkeypatch.setenv("EMBEDDING_WORKER_SERVICE", "a:1")
    found = environment(Options(tmp_path, ()), Directories(tmp_path))
    assert "TS_CONFIG_FILE" not in found
    assert found["TEMP"] == found["TMPDIR"] == f"{tmp_path}/tmp"
    assert found["EMBEDDING_WORKER_SERVICE"] == "a:1" and found["OMP_NUM_THREADS"] == "1"


def test_workers_of_every_runtime_have_the_launchers_packages(tmp_path: Path) -> None:
    """For `--runtime python3` TorchServe takes a python3 from the path, and not the interpreter that it is told."""
    found = environment(Options(tmp_path, ()), Directories(tmp_path))
    command = [shutil.which("python3", path=found["PATH"]) or "", "-c", "import sys; print(sys.prefix)"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == sys.prefix


def test_the_working_directory_is_not_on_the_class_path(tmp_path: Path) -> None:
    line = command("java", Path("/site"), "python", Options(tmp_path, ()), Directories(tmp_path))
    assert line[line.index("-cp") + 1] == "/site/ts/frontend/*"
    assert any(part.startswith("-Djava.util.concurrent.ForkJoinPool.common.parallelism=") for part in line)


def test_workers_know_the_largest_answer_and_find_the_configs_from_where_they_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PERSIA_GLOBAL_CONFIG", "global.yaml")
    monkeypatch.setenv("PERSIA_EMBEDDING_CONFIG", "/etc/embedding.yaml")
    found = environment(Options(tmp_path, (), max_message_bytes=16 << 20), Directories(tmp_path))
    assert found["PERSIA_MAX_ANSWER_MIB"] == "16"
    assert found["PERSIA_GLOBAL_CONFIG"] == str(tmp_path / "global.yaml")
    assert found["PERSIA_EMBEDDING_CONFIG"] == "/etc/embedding.yaml"


def test_of_all_versions_the_newest_comes_first(tmp_path: Path) -> None:
    """So it is the default. A release is newer than what led to it."""
    versions = ["1.0", "2.0-rc1", "2.0", "2.0.1", "10.0", "9.1"]
    for version in versions:
        make_archive(tmp_path, "ctr", version)
    found = [version for _, version in models_of(tmp_path, ["all"]).values()]
    assert found == ["10.0", "9.1", "2.0.1", "2.0", "2.0-rc1", "1.0"]


def test_an_archive_has_one_name(tmp_path: Path) -> None:
    file = make_archive(tmp_path, "ctr")
    assert models_of(tmp_path, [f"all,a={file}"]) == models_of(tmp_path, [f"a={file},all"]) == {file: ("a", "1.0")}
    with pytest.raises(InvalidInput, match=f"expected one name for {file}, got a and b"):
        models_of(tmp_path, [f"a={file},b={file}"])


@pytest.mark.parametrize(("said", "threads"), [("3", 3), ("4,2", None), ("0", None), ("", None)])
def test_any_omp_num_threads_that_the_system_takes_is_no_mistake(said: str, threads: int | None) -> None:
    assert environment_threads({"OMP_NUM_THREADS": said}) == threads


def test_the_launcher_logs_lines_of_json(tmp_path: Path) -> None:
    launcher = [str(Path(sys.executable).with_name("persia-launcher")), "torchserve", "--log-format", "json"]
    run = subprocess.run([*launcher, "--model-store", str(tmp_path), "--models", "a.mar"], capture_output=True, text=True)
    assert run.returncode == 2
    (line,) = map(json.loads, run.stderr.splitlines())
    assert (line["level"], line["logger"]) == ("ERROR", "torchserve") and "expected a.mar in" in line["message"]
