"""docs/dense-half.md: its examples run one after the other, and its models can be packed with the config that it shows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from persia.batch import IDTypeFeature, NonIDTypeFeature, PersiaBatch
from persia.torchserve.archive.command import archive
from tests.support.places import ROOT
from tests.support.signed_models import signature_of_archive

PAGE = (ROOT / "docs" / "dense-half.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the examples have left their models."""
    path = tmp_path_factory.mktemp("examples")
    (path / "examples.py").write_text("\n".join(blocks("python")))
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "examples.py"]
    subprocess.run(command, cwd=path, check=True)
    (config,) = blocks("yaml")
    (path / "embedding_config.yml").write_text(config)
    ids = np.array([1, 2], np.uint64)
    features = [IDTypeFeature(name, [ids, ids[:1], ids[:0]]) for name in ("user", "tags", "seen")]
    dense = NonIDTypeFeature(np.zeros((3, 2), np.float32))
    (path / "batch.bin").write_bytes(PersiaBatch(features, [dense], requires_grad=False).to_bytes())
    return path


@pytest.mark.parametrize("model", ["dense.pt", "two.pt"])
def test_the_models_of_the_page_can_be_packed(directory: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(directory)
    (command,) = blocks("sh")
    _, name, *options = command.replace("dense.pt", model).split()
    assert name == "archive"
    run = CliRunner().invoke(archive, [*options, "--overwrite"], catch_exceptions=False)
    assert run.exit_code == 0, run.output
    signature = signature_of_archive(directory / "store" / "ctr-1.0.mar")
    assert signature is not None
    assert [feature.tensor_shape for feature in signature.features] == [(4,), (4,), (5, 9)]
    outputs = [(None, ())] if model == "dense.pt" else [("ctr", ()), ("parts", (4,))]
    assert [(output.name, output.shape) for output in signature.outputs] == outputs
