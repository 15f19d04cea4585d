"""Commands that want archives fetch those of a store, which a local directory is to the library of stores."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from persia.checking.command import check
from persia.torchserve.run.command import torchserve

pytest.importorskip("obstore")

WITHOUT_JAVA = ["--front", "model-server"]


def test_a_store_without_archives(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "readme.txt").touch()
    url = f"file://{tmp_path}/store"
    for command, more in ((torchserve, []), (check, WITHOUT_JAVA)):
        result = CliRunner().invoke(command, ["--model-store", url, *more])
        said = result.output + caplog.text
        assert result.exit_code == 2 and "expected archives (.mar) in the store, there are none" in said
        assert url in said or command is check  # whose table breaks a long path over lines
        caplog.clear()


def test_the_check_reads_archives_of_a_store(tmp_path: Path) -> None:
    (tmp_path / "broken.mar").write_bytes(b"no archive")
    result = CliRunner().invoke(check, ["--model-store", f"file://{tmp_path}", *WITHOUT_JAVA])
    assert result.exit_code == 2 and "broken.mar at byte 0: expected a model archive" in " ".join(result.output.split())
