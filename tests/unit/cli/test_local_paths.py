"""Commands that read and write mounted file systems only refuse the URL of a store, and make no directory of its name."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from persia.client.infer_command import infer
from persia.client.manage_command import manage
from persia.importers.command import import_command
from persia.replay.command import replay
from persia.torchserve.archive.command import archive

URL = "s3://bucket/path"
COMMANDS: list[tuple[click.Command, list[str]]] = [
    (import_command, ["numpy", "source", URL]),
    (import_command, ["numpy", URL, "out"]),
    (import_command, ["verify", URL]),
    (replay, ["answers", "--embedding-config", "config", "--checkpoint", URL]),
    (replay, [URL, "--embedding-config", "config"]),
    (archive, ["--transformers", URL]),
    (archive, ["--out", URL]),
    (infer, ["--output", URL]),
    (manage, ["register", "a.mar", "--model-store", URL]),
]


@pytest.mark.parametrize(("command", "arguments"), COMMANDS, ids=lambda one: " ".join(one) if isinstance(one, list) else "")
def test_a_url_is_refused(
    command: click.Command, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("source", "answers", "config"):
        (tmp_path / name).touch()
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2 and f"expected a path of a mounted file system, got the URL {URL}: copy what" in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers", "config", "source"]
