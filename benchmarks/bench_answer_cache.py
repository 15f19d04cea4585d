"""The handler with and without its cache of answers: a request that was scored before, and one that was not.

usage: PYTHONPATH=. python benchmarks/bench_answer_cache.py [--rounds 5] [--calls 200]

One shard with 26 features of dim 16, 13 dense numbers, and a perceptron of 512, 256 and 1 as the dense model, in one thread.
The handler is called as TorchServe's worker calls it, in this process; it routes by itself. Figures: milliseconds a request
(the least over the rounds, contenders take turns), and hit and miss as parts of what a request takes without the cache.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
import warnings
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import yaml

from persia.batch import IDTypeFeature, NonIDTypeFeature, PersiaBatch
from persia.config import load_embedding_config
from persia.handlers.persia_handler import PersiaHandler  # type: ignore[import-not-found, import-untyped, unused-ignore]
from persia.writers import write_checkpoint
from tests.support.servers import EmbeddingServer

FEATURES, DIM, NUMBERS, ROWS = 26, 16, 13, 100_000
SAMPLES = (1, 128, 2048)


class Perceptron(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        widths = (FEATURES * DIM + NUMBERS, 512, 256, 1)
        steps = [step for a, b in pairwise(widths) for step in (torch.nn.Linear(a, b), torch.nn.ReLU())]
        self.steps = torch.nn.Sequential(*steps[:-1])

    def forward(self, dense: list[torch.Tensor], embeddings: list[torch.Tensor]) -> torch.Tensor:
        return torch.sigmoid(self.steps(torch.cat([dense[0]] + [one.float() for one in embeddings], 1)))


def write_model(directory: Path) -> tuple[Path, Path]:
    """Returns the embedding config and the checkpoint."""
    path = directory / "embedding_config.yml"
    path.write_text(yaml.safe_dump({"slots_config": {f"feature{i}": {"dim": DIM} for i in range(FEATURES)}}, sort_keys=False))
    values = np.random.default_rng(1).random((ROWS, DIM), np.float32)
    slots = load_embedding_config(path).slots.values()
    blocks = [(np.arange(ROWS, dtype=np.uint64) + np.uint64(slot.prefix), values) for slot in slots]
    write_checkpoint(directory / "checkpoint", blocks, shards=1)
    return path, directory / "checkpoint"


def handler_of(directory: Path, config: Path, address: str, cache_mib: int) -> tuple[PersiaHandler, Any]:
    """And the context of its calls."""
    settings = {"addresses": [[address]], "embedding_config": str(config), "answer_cache_mib": cache_mib}
    metrics = SimpleNamespace(add_counter=lambda name, value: None)
    context = SimpleNamespace(
        manifest={"model": {"modelName": "bench", "modelVersion": "1.0", "serializedFile": "dense.pt"}},
        system_properties={"model_dir": str(directory), "gpu_id": None},
        model_yaml_config={"persia": settings},
        metrics=metrics,
        get_all_request_header=lambda i: {},
        get_request_header=lambda i, name: None,
    )
    handler = PersiaHandler()
    handler.initialize(context)
    return handler, context


def batch_of(samples: int, seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    ids = [IDTypeFeature(f"feature{i}", list(rng.integers(0, ROWS, (samples, 1), np.uint64))) for i in range(FEATURES)]
    dense = NonIDTypeFeature(rng.random((samples, NUMBERS), np.float32))
    return bytes(PersiaBatch(ids, [dense], requires_grad=False).to_bytes())


def ms_a_call(handler: PersiaHandler, context: Any, batches: list[bytes]) -> float:
    began = time.perf_counter()
    for batch in batches:
        handler.handle([{"batch": bytearray(batch), "format": bytearray(b"npy")}], context)
    return (time.perf_counter() - began) * 1000 / len(batches)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=200, help="of each turn, with one sample; fewer with more")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message=".*torch.jit", category=DeprecationWarning)
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        torch.jit.script(Perceptron()).save(str(directory / "dense.pt"))
        config, checkpoint = write_model(directory)
        with EmbeddingServer(directory, config, checkpoint=checkpoint) as server:
            server.wait_ready()
            plain = handler_of(directory, config, server.address, 0)
            caching = handler_of(directory, config, server.address, 256)
            print("samples   off ms   miss ms    hit ms   miss/off  hit/off")
            for samples in SAMPLES:
                report(samples, plain, caching, options.rounds, max(5, options.calls * 4 // (samples + 3)))


def report(samples: int, plain: tuple[Any, Any], caching: tuple[Any, Any], rounds: int, calls: int) -> None:
    for handler in (plain, caching):
        ms_a_call(*handler, [batch_of(samples, 10**6 + seed) for seed in range(10)])  # TorchScript specialises itself
    turns: dict[str, list[float]] = {"off": [], "miss": [], "hit": []}
    for turn in range(rounds):
        new = [batch_of(samples, 1 + turn * calls + i) for i in range(calls)]
        turns["off"].append(ms_a_call(*plain, new))
        turns["miss"].append(ms_a_call(*caching, new))
        turns["hit"].append(ms_a_call(*caching, new))
    off, miss, hit = (min(turns[name]) for name in ("off", "miss", "hit"))
    print(f"{samples:7} {off:8.3f} {miss:9.3f} {hit:9.3f} {miss / off:10.2f} {hit / off:8.2f}")


if __name__ == "__main__":
    main()
