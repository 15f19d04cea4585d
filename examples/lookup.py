"""The tensors of a byte batch, as a handler gets them by way of a middleware.

usage: python examples/lookup.py BATCH.bin HOST:PORT
"""

from __future__ import annotations

import sys
from pathlib import Path

from persia.ctx import InferCtx
from persia.errors import PersiaError


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    _, path, middleware = sys.argv
    try:
        with InferCtx([middleware]) as context:
            dense, embeddings, _ = context.prepare_features(context.get_embedding_from_bytes(Path(path).read_bytes()))
    except (PersiaError, OSError) as error:
        print(f"lookup: {error}", file=sys.stderr)
        return 1
    for kind, tensors in (("dense", dense), ("embedding", embeddings)):
        for tensor in tensors:
            begin = " ".join(f"{number:.4f}" for number in tensor.flatten()[:4].tolist())
            print(f"{kind:<9} {tuple(tensor.shape)} {tensor.dtype}: {begin} ...")
    return 0


if __name__ == "__main__":
    sys.exit(main())
