"""What base/build.sh refuses to build, and a handler that lacks our library."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.factory_handlers import write_zip
from tests.support.factory_models import BASE, build, write_guide_files


def test_build_names_the_file_that_is_not_there(tmp_path: Path) -> None:
    files = write_guide_files(tmp_path)
    for option in files:
        given = {**files, option: tmp_path / "gone"}
        pairs = [text for name, path in given.items() for text in (f"--{name}", str(path))]
        run = build(tmp_path, "--model_name", "m", "--version", "1", *pairs)
        said = f"Error: expected a file as --{option}, got {tmp_path / 'gone'}, which is not there (in {tmp_path})\n"
        assert (run.returncode, run.stdout, run.stderr) == (1, said, "")
    assert not list(tmp_path.glob("*.mar"))


def test_build_fails_for_a_hostile_archive_and_for_others_than_the_config_names(tmp_path: Path) -> None:
    files = write_guide_files(tmp_path)
    source = files.pop("extra_files")
    pairs = [text for option, path in files.items() for text in (f"--{option}", str(path))]
    pairs += ["--model_name", "m", "--version", "1"]
    write_zip(tmp_path / "other.zip", {"a": b""})
    for extra, got in (([], "none"), (["--extra_files", "other.zip"], "other.zip")):
        refused = build(tmp_path, *pairs, *extra)
        assert refused.returncode == 1
        assert "Error: expected source.tar.gz as --extra_files, as " in refused.stderr
        assert refused.stderr.endswith(f"names it as system.extraFiles, got {got}\n")
    warned = build(tmp_path, *pairs, "--extra_files", "source.tar.gz,other.zip")
    assert warned.returncode == 0 and "other.zip stays packed" in warned.stderr
    write_zip(source, {"../evil": b""})
    refused = build(tmp_path, *pairs, "--extra_files", "source.tar.gz")
    assert refused.returncode == 1 and "'../evil', which leads outside" in refused.stderr


def test_without_our_library_a_handler_says_what_to_install(tmp_path: Path) -> None:
    """As something that TorchServe does not take for a handler of its own that is missing."""
    shutil.copy(BASE / "base_handler.py", tmp_path)
    code = "import sys; sys.modules['persia'] = None; import base_handler"
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "RuntimeError: " in run.stderr and "pip install 'persia-serve[torchserve]'" in run.stderr
