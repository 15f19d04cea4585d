"""Dense models of every kind for tests, written as docs/dense-models.md says. They take what golden/mix's batches bring."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

import torch

from tests.support.compiling import compile_models
from tests.support.golden import arrays_of
from tests.support.places import ROOT
from tests.support.torchserves import MIX

PAGE = ROOT / "docs" / "dense-models.md"
BATCH = MIX / "golden" / "batch16_0.bin"
_ARRAYS = arrays_of(BATCH.with_suffix(".npz"))
FILES = ("dense.pt", "dense.pt2", "compiled.pt2", "dense.onnx")


class One(torch.nn.Module):
    """A little of every tensor."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.over = torch.nn.Linear(5 + 8 + 45 + 16 + 8 + 90 + 4, 2)

    def forward(self, dense: list[torch.Tensor], embeddings: list[torch.Tensor]) -> torch.Tensor:
        flat = [embedding.float().flatten(1) for embedding in embeddings]
        return torch.sigmoid(self.over(torch.cat(dense + flat, 1)))


class Two(torch.nn.Module):
    """Two outputs, which have names."""

    def __init__(self) -> None:
        super().__init__()
        self.one = One()

    def forward(self, dense: list[torch.Tensor], embeddings: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        scores = self.one(dense, embeddings)
        return {"ctr": scores[:, 0], "both": scores}


def tensors(samples: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Dense tensors and embeddings of golden/mix's samples, over and over."""
    rows = torch.arange(samples) % 16
    dense = [torch.from_numpy(_ARRAYS["dense0"])[rows]]
    return dense, [torch.from_numpy(_ARRAYS[f"emb{i}"])[rows] for i in range(6)]


def page_blocks() -> list[str]:
    """The page's code: its own model first, and how it is written to files after that."""
    return re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def write_models(directory: Path, files: Mapping[str, Collection[str]]) -> None:
    """Directories `One` and `Two`, with the files that the page's code writes of these models instead of its own; and `page`,
    with those that it writes of its own, but for the one that takes a compiler.

    One process writes all of them, so that torch is imported once.
    """
    own, *blocks = page_blocks()
    lines = ["import os, runpy, torch", "from tests.support import dense_models"]
    for model, wanted in files.items():
        (directory / model).mkdir()
        unwanted = [f'"{file}"' for file in FILES if file not in wanted]
        writing = "\n".join(block for block in blocks if not any(file in block for file in unwanted))
        if model == "Two":  # whose names ONNX does not know by itself
            writing = writing.replace('"dense.onnx"', '"dense.onnx", output_names=["ctr", "both"]')
        lines += [f"os.chdir({str(directory / model)!r})", f"model = dense_models.{model}().eval()"]
        lines += ["dense, embeddings = dense_models.tensors(3)", writing]
    page = directory / "page"
    page.mkdir()
    (page / "page.py").write_text("".join(block for block in [own, *blocks] if "aoti" not in block))
    lines += [f"os.chdir({str(page)!r})", 'runpy.run_path("page.py", run_name="page")']
    compile_models(directory, "\n".join(lines))
