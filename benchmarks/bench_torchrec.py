"""A DLRM of TorchRec: split and served by us, beside TorchRec's own modules and plain torch in a handler of the same home.

usage: python benchmarks/bench_torchrec.py [--rows 100000] [--shapes 1x1 128x1 128x16] [--callers 4] [--rounds 3] [--seconds 2]

Needs TorchRec: `make torchrec`. All three have the same rows and weights, and are asked through the model server, by the same
callers, with one worker and one thread each. TorchRec's and plain torch's handler get ids, lengths and dense numbers as raw
bytes, which is the least that a handler can read. Figures: medians over the rounds of requests a second and of the median
latency, ratios to TorchRec, and the memory of all processes of each (Pss, after the questions).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import torch
import yaml
from bench_e2e import PREDICTIONS, PROPERTIES, Home, Rate, ask, line, request_of
from torch import nn
from torchrec import EmbeddingBagCollection, EmbeddingBagConfig, KeyedJaggedTensor
from torchrec.models.dlrm import DLRM

from persia.torchrec import Split, split
from persia.torchserve.ready_line import find_ready_line
from persia.torchserve.schema import new_message

FEATURES, DIM, NUMBERS, BATCHES = 26, 16, 13, 10
NAMES = [f"c{number}" for number in range(FEATURES)]
LAUNCHER = Path(sys.executable).with_name("persia-launcher")
# Ids, lengths and numbers as they come, and the model as TorchRec has it, in eval mode.
TORCHREC = """
import numpy as np
import torch
from ts.torch_handler.base_handler import BaseHandler

class Handler(BaseHandler):
    def initialize(self, context):
        import sys
        sys.path.insert(0, "{benchmarks}")
        from bench_torchrec import new_model, plain_model
        torch.set_num_threads(1)
        state = torch.load("{state}")
        self.make = {make}
        self.model = self.make({rows}, state)
        self.initialized = True

    def handle(self, data, context):
        from bench_torchrec import unpacked
        with torch.no_grad():
            dense, lengths, values = unpacked(data[0]["batch"])
            return [torch.sigmoid(self.model(dense, lengths, values)).reshape(-1).tolist()]
