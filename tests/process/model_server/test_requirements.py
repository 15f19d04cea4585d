"""The packages that an archive asks for: where they are installed, and what counts as installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from persia.model_server.refusals import RequirementsFailed
from persia.model_server.requirements import install
from tests.support.wheels import make_wheel


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An unpacked archive that asks for a package; the working directory is another one."""
    make_wheel(tmp_path, "persia_probe_words", "WORD = 1\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    directory = tmp_path / "unpacked"
    directory.mkdir()
    (directory / "requirements.txt").write_text("# words\npersia-probe-words  # of a test\n")
    return directory


@pytest.mark.parametrize("venv", [False, True])
def test_a_relative_cache_is_the_servers_own(archive: Path, venv: bool) -> None:
    installed = install("m", archive, archive / "requirements.txt", Path("cache"), venv)
    assert [path.name for path in archive.iterdir()] == ["requirements.txt"]
    assert Path(installed.python).is_absolute()
    if not venv:
        assert installed.packages is not None and installed.packages.is_absolute()
        assert (installed.packages / "persia_probe_words.py").is_file()


def test_an_empty_directory_that_was_kept_is_not_taken_for_an_installation(archive: Path) -> None:
    cache = archive.parent / "cache"
    installed = install("m", archive, archive / "requirements.txt", cache, False).packages
    assert installed is not None
    for path in sorted(installed.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert install("m", archive, archive / "requirements.txt", cache, False).packages == installed
    assert (installed / "persia_probe_words.py").is_file()


def test_pip_that_installs_nothing_is_a_failure(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_DRY_RUN", "1")
    with pytest.raises(RequirementsFailed, match=r"installed nothing, where requirements.txt asks for persia-probe-words"):
        install("m", archive, archive / "requirements.txt", archive.parent / "cache", False)
    assert [path.suffix for path in (archive.parent / "cache").iterdir()] == [".lock"]


def test_requirements_of_another_platform_install_nothing(archive: Path) -> None:
    (archive / "requirements.txt").write_text('persia-probe-words; python_version < "3"\n')
    installed = install("m", archive, archive / "requirements.txt", archive.parent / "cache", False).packages
    assert installed is not None and list(installed.iterdir()) == []
