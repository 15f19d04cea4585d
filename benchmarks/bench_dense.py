"""The kinds of dense models side by side: how long each takes for a batch, on one thread.

usage: python benchmarks/bench_dense.py [--samples 1 128 2048] [--seconds 0.3] [--turns 9]

Two models: that of `make demo`, and a click model of ordinary size. Each is written as docs/dense-models.md says, and loaded as
the handler loads it; `eager` is the module itself. In each turn every kind is called in a loop for some time; the figure is the
least over the turns of the microseconds of CPU time of a call, so whatever else the machine does changes little.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from persia.dense.loading import load_dense

Tensors = list[torch.Tensor]
Call = Callable[[Tensors, Tensors], Any]


class Network(torch.nn.Module):
    """Layers over everything; `hidden` are their widths, but for the last, which is one."""

    def __init__(self, dense: int, features: int, dim: int, hidden: Sequence[int]) -> None:
        super().__init__()
        torch.manual_seed(0)
        widths = [dense + features * dim, *hidden, 1]
        layers = [[torch.nn.Linear(*pair), torch.nn.ReLU()] for pair in itertools.pairwise(widths)]
        self.layers = torch.nn.Sequential(*itertools.chain(*layers))
        self.layers[-1] = torch.nn.Sigmoid()
        self.sizes = (dense, features, dim)

    def forward(self, dense: list[torch.Tensor], embeddings: list[torch.Tensor]) -> torch.Tensor:
        return self.layers(torch.cat([dense[0]] + [embedding.float() for embedding in embeddings], 1))  # type: ignore[no-any-return]


MODELS = {"demo": Network(5, 8, 8, [16]), "click model": Network(13, 26, 16, [256, 64])}


def inputs_of(model: Network, samples: int) -> tuple[Tensors, Tensors]:
    dense, features, dim = model.sizes
    return [torch.rand(samples, dense)], [torch.rand(samples, dim).half() for _ in range(features)]


def kinds_of(model: Network, folder: Path) -> dict[str, Call]:
    """Each kind of the model, loaded from its file."""
    dense, embeddings = example = inputs_of(model, 3)
    batch = torch.export.Dim("batch")
    shapes: Any = ([{0: batch} for _ in dense], [{0: batch} for _ in embeddings])
    torch.jit.script(model).save(str(folder / "dense.pt"))
    exported = torch.export.export(model, example, dynamic_shapes=shapes)
    torch.export.save(exported, folder / "dense.pt2")
    torch._inductor.aoti_compile_and_package(exported, package_path=str(folder / "compiled.pt2"))
    torch.onnx.export(model, example, str(folder / "dense.onnx"), dynamo=True, dynamic_shapes=shapes, verbose=False)
    files = {"TorchScript": "dense.pt", "torch.export": "dense.pt2", "AOTInductor": "compiled.pt2", "ONNX": "dense.onnx"}
    return {"eager": model} | {kind: load_dense(folder / file) for kind, file in files.items()}


def microseconds(call: Call, inputs: tuple[Tensors, Tensors], seconds: float) -> float:
    """CPU time of one call, in a loop that takes so many seconds."""
    count, start = 0, time.process_time()
    while (passed := time.process_time() - start) < seconds:
        call(*inputs)
        count += 1
    return passed / count * 1e6


def least(kinds: dict[str, Call], inputs: tuple[Tensors, Tensors], turns: int, seconds: float) -> list[float]:
    """The microseconds of each kind."""
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    with torch.inference_mode():
        for _ in range(turns):
            for kind, call in kinds.items():
                times[kind].append(microseconds(call, inputs, seconds))
    return [min(found) for found in times.values()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, nargs="+", default=[1, 128, 2048])
    parser.add_argument("--seconds", type=float, default=0.3)
    parser.add_argument("--turns", type=int, default=9)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    for name, model in MODELS.items():
        with tempfile.TemporaryDirectory() as folder:
            kinds = kinds_of(model.eval(), Path(folder))
            print(f"{name + ', microseconds':<28}" + "".join(f"{kind:>14}" for kind in kinds))
            for samples in arguments.samples:
                found = least(kinds, inputs_of(model, samples), arguments.turns, arguments.seconds)
                print(f"{samples:<28}" + "".join(f"{time:>14.0f}" for time in found), flush=True)


if __name__ == "__main__":
    main()