"""


class OfTorchRec(nn.Module):
    """TorchRec's own modules, from tensors."""

    def __init__(self, model: DLRM) -> None:
        super().__init__()
        self.model = model

    def forward(self, dense: torch.Tensor, lengths: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.model(dense, KeyedJaggedTensor(keys=NAMES, values=values, lengths=lengths.reshape(-1)))
        return scores


class Plain(nn.Module):
    """nn.EmbeddingBag in the place of TorchRec's collection, as one writes it by hand."""

    def __init__(self, model: DLRM, rows: int) -> None:
        super().__init__()
        self.bags = nn.ModuleList([nn.EmbeddingBag(rows, DIM, mode="sum", include_last_offset=True) for _ in NAMES])
        self.dense_arch, self.inter_arch, self.over_arch = model.dense_arch, model.inter_arch, model.over_arch

    def forward(self, dense: torch.Tensor, lengths: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        parts = torch.split(values, lengths.sum(1).tolist())
        offsets = torch.nn.functional.pad(torch.cumsum(lengths, 1), (1, 0))
        pooled = [bag(part, offsets[number]) for number, (bag, part) in enumerate(zip(self.bags, parts, strict=True))]
        scores: torch.Tensor = self.over_arch(self.inter_arch(self.dense_arch(dense), torch.stack(pooled, 1)))
        return scores


def dlrm(rows: int) -> DLRM:
    torch.manual_seed(1)
    configs = [
        EmbeddingBagConfig(
            name=f"t_{name}", embedding_dim=DIM, num_embeddings=rows, feature_names=[name], init_fn=nn.init.normal_
        )
        for name in NAMES
    ]
    collection = EmbeddingBagCollection(device=torch.device("cpu"), tables=configs)
    return DLRM(collection, NUMBERS, [64, DIM], [64, 1])


def new_model(rows: int, state: Mapping[str, torch.Tensor]) -> nn.Module:
    model = dlrm(rows)
    model.load_state_dict(state)
    return OfTorchRec(model).eval()


def plain_model(rows: int, state: Mapping[str, torch.Tensor]) -> nn.Module:
    model = dlrm(rows)
    model.load_state_dict(state)
    made = Plain(model, rows)
    with torch.no_grad():
        for bag, name in zip(made.bags, NAMES, strict=True):
            bag.get_parameter("weight").copy_(state[f"sparse_arch.embedding_bag_collection.embedding_bags.t_{name}.weight"])
    return made.eval()


def request(shape: str, rows: int, rng: np.random.Generator) -> tuple[torch.Tensor, KeyedJaggedTensor]:
    """shape: samples x ids per feature."""
    samples, ids = map(int, shape.split("x"))
    lengths = torch.full((FEATURES * samples,), ids, dtype=torch.int64)
    values = torch.from_numpy(rng.integers(0, rows, FEATURES * samples * ids))
    dense = torch.from_numpy(rng.normal(size=(samples, NUMBERS)).astype(np.float32))
    return dense, KeyedJaggedTensor(keys=NAMES, values=values, lengths=lengths)


def packed(dense: torch.Tensor, kjt: KeyedJaggedTensor) -> bytes:
    head: bytes = np.array([len(dense)], np.int64).tobytes()
    arrays = [dense.numpy(), kjt.lengths().numpy(), kjt.values().numpy()]
    return b"".join([head, *(array.tobytes() for array in arrays)])


def unpacked(data: bytes) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    samples = int(np.frombuffer(data, np.int64, 1)[0])
    dense = np.frombuffer(data, np.float32, samples * NUMBERS, 8).reshape(samples, NUMBERS).copy()
    lengths = np.frombuffer(data, np.int64, FEATURES * samples, 8 + dense.nbytes).reshape(FEATURES, samples).copy()
    values = np.frombuffer(data, np.int64, -1, 8 + dense.nbytes + lengths.nbytes).copy()
    return torch.from_numpy(dense), torch.from_numpy(lengths), torch.from_numpy(values)


def ours(halves: Split, state: Path, directory: Path) -> Home:
    """`persia-launcher up` with an embedding server and the model server."""
    halves.write(directory)
    slots: list[str | Path] = ["--embedding-config", directory / "embedding_config.yml"]
    arguments: list[Any] = ["torch", state, directory / "checkpoint", "--map", directory / "tables.yml", "--shards", 1, *slots]
    subprocess.run([LAUNCHER, "import", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)
    archive: list[Any] = ["archive", "--model", directory / "dense.pt", "--name", "ctr", "--out", directory / "store", *slots]
    archive += ["--sample", directory / "sample.bin"]
    subprocess.run([LAUNCHER, *map(str, archive)], check=True, stdout=subprocess.DEVNULL)
    config = {"common_config": {"infer_config": {"embedding_checkpoint": str(directory / "checkpoint")}}}
    (directory / "global_config.yaml").write_text(yaml.safe_dump(config))
    (directory / "config.properties").write_text(PROPERTIES.format(0, 0, 0, 0, 0))
    home = Home("ours", directory / "up.log")
    up: list[str | Path] = [LAUNCHER, "up", "--no-check", "--global-config", directory / "global_config.yaml", *slots]
    up += ["--model-store", directory / "store", "--middleware-port", "0", "--state", directory / "state"]
    home.start([*up, "--front", "model-server", "--ts-config", directory / "config.properties"])
    home.wait(lambda: "Ctrl-C stops all" in home.log.read_text())
    home.address = home.log.read_text().partition("inference on ")[2].split(",")[0].split()[0]
    return home


def theirs(title: str, make: str, rows: int, state: Path, directory: Path) -> Home:
    """The model server with a handler that has the tables itself."""
    code = TORCHREC.format(benchmarks=Path(__file__).parent, state=state, make=make, rows=rows)
    (directory / "handler.py").write_text(code)
    archiver = [Path(sys.executable).with_name("torch-model-archiver"), "--model-name", "ctr", "--version", "1.0"]
    archiver += ["--handler", directory / "handler.py", "--export-path", directory]
    subprocess.run([*map(str, archiver)], check=True)
    (directory / "config.properties").write_text(PROPERTIES.format(0, 0, 0, 0, 0))
    home = Home(title, directory / "log")
    home.start(
        [
            LAUNCHER,
            "model-server",
            "--ts-config",
            directory / "config.properties",
            "--model-store",
            directory,
            "--models",
            "ctr.mar",
        ]
    )
    home.wait(lambda: find_ready_line(home.log.read_text()) is not None)
    ready = find_ready_line(home.log.read_text())
    assert ready is not None
    home.address = ready.inference
    return home


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000, help="of each of 26 tables of dim 16")
    parser.add_argument("--shapes", nargs="+", default=["1x1", "128x1", "128x16"], help="samples x ids per feature")
    parser.add_argument("--callers", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    rng, model = np.random.default_rng(1), dlrm(options.rows).eval()
    halves = split(model, request("4x1", options.rows, rng), output=nn.Sigmoid(), embeddings="f16")
    with tempfile.TemporaryDirectory(prefix="torchrec-") as scratch:
        state = Path(scratch) / "state.pt"
        torch.save(model.state_dict(), state)
        homes: list[Home] = []
        try:
            for title, make in (("TorchRec", "new_model"), ("torch", "plain_model")):
                directory = Path(scratch) / title
                directory.mkdir()
                homes.append(theirs(title, make, options.rows, state, directory))
                homes[-1].hold(True)
            homes.append(ours(halves, state, Path(scratch) / "ours"))
            homes[-1].hold(True)
            compare(homes, halves, options.rows)
            for shape, rates in measure(homes, halves, options).items():
                print(line(f"{shape}, {options.callers} callers", rates), flush=True)
            for home in homes:
                home.hold(False)
                print(f"{home.title}: {home.memory_mib():,.0f} MiB")
        finally:
            for home in homes:
                home.stop()


def compare(homes: Sequence[Home], halves: Split, rows: int) -> None:
    """Raises SystemExit unless all answer the same scores, but for embeddings in float16."""
    dense, kjt = request("128x16", rows, np.random.default_rng(3))
    scores = []
    for home in homes:
        home.hold(False)
        batch = halves.batch(kjt, dense).to_bytes() if home.title == "ours" else packed(dense, kjt)
        with grpc.insecure_channel(home.address) as channel:
            call: Any = channel.unary_unary(PREDICTIONS)
            answer = call(request_of("ctr", batch), timeout=60)
        scores.append(np.ravel(json.loads(new_message("PredictionResponse").FromString(answer).prediction)))
        home.hold(True)
    apart = max(float(np.abs(one - scores[0]).max()) for one in scores)
    print(f"scores are {apart:.1e} apart, of 128 samples from {scores[0].min():.4f} to {scores[0].max():.4f}")
    if apart > 5e-3:
        raise SystemExit("they are not the same model")


def measure(homes: Sequence[Home], halves: Split, options: argparse.Namespace) -> dict[str, dict[str, list[Rate]]]:
    found: dict[str, dict[str, list[Rate]]] = defaultdict(lambda: defaultdict(list))
    rng = np.random.default_rng(2)
    asked: dict[str, list[Any]] = {
        shape: [request(shape, options.rows, rng) for _ in range(BATCHES)] for shape in options.shapes
    }
    for turn in range(options.rounds + 1):  # the first one warms up
        for home in homes if turn % 2 else homes[::-1]:
            home.hold(False)
            for shape, samples in asked.items():
                is_ours = home.title == "ours"
                batches = [halves.batch(kjt, dense).to_bytes() if is_ours else packed(dense, kjt) for dense, kjt in samples]
                rate = ask(home, [request_of("ctr", batch) for batch in batches], options.callers, options.seconds)
                if turn:
                    found[shape][home.title].append(rate)
            home.hold(True)
    return found


if __name__ == "__main__":
    main()
