"""`persia-launcher archive`: what goes into an archive, and what is refused before TorchServe would find out."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result

from persia.errors import ConfigError, CorruptFile
from persia.torchserve.archive.command import archive
from persia.torchserve.archive.contents import ArchiveManifest, read_manifest
from persia.torchserve.archive.handler_files import PERSIA_HANDLER
from persia.torchserve.archive.model_config import DEFAULTS, model_config
from tests.support.golden import GOLDEN
from tests.support.torchserves import HANDLERS, MIX

MODEL = MIX / "ckpt" / "jit_dense.pt"
BATCH = MIX / "golden" / "batch16_0.bin"
CONFIG = MIX / "embedding_config.yml"


def make(out: Path, *arguments: str | Path, model: Path = MODEL, handler: Path = HANDLERS / "probe.py") -> Result:
    options = ["--model", model, "--name", "ctr", "--out", out, "--handler", handler, *arguments]
    return CliRunner().invoke(archive, [str(option) for option in options], catch_exceptions=False)


def test_an_archive_has_model_handler_manifest_and_a_complete_configuration(tmp_path: Path) -> None:
    helper, extra = tmp_path / "helper.py", tmp_path / "extra.yml"
    helper.write_text("X = 1")
    extra.write_text("persia: {workers: [a:1]}\nresponseTimeout: 7\nmaxBatchDelay: 3\n")
    options: list[str | Path] = [
        "--version",
        "1.5",
        "--extra-file",
        helper,
        "--config",
        extra,
        "--workers",
        "2",
        "--response-timeout",
        "9",
    ]
    assert make(tmp_path / "store", *options).exit_code == 0
    with zipfile.ZipFile(tmp_path / "store" / "ctr-1.5.mar") as opened:
        assert opened.testzip() is None
        assert set(opened.namelist()) == {
            "MAR-INF/MANIFEST.json", "model-config.yaml", "jit_dense.pt", "probe.py", "helper.py"
        }  # fmt: skip
        assert opened.read("jit_dense.pt") == MODEL.read_bytes()
        settings = yaml.safe_load(opened.read("model-config.yaml"))
        model = json.loads(opened.read("MAR-INF/MANIFEST.json"))["model"]
    assert settings == {
        **DEFAULTS,
        "minWorkers": 2,
        "maxWorkers": 2,
        "responseTimeout": 9,  # the command line goes before the file
        "maxBatchDelay": 3,
        "persia": {"workers": ["a:1"]},
    }
    assert model == {
        "modelName": "ctr",
        "modelVersion": "1.5",
        "serializedFile": "jit_dense.pt",
        "handler": "probe.py",
        "configFile": "model-config.yaml",
    }
    assert read_manifest(tmp_path / "store" / "ctr-1.5.mar") == ArchiveManifest("ctr", "1.5")


def test_every_timeout_and_number_of_workers_is_written_out() -> None:
    assert {"minWorkers", "maxWorkers", "responseTimeout", "startupTimeout", "maxRetryTimeoutInSec"} <= set(DEFAULTS)
    assert yaml.safe_load(model_config({})) == DEFAULTS


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    for out in ("a", "b"):
        make(tmp_path / out)
    assert (tmp_path / "a" / "ctr-1.0.mar").read_bytes() == (tmp_path / "b" / "ctr-1.0.mar").read_bytes()


@pytest.mark.parametrize(
    "options", [["--sample", BATCH, "--embedding-config", CONFIG], ["--sample", BATCH.with_suffix(".npz")]], ids=["bin", "npz"]
)
def test_the_model_is_tried_on_a_sample(tmp_path: Path, options: list[str | Path]) -> None:
    assert "answers batch16_0." in make(tmp_path, *options).stdout
    assert make(tmp_path, "--version", "2").stdout.endswith("not tried: no --sample)\n")


OTHER_BATCH = GOLDEN / "ctr" / "golden" / "batch16_0.npz"
MISNAMED, CUT = Path("misnamed.npz"), Path("cut.npz")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sample", OTHER_BATCH], r"the model refuses the sample \(dense float32 \(16, 5\); embeddings float16 .*shapes"),
        (["--sample", BATCH], "expected --embedding-config beside a byte batch"),
        (["--sample", MISNAMED], r"expected arrays dense0, .* in .*misnamed\.npz, got dense, emb1$"),
        (["--sample", CUT], r"expected an \.npz file, .*, got .*cut\.npz"),
        (["--sample", CONFIG, "--embedding-config", CONFIG], "at byte "),
        (["--name", "a/b"], "expected a name of letters, digits"),
        (["--version", ""], "expected a version of letters, digits"),
        (["--extra-file", MODEL], "expected files of different names"),
        (["--model", MIX / "ckpt" / "dense.pt"], r"got .*dense\.pt: weights alone \(a state_dict\)"),
        (["--model", CONFIG], r"expected a dense model as TorchScript, .*, which is no zip file, no pickle and no ONNX"),
        (["--config", MODEL], "expected YAML"),
        (["--config", HANDLERS / "probe.py"], "expected (YAML|a mapping)"),
    ],
)
def test_what_would_fail_later_is_refused_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str | Path], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez(MISNAMED, dense=np.zeros(1), emb1=np.zeros(1))
    CUT.write_bytes(MISNAMED.read_bytes()[:100])
    run = make(tmp_path / "out", *options)
    assert run.exit_code == 1
    assert re.search(message, run.stderr, re.MULTILINE), run.stderr
    assert list(tmp_path.glob("out/*")) == []


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("class A: ...\nclass B: ...", "exactly one class in .*, got A, B: helpers go into files of their own"),
        ("import os", "got no class"),
        ("if True:\n  import os", "got no class"),
        ("try:\n  class A: ...\nexcept ImportError:\n  class A: ...", None),
        ("if True:\n  from os import path as handle", None),
        ("class A(:", "expected a handler in Python"),
        ("class A: ...\nclass B: ...\ndef handle(data, context): ...", None),
        ("class A: ...", None),
    ],
)
def test_a_handler_needs_an_entry_point_that_torchserve_finds(tmp_path: Path, code: str, message: str | None) -> None:
    handler = tmp_path / "handler.py"
    handler.write_text(code)
    run = make(tmp_path / "store", handler=handler)
    assert run.exit_code == (message is not None)
    assert re.search(message or "^$", run.stderr), run.stderr


@pytest.mark.parametrize("suffix", ["", ".pth", ".torchscript"])
def test_the_model_gets_the_suffix_that_torchserve_takes_for_torchscript(tmp_path: Path, suffix: str) -> None:
    model = tmp_path / f"dense{suffix}"
    model.write_bytes(MODEL.read_bytes())
    assert make(tmp_path / "store", model=model).exit_code == 0
    with zipfile.ZipFile(tmp_path / "store" / "ctr-1.0.mar") as opened:
        assert json.loads(opened.read("MAR-INF/MANIFEST.json"))["model"]["serializedFile"] == "dense.pt"
        assert opened.read("dense.pt") == MODEL.read_bytes()


def test_an_archive_is_not_replaced_unless_asked(tmp_path: Path) -> None:
    assert make(tmp_path).exit_code == 0
    run = make(tmp_path)
    assert run.exit_code == 1 and "is there already: give another --version" in run.stderr
    assert make(tmp_path, "--overwrite").exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["ctr-1.0.mar"]


@pytest.mark.parametrize(
    ("extra", "path"),
    [
        ({"responseTimeout": "soon"}, "$.responseTimeout"),
        ({"minWorkers": 0}, "$.minWorkers"),
        ({"batchSize": True}, "$.batchSize"),
        ({"minWorkers": 3, "maxWorkers": 2}, "$.maxWorkers"),
        ({"minworkers": 3}, "$.minworkers"),
        ({"clientTimeoutInMills": 500}, "$.clientTimeoutInMills"),
        ({"asyncCommunication": True}, "$.asyncCommunication"),
    ],
)
def test_a_wrong_setting_is_named(extra: dict[str, object], path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        model_config(extra)
    assert caught.value.path == path


def test_settings_that_our_handler_does_not_know_are_refused(tmp_path: Path) -> None:
    config = tmp_path / "settings.yml"
    config.write_text("persia: {adresses: ['127.0.0.1:8887']}")
    run = make(tmp_path / "out", "--config", config, handler=PERSIA_HANDLER)
    assert run.exit_code == 1
    assert re.search(r"settings\.yml.*unknown key, known are addresses, .*\$\.persia\.adresses", run.stderr), run.stderr
    assert make(tmp_path / "out", "--config", config).exit_code == 0  # another handler may


def test_our_handler_is_known_by_whatever_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "settings.yml"
    config.write_text("persia: {adresses: ['127.0.0.1:8887']}")
    monkeypatch.chdir(PERSIA_HANDLER.parent)
    linked = tmp_path / "persia_handler.py"
    linked.symlink_to(PERSIA_HANDLER)
    for path in (Path(PERSIA_HANDLER.name), linked):
        run = make(tmp_path / "out", "--config", config, handler=path)
        assert run.exit_code == 1 and "unknown key" in run.stderr, path


@pytest.mark.parametrize("key", ["warm_up", "global_config", "embedding_config", "drift_baseline"])
def test_a_file_that_the_settings_name_is_in_the_archive(tmp_path: Path, key: str) -> None:
    """A worker's current directory is that of its unpacked archive."""
    config, extra, named = (tmp_path / name for name in ("settings.yml", "extra", "named.yml"))
    for path in (extra, named):
        path.touch()

    def outcome(value: str, *extra_files: Path) -> str:
        config.write_text(f"persia: {{{key}: {value}}}")
        options: list[str | Path] = ["--config", config, "--overwrite"]
        for path in extra_files:
            options += ["--extra-file", path]
        return make(tmp_path / "out", *options, handler=PERSIA_HANDLER).stderr

    expected = "expected an absolute path, or one of the archive's extra files"
    place = f" - at `$.persia.{key}`\n"
    assert outcome("named.yml") == (f"Error: {config}: {expected} (none), got named.yml: add --extra-file .../named.yml{place}")
    assert outcome("a/named.yml", named, extra) == (
        f"Error: {config}: {expected} (extra, named.yml), got a/named.yml: "
        f"write named.yml, and add --extra-file a/named.yml{place}"
    )
    assert list(tmp_path.glob("out/*")) == []
    assert outcome("named.yml", extra, named) == outcome("./named.yml", named) == ""
    assert outcome("/on/the/serving/machine.yml") == outcome("null") == ""


