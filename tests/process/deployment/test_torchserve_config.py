"""A user's config.properties, judged before TorchServe is started: the guide's own file, and each mistake by itself."""

from __future__ import annotations

import importlib.util
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from persia.checking.command import TORCHSERVE_STATE, check
from persia.checking.torchserve_keys import KNOWN
from persia.torchserve.java_properties import Entry, read_properties
from persia.torchserve.state import MODELS_FILE

GUIDES = """\
loads_model = all
inference_address=https://0.0.0.0/8080
management_address=https://0.0.0.0/8081
metrics_address=https://0.0.0.0/8082
number_of_netty_threads=32
job_queue_size=1000
model_store=/home/model-server/model-store
batch_size=20
max_batch_delay=2
async_logging=true
models=\\
"""


def run(tmp_path: Path, text: str, *arguments: str) -> Result:
    path = tmp_path / "config.properties"
    path.write_text(text, "iso-8859-1")
    environment = {"PERSIA_GLOBAL_CONFIG": "", "PERSIA_EMBEDDING_CONFIG": ""}
    return CliRunner().invoke(check, ["--ts-config", str(path), *arguments], env=environment)


def findings(tmp_path: Path, text: str) -> list[dict[str, Any]]:
    """Of lines of the file, and not of those that it lacks."""
    found: list[dict[str, Any]] = json.loads(run(tmp_path, text, "--json").stdout)["findings"]
    return [finding for finding in found if finding["subject"].startswith("line ")]


def test_the_guides_file_line_by_line(tmp_path: Path) -> None:
    found = {
        finding["subject"]: (finding["state"], finding["text"], finding["advice"]) for finding in findings(tmp_path, GUIDES)
    }
    assert found.keys() == {f"line {number}" for number in (1, 2, 3, 4, 7, 8, 9, 11)}
    assert found["line 1"] == ("warn", "TorchServe has no key loads_model and ignores it", "write load_models")
    for line, address in (
        (2, "0.0.0.0:8080 (https needs "),
        (3, "127.0.0.1:8081, for this machine alone: who"),
        (4, "0.0.0.0:8082 ("),
    ):
        state, text, advice = found[f"line {line}"]
        assert state == "fail" and "TorchServe would end" in text
        assert advice.startswith(f"write http://{address}")
    assert "there is no directory /home/model-server/model-store here" in found["line 7"][1]
    assert "batchSize in the archive's model-config.yaml" in found["line 8"][2]
    assert "--max-batch-delay" in found["line 9"][2]
    assert found["line 11"][1] == "models has no value, which says nothing"
    ended = run(tmp_path, GUIDES)
    assert ended.exit_code == 2
    assert ended.stdout.endswith("not ready to serve: 3 failures, 6 warnings\n")


def test_the_guides_file_as_it_was_meant(tmp_path: Path) -> None:
    meant = f"""\
load_models=all
inference_address=http://0.0.0.0:8080
management_address=http://127.0.0.1:8081
metrics_address=http://127.0.0.1:8082
number_of_netty_threads=32
job_queue_size=1000
model_store={tmp_path}
async_logging=true
disable_token_authorization=true
models={{\\
  "my_tc": {{\\
    "1.0": {{"defaultVersion": true, "marName": "my_tc.mar", "minWorkers": 1, "maxWorkers": 1,\\
      "batchSize": 20, "maxBatchDelay": 2}}}}}}
"""
    (tmp_path / "my_tc.mar").touch()
    ended = run(tmp_path, meant, "--strict")
    assert ended.exit_code == 0
    assert ended.stdout.splitlines()[-1] == "nothing wrong in config.properties: no failures, 0 warnings"
    (tmp_path / "my_tc.mar").unlink()
    (found,) = findings(tmp_path, meant)
    assert (found["state"], found["subject"]) == ("fail", "line 10")
    assert f"my_tc 1.0: there is no my_tc.mar in {tmp_path}" in found["text"]


def test_tokens_that_no_guide_speaks_of_are_said(tmp_path: Path) -> None:
    said = run(tmp_path, "job_queue_size=5\n").stdout
    assert "disable_token_authorization is missing" in said
    assert "with 400 over REST and PERMISSION_DENIED over gRPC" in said
    assert "TorchServe 0.12 refuses each request" in said
    assert "missing" not in run(tmp_path, "disable_token_authorization=false\n").stdout
    said = run(tmp_path, "job_queue_size=5\n", "--front", "model-server", "--json").stdout
    assert "the model server refuses each request without a token" in said and "TorchServe 0.12" not in said


