"""Writes the files in tests/data/dumps/torch: `python tests/support/dumps/torch_dumps.py tests/data/dumps/torch`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch


def numbers(rows: int, dim: int, start: int = 0) -> torch.Tensor:
    """Halves from `start` on, which every type of floats holds exactly."""
    return (torch.arange(rows * dim, dtype=torch.float32) / 2 + start).reshape(rows, dim)


def main(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    bag = torch.nn.EmbeddingBag(5, 4, mode="sum")
    bag.weight.data.copy_(numbers(5, 4))
    marked = torch.nn.Parameter(numbers(2, 2))
    marked.note = "kept"  # type: ignore[attr-defined]  # which makes torch write it in another way
    state = {
        **{f"bag.{name}": tensor for name, tensor in bag.state_dict().items()},
        "parameter.emb": torch.nn.Parameter(numbers(3, 2)),
        "marked.emb": marked,
        "half_embeddings.weight": numbers(6, 2).half(),
        "brain_embeddings.weight": numbers(6, 2).bfloat16(),
        "double_embeddings.weight": numbers(6, 2).double(),
        "part_of_emb.weight": numbers(9, 2)[2:5],
        "turned_emb.weight": numbers(4, 3).t(),
        "top.weight": numbers(2, 3),
        "top.bias": torch.zeros(2),
        "steps": torch.tensor(7),
        "seen": torch.arange(3).to(torch.uint32),
    }
    torch.save({"state_dict": state, "epoch": 3, "arguments": argparse.Namespace(rate=0.1)}, directory / "nested.pt")
    keyed = {
        "user": {"ids": torch.tensor([7, -1, 40]), "rows": numbers(3, 2), "exp_avg": numbers(3, 2, start=9)},
        "short": {"keys": torch.tensor([7, 8]), "rows": numbers(3, 2)},
        "by_id": {7: numbers(1, 2)[0], 40: numbers(1, 2)[0]},
        "sparse": numbers(3, 2).to_sparse(),
        "quantised": torch.quantize_per_channel(numbers(3, 2), torch.ones(3), torch.zeros(3), 0, torch.quint8),
        "small": numbers(3, 2).to(torch.float8_e4m3fn),
    }
    torch.save(keyed, directory / "keyed.pt")
    torch.save(bag, directory / "whole.pt")
    torch.save(numbers(2, 3), directory / "old.pt", _use_new_zipfile_serialization=False)
    (directory / "versions.txt").write_text(f"torch {torch.__version__}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