def test_a_key_that_chooses_between_no_variants_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "settings.yml"
    for variants, refused in (("", True), (", variants: {}", True), (", variants: {none: 9, b: 1}", False)):
        config.write_text(f"persia: {{variants_sticky_by: x-user{variants}}}")
        run = make(tmp_path / "out", "--config", config, "--overwrite", handler=PERSIA_HANDLER)
        assert ("expected `variants` beside it, got none" in run.stderr) == refused == (run.exit_code == 1), run.output


LATE = r"timeout_ms of less than responseTimeout, {}, got {}: TorchServe would kill .*at `\$\.persia\.timeout_ms`"


@pytest.mark.parametrize(
    ("settings", "options", "message"),
    [
        ("persia: {timeout_ms: 60000}", [], LATE.format(r"60 s \(the default\)", r"60000 ms \(settings\.yml\)")),
        ("responseTimeout: 10", [], LATE.format(r"10 s \(settings\.yml\)", r"10000 ms \(the default\)")),
        (
            "responseTimeout: 99\npersia:",
            ["--response-timeout", "9"],
            LATE.format(r"9 s \(--response-timeout\)", r"10000 ms \(the default\)"),
        ),
        (None, ["--response-timeout", "9"], "^Error: expected a " + LATE.format(r"9 s .*", r"10000 ms \(the default\)")),
        ("persia: {timeout_ms: 59999}", [], None),
        ("responseTimeout: 9\npersia: {timeout_ms: 8999}", [], None),
    ],
)
def test_our_handler_gives_up_before_torchserve_kills_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: str | None, options: list[str], message: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    if settings is not None:
        Path("settings.yml").write_text(settings)
        options = [*options, "--config", "settings.yml"]
    run = make(tmp_path / "out", *options, handler=PERSIA_HANDLER)
    assert run.exit_code == (message is not None)
    assert re.search(message or "^$", run.stderr), run.stderr
    assert make(tmp_path / "out", "--version", "2", *options).exit_code == 0  # another handler may wait for something else


@pytest.mark.parametrize("key", ["kept_share", "kept_mib"])
def test_how_much_is_kept_goes_with_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("settings.yml").write_text(f"persia: {{{key}: 1}}")
    run = make(tmp_path / "out", "--config", "settings.yml", handler=PERSIA_HANDLER)
    assert run.exit_code == 1 and "expected kept_answers beside it" in run.stderr and f"$.persia.{key}" in run.stderr
    Path("settings.yml").write_text(f"persia: {{{key}: 1, kept_answers: /data/kept}}")
    assert make(tmp_path / "out", "--config", "settings.yml", handler=PERSIA_HANDLER).exit_code == 0


@pytest.mark.parametrize("data", [b"", b"no zip", b"PK\x05\x06" + bytes(18)])
def test_a_file_that_is_no_archive_is_named(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.mar"
    path.write_bytes(data)
    with pytest.raises(CorruptFile, match=r"x\.mar .*expected a model archive"):
        read_manifest(path)
