"""A learner of fastai, written as TorchScript and as ONNX: both are served without fastai.

usage: python fastai_export.py FOLDER

The learner here is a small one of a table with numbers and categories, trained for a second. Its model takes
`(categories, numbers)`; the module around it takes the two lists of a dense half (docs/dense-half.md), so that
`persia-launcher archive --model` packs either file. A model of texts or pictures goes the same way, by its own inputs.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from fastai.tabular.all import Categorify, CategoryBlock, Learner, Normalize, TabularDataLoaders, tabular_learner
from torch import Tensor, nn

NUMBERS, CATEGORIES = ["age", "income"], ["city"]
ROWS = 400


def learner() -> Learner:
    """Trained on made-up rows."""
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(rng.normal(size=(ROWS, len(NUMBERS))).astype(np.float32), columns=NUMBERS)
    rows["city"] = rng.choice(["Ulm", "Bonn", "Kiel"], ROWS)
    rows["clicked"] = (rows["age"] + (rows["city"] == "Kiel") > 0.5).astype(int)
    loaders = TabularDataLoaders.from_df(
        rows,
        procs=[Categorify, Normalize],
        cat_names=CATEGORIES,
        cont_names=NUMBERS,
        y_names="clicked",
        y_block=CategoryBlock(),
        bs=64,
    )
    learn = tabular_learner(loaders, layers=[16])
    with learn.no_bar(), learn.no_logging():
        learn.fit(2)
    return learn


class DenseHalf(nn.Module):
    """The learner's model, and what `get_preds` does with its answers, which is no part of the model.

    Numbers and categories come as fastai's procs leave them, in a tensor each: Normalize and Categorify are the caller's.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, dense: list[Tensor], embeddings: list[Tensor]) -> Tensor:
        return torch.softmax(self.model(dense[1], dense[0]), 1)[:, 1]


def export(learn: Learner, folder: Path) -> None:
    """Writes fastai.pt and fastai.onnx."""
    model = learn.model.cpu().eval()
    dense = [torch.zeros(3, len(NUMBERS)), torch.zeros(3, len(CATEGORIES), dtype=torch.int64)]
    numbers, categories = dense
    traced = torch.jit.trace(model, (categories, numbers))  # which torch.jit.script does not take
    torch.jit.script(DenseHalf(traced)).save(str(folder / "fastai.pt"))
    rows = torch.export.Dim("rows")
    shapes: tuple[list[dict[int, torch.export.Dim]], list[dict[int, torch.export.Dim]]] = ([{0: rows}, {0: rows}], [])
    torch.onnx.export(DenseHalf(model), (dense, []), str(folder / "fastai.onnx"), dynamo=True, dynamic_shapes=shapes)


def compare(learn: Learner, folder: Path) -> float:
    """The largest difference of both files' scores from the learner's own. Neither needs fastai."""
    from persia.dense.loading import load_dense

    scores, _ = learn.get_preds()
    parts = [(numbers, categories) for categories, numbers, _ in learn.dls.valid]
    dense = [torch.cat([numbers for numbers, _ in parts]), torch.cat([categories for _, categories in parts])]
    with torch.inference_mode():
        answers = [load_dense(folder / name)(dense, []) for name in ("fastai.pt", "fastai.onnx")]
    return max(float((answer - scores[:, 1]).abs().max()) for answer in answers)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    learn = learner()
    export(learn, target)
    print(f"fastai.pt and fastai.onnx give the learner's scores, within {compare(learn, target):.1g}")
