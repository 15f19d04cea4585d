"""Why a worker could not load its model, in the words of what went wrong first."""

from __future__ import annotations

from pathlib import Path

import pytest

from persia.model_server.torchserve_modules import ModelLoaderFactory
from persia.model_server.worker import reason_of


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        ("wants_persia_nowhere.py", "ModuleNotFoundError: No module named 'persia_nowhere'"),
        ("nowhere_at_all.py", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
    ],
)
def test_a_missing_module_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, handler: str, reason: str) -> None:
    (tmp_path / "wants_persia_nowhere.py").write_text("import persia_nowhere\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ImportError) as caught:
        ModelLoaderFactory.get_model_loader().load("m", str(tmp_path), handler)
    assert reason_of(caught.value) == reason


def test_another_error_keeps_its_own_words() -> None:
    error = RuntimeError("the weights are cut")
    error.__context__ = FileNotFoundError("weights.pt")
    assert reason_of(error) == "RuntimeError: the weights are cut"
