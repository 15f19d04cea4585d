"""`python -m persia.export.answer`: one request to the handler of an archive, in a process of its own, without TorchServe.

The handler sets up its whole process (threads, logging), which may not happen to the trainer that exports a model.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from persia.npz import read_npz
from persia.torchserve.archive.handler_loading import handler_class, unpacked_context
from persia.torchserve.scores import BATCH, FORMAT, NPY, decode_scores

__all__ = ["main", "read_answer"]

SCORES, EMBEDDING = "scores.", "embedding."


def main() -> None:
    """Scores the batch, and writes the scores and the embeddings that the handler saw to an .npz file."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--archive", "--batch", "--out"):
        parser.add_argument(name, type=Path, required=True)
    arguments = parser.parse_args()
    request: dict[str, Any] = {BATCH: arguments.batch.read_bytes(), FORMAT: NPY}
    with tempfile.TemporaryDirectory() as directory:
        context = unpacked_context(arguments.archive, Path(directory))
        handler = handler_class(Path(directory) / context.manifest["model"]["handler"])()
        handler.initialize(context)
        (features,) = handler.preprocess([request])
        (answer,) = handler.handle([request], context)
    scores: Any = decode_scores(answer)  # a dict where there are several outputs
    named = scores if isinstance(scores, dict) else {"scores": scores}
    arrays: dict[str, Any] = {f"{SCORES}{name}": array for name, array in named.items()}
    arrays |= {f"{EMBEDDING}{i}": embedding.cpu().numpy() for i, embedding in enumerate(features.embeddings)}
    np.savez(arguments.out, **arrays)


def read_answer(path: Path) -> tuple[dict[str, np.ndarray[Any, Any]], list[np.ndarray[Any, Any]]]:
    """What main() wrote: scores by the name of the output, and embeddings in the order of the model."""
    arrays = read_npz(path)
    scores = {name.removeprefix(SCORES): array for name, array in arrays.items() if name.startswith(SCORES)}
    return scores, [arrays[f"{EMBEDDING}{i}"] for i in range(len(arrays) - len(scores))]


if __name__ == "__main__":
    main()