MISTAKES: list[tuple[str, str, str, str]] = [
    ("inference_adress=http://0.0.0.0:8080", "warn", "no key inference_adress", "write inference_address"),
    ("modelStore=/tmp", "warn", "no key modelStore", "write model_store"),
    ("maxBatchDelay=50", "warn", "no key maxBatchDelay", "maxBatchDelay in the archive's model-config.yaml"),
    ("initial_workers=2", "warn", "no key initial_workers", "minWorkers in the archive's"),
    ("response_timeout=2", "warn", "no key response_timeout", "default_response_timeout"),
    ("colour=blue", "warn", "no key colour", "take it out"),
    ("job_queue_size=many", "fail", "a whole number of at least 1 as job_queue_size, got many", "TorchServe would end, or"),
    ("job_queue_size=0", "fail", "a whole number of at least 1", "TorchServe would end"),
    ("max_request_size=77 ", "fail", "expected max_request_size=77 without blanks", "Java takes the blanks"),
    ("enable_model_api=yes", "warn", "expected true or false as enable_model_api, got yes", "counts as false"),
    ("metrics_mode=influx", "warn", "expected log, prometheus, legacy", "takes log"),
    ("inference_address=http://0.0.0.0:8080/", "fail", "would end", "write http://0.0.0.0:8080"),
    ("inference_address=0.0.0.0:8080", "fail", "would end", "write http://0.0.0.0:8080"),
    ("inference_address=http://0.0.0.0:99999", "fail", "expected a port up to 65535", "for all interfaces"),
    ("management_address=http://0.0.0.0:8081/", "fail", "would end", "write http://127.0.0.1:8081, for this machine alone"),
    ("inference_address=everywhere", "fail", "would end", "for all interfaces"),
    ("inference_address=https://0.0.0.0:8443", "fail", "expected certificate_file and private_key_file, or keystore", "proxy"),
    ("enable_grpc_ssl=true\nkeystore=config.properties", "fail", "for TLS, got none", "add them"),
    ("private_key_file=nope.pem", "fail", "private_key_file: expected a file, got nope.pem", "name one that is there"),
    ("grpc_management_port=7070", "fail", "grpc_inference_port and grpc_management_port both listen on port 7070", "its own"),
    ("metrics_address=http://127.0.0.1:8080", "fail", "both listen on port 8080", "(inference_address is http"),
    ("inference_address=http://127.0.0.1:8081", "warn", "are the same, http://127.0.0.1:8081", "who reaches it can run code"),
    ("inference_address=http://0.0.0.0:8081", "fail", "both listen on port 8081", "a port of its own"),
    ("models={nope", "fail", "models: expected JSON such as", "several lines"),
    ("models=[1]", "fail", "models: expected JSON such as", "several lines"),
    ('models={"m":{"1.0":{"minWorkers":1}}}', "fail", "m 1.0 has no marName", "name its archive"),
    ('models={"m":{"1.0":{"marName":"m.mar","batch_size":1}}}', "warn", "no setting batch_size", "known are"),
    ('models={"m":{"1.0":{"marName":"m.mar","batchSize":"8"}}}', "fail", "a positive number as batchSize, got '8'", "without"),
    ("job_queue_size=5\njob_queue_size=6", "warn", "job_queue_size stands in line 1, too", "take one of them out"),
    ("default_service_handler=$$NOT_SET_HERE$$", "fail", "the environment variable NOT_SET_HERE", "set NOT_SET_HERE"),
]


@pytest.mark.parametrize(("text", "state", "said", "advice"), MISTAKES, ids=[mistake[0][:30] for mistake in MISTAKES])
def test_each_mistake_has_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, state: str, said: str, advice: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (found,) = findings(tmp_path, text + "\n")
    assert found["state"] == state
    assert said in found["text"]
    assert advice in found["advice"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n! but comments\n",
        "inference_address=unix:/tmp/a\nmanagement_address=unix:/tmp/b\n",
        "metrics_address=http://127.0.0.1:8080\nenable_metrics_api=false\n",
        "grpc_inference_port=0\ngrpc_management_port=0\n",
        "inference_address=http://127.0.0.1:0\nmanagement_address=http://127.0.0.1:0\nmetrics_address=http://127.0.0.1:0\n",
        "job_queue_size : 7\nASYNC=1\n".replace("ASYNC=1", "async_logging TRUE"),
        "default_service_handler=$$HOME$$\n",
    ],
)
def test_what_is_right_is_not_named(tmp_path: Path, text: str) -> None:
    assert run(tmp_path, text + "disable_token_authorization=true\n", "--strict").exit_code == 0


