"""Where the programs of Kubernetes are looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cluster.binaries import PROGRAMS, VARIABLE, NoKubernetesError, find_kubernetes


def put(directory: Path, names: tuple[str, ...]) -> Path:
    directory.mkdir(exist_ok=True)
    for name in names:
        (directory / name).touch(mode=0o755)
    return directory


def test_those_that_were_built_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    built = put(tmp_path / "bin", PROGRAMS)
    assert find_kubernetes(tmp_path) == built
    (built / PROGRAMS[0]).unlink()
    with pytest.raises(NoKubernetesError, match=f"set {VARIABLE} .* or run `make kubernetes`"):
        find_kubernetes(tmp_path)


def test_those_of_the_variable_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "bin", PROGRAMS)
    given = put(tmp_path / "given", PROGRAMS)
    monkeypatch.setenv(VARIABLE, str(given))
    assert find_kubernetes(tmp_path) == given
    (given / "kubelet").chmod(0o644)
    with pytest.raises(NoKubernetesError, match=f"{VARIABLE} is .*given, which has no program kubelet"):
        find_kubernetes(tmp_path)