def test_archives_that_the_store_lacks_are_named(tmp_path: Path) -> None:
    (tmp_path / "here.mar").touch()
    text = f"model_store={tmp_path}\nload_models=here.mar, other=gone.mar,https://example.org/far.mar\n"
    (found,) = findings(tmp_path, text)
    assert found["state"] == "fail" and "there is no gone.mar in" in found["text"]


def test_beside_a_deployment_both_are_looked_at(tmp_path: Path) -> None:
    found = json.loads(run(tmp_path, GUIDES, "--json", "--model-store", str(tmp_path)).stdout)["findings"]
    assert {"config.properties", "machine"} <= {finding["area"] for finding in found}


def test_properties_are_read_as_java_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "some.properties"
    path.write_bytes(
        b"  # a comment \\\r\na=1\r\nb : 2\nc   three\n\nd\\=e=f\\\n   g\\\n\n"
        b"h=back\\\\\ni=\\u00e9\\t\\x \xe9 \nj=\nk\n=nothing\nl=a=b:c\nm=last\\"
    )
    assert read_properties(path) == [
        Entry("a", "1", 2),
        Entry("b", "2", 3),
        Entry("c", "three", 4),
        Entry("d=e", "fg", 6),
        Entry("h", "back\\", 9),
        Entry("i", "é\tx é ", 10),
        Entry("j", "", 11),
        Entry("k", "", 12),
        Entry("", "nothing", 13),
        Entry("l", "a=b:c", 14),
        Entry("m", "last", 15),
    ]


@given(st.text())
def test_any_text_is_read(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.properties"
    path.write_bytes(text.encode())
    for entry in read_properties(path):
        assert entry.line >= 1


def test_the_known_keys_are_those_of_the_installed_torchserve() -> None:
    """Each stands in the class that reads them; those of the JVM's start are read by TorchServe's Python."""
    spec = importlib.util.find_spec("ts")
    assert spec is not None and spec.origin is not None
    for jar in (Path(spec.origin).parent / "frontend").glob("*.jar"):
        with zipfile.ZipFile(jar) as archive:
            name = "org/pytorch/serve/util/ConfigManager.class"
            if name in archive.namelist():
                reads = archive.read(name)
                missing = {key for key in KNOWN if len(key).to_bytes(2, "big") + key.encode() not in reads}
                assert missing == {"vmargs", "plugins_path"}
                return
    pytest.fail("expected TorchServe's ConfigManager in one of its jars")


def test_the_file_of_models_is_where_up_has_it() -> None:
    assert Path("ts", MODELS_FILE) == TORCHSERVE_STATE


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("models=" + "[" * 100_000, "models: expected JSON such as"),
        ("models=" + "9" * 5_000, "models: expected JSON such as"),
        ("number_of_netty_threads=" + "9" * 5_000, "expected a number up to 2147483647 as number_of_netty_threads, got 999"),
        ("job_queue_size=3000000000", "expected a number up to 2147483647 as job_queue_size, got 3000000000"),
        ("grpc_inference_port=" + "9" * 5_000, "expected a number up to 2147483647 as grpc_inference_port, got 999"),
        ("grpc_inference_port=\u00b2", "expected a whole number of at least 0 as grpc_inference_port, got \u00b2"),
        ("inference_address=http://a:" + "9" * 5_000, "inference_address: expected a port up to 65535, got http://a:999"),
        ("inference_address=a:" + "9" * 5_000, "inference_address: expected http://HOST:PORT"),
    ],
    ids=lambda text: text[:30],
)
def test_values_of_any_size_are_findings(tmp_path: Path, text: str, words: str) -> None:
    ((state, said),) = [(one["state"], one["text"]) for one in findings(tmp_path, text) if one["subject"] == "line 1"]
    assert state == "fail"
    assert said.startswith(words)
    assert len(said) < 300
