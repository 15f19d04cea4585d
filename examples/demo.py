"""The whole of it on one machine: writes a small model, serves it, updates it while it serves, and swaps its dense half.

usage: make demo [ONCE=1]
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import yaml
from both_homes import serving, side_by_side

from persia.batch import IDTypeFeature, NonIDTypeFeature, PersiaBatch
from persia.config import load_embedding_config
from persia.deployment.child import Interrupted
from persia.deployment.deployment import Deployment
from persia.deployment.plan import DeploymentPlan
from persia.errors import PersiaError
from persia.signs import signs_of
from persia.system.address import free_ports
from persia.system.signals import StopSignal
from persia.writers import IncrementalDumper, write_checkpoint

ROOT = Path(__file__).resolve().parents[1]
FEATURES, IDS, ROWS, DIM, DENSE, SAMPLES = 8, 4, 1000, 8, 5, 4
PATIENCE = 30.0


class Network(torch.nn.Module):
    """Any TorchScript model will do that takes two lists of tensors."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(DENSE + FEATURES * DIM, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1), torch.nn.Sigmoid()
        )

    def forward(self, dense: list[torch.Tensor], embeddings: list[torch.Tensor]) -> torch.Tensor:
        return self.layers(torch.cat([dense[0]] + [embedding.float() for embedding in embeddings], 1))  # type: ignore[no-any-return]


class Demo:
    """Files go to `directory`, and with them whatever a real user would have of his own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.embedding_config = directory / "embedding_config.yml"
        self.global_config = directory / "global_config.yaml"
        self.batch = directory / "batch.bin"
        self.incremental_dir = directory / "incremental_dir"
        *servers, self.middleware, self.inference, self.management = free_ports(5)
        self.servers = [[f"127.0.0.1:{port}"] for port in servers]

    def write(self) -> None:
        """What training would have written: the configs, a sparse checkpoint, a batch, and two versions of a dense model."""
        names = [f"feature{i + 1}" for i in range(FEATURES)]
        self.embedding_config.write_text(
            yaml.safe_dump({"slots_config": {name: {"dim": DIM} for name in names}}, sort_keys=False)
        )
        checkpoint = self.directory / "checkpoint"
        config = {
            "common_config": {
                "infer_config": {"servers": [server for (server,) in self.servers], "embedding_checkpoint": str(checkpoint)}
            },
            "embedding_parameter_server_config": {
                "enable_incremental_update": True,
                "incremental_dir": str(self.incremental_dir),
            },
        }
        self.global_config.write_text(yaml.safe_dump(config, sort_keys=False))
        generator = np.random.default_rng(1)
        rows = generator.normal(0, 0.3, (FEATURES * ROWS, DIM)).astype(np.float32)
        write_checkpoint(checkpoint, [(self.signs(), rows)], shards=len(self.servers))

        ids = [list(generator.integers(0, ROWS, (SAMPLES, IDS)).astype(np.uint64)) for _ in names]
        batch = PersiaBatch(
            [IDTypeFeature(name, samples) for name, samples in zip(names, ids, strict=True)],
            non_id_type_features=[NonIDTypeFeature(generator.random((SAMPLES, DENSE), dtype=np.float32))],
            requires_grad=False,
        )
        self.batch.write_bytes(batch.to_bytes())
        (self.directory / "store").mkdir()
        for version in (1, 2):
            scripted = torch.jit.script(Network(version))
            scripted.save(str(self.directory / f"dense_{version}.pt"))
            self.launcher(
                *["archive", "--model", self.directory / f"dense_{version}.pt", "--name", "ctr", "--version", f"{version}.0"],
                *["--sample", self.batch, "--embedding-config", self.embedding_config, "--out", self.directory / "store"],
            )

    def signs(self) -> np.ndarray:
        """Those of all ids of all features: (FEATURES * ROWS)."""
        slots = load_embedding_config(self.embedding_config).slots.values()
        return np.concatenate([signs_of(np.arange(ROWS, dtype=np.uint64), slot)[0] for slot in slots])

    def plan(self) -> DeploymentPlan:
        arguments = ["--port", str(self.inference), "--management-port", str(self.management), "--health-port", "0"]
        arguments += ["--smoke", str(self.batch)]
        return DeploymentPlan(
            state=self.directory,
            global_config=self.global_config,
            embedding_config=self.embedding_config,
            servers=self.servers,
            middleware=f"127.0.0.1:{self.middleware}",
            model_store=self.directory / "store",
            models=["ctr=ctr-1.0.mar"],
            front_arguments=arguments,
        )

    def scores(self, token_file: str) -> str:
        """As `client/infer.py` prints them."""
        return self.run([sys.executable, ROOT / "client" / "infer.py", *self.asking(), "--token-file", token_file])

    def asking(self) -> list[str]:
        return ["--model-name", "ctr", "--address", f"127.0.0.1:{self.inference}", "--input", str(self.batch)]

    def drop_packet(self) -> None:
        """As a trainer does whenever rows have changed."""
        with IncrementalDumper(self.incremental_dir) as dumper:
            signs = self.signs()
            dumper.commit(signs, np.full((len(signs), DIM), 0.25, np.float32))

    def swap(self, token_file: str) -> None:
        address = ["--address", f"127.0.0.1:{self.management}", "--token-file", token_file]
        inference = ["--smoke", str(self.batch), "--inference-address", f"127.0.0.1:{self.inference}"]
        script = [sys.executable, ROOT / "client" / "manage.py", *address]
        self.run([*script, "swap", "ctr", "ctr-2.0.mar", "--drain", "1", *inference])

    def launcher(self, *arguments: object) -> str:
        return self.run([sys.executable, "-m", "persia.launcher", *arguments])

    @staticmethod
    def run(command: Sequence[object]) -> str:
        run = subprocess.run([str(part) for part in command], capture_output=True, text=True)
        if run.returncode:
            raise SystemExit(f"{' '.join(map(str, command))}\nended with {run.returncode}:\n{run.stderr}")
        return run.stdout.strip()


def show(step: str, text: str = "") -> None:
    print(f"\n== {step}")
    if text:
        print(text)
    sys.stdout.flush()


def walk_through(demo: Demo, deployment: Deployment, stop: StopSignal) -> None:
    """The steps, each with what it changes."""
    *_, token_file = deployment.endpoints()
    first = demo.scores(token_file)
    show("client/infer.py asks for the scores of four samples", first)

    demo.drop_packet()
    dropped = time.monotonic()
    while (second := demo.scores(token_file)) == first:
        if time.monotonic() > dropped + PATIENCE:
            raise SystemExit("the packet changed nothing")
    show("a packet of changed rows was dropped into incremental_dir, and is served", second)

    demo.swap(token_file)
    third = demo.scores(token_file)
    if third == second:
        raise SystemExit("the new version changed nothing")
    show("version 2.0 of the dense model was registered, and took the place of 1.0 without a lost request", third)

    show("starting the model server with the same archive")
    middleware = f"127.0.0.1:{demo.middleware}"
    with serving(demo.directory, demo.directory / "store", "ctr=ctr-2.0.mar", middleware, stop.wait_for) as address:
        homes = {"TorchServe": (f"127.0.0.1:{demo.inference}", token_file), "model server": (address, "")}
        shown = side_by_side("ctr", homes, demo.batch.read_bytes())
    show("both homes served the same archive to the same client", shown)


def addresses(demo: Demo, token_file: str) -> str:
    """Each with commands to try."""
    servers = [server for (server,) in demo.servers]
    middleware, management = f"127.0.0.1:{demo.middleware}", f"127.0.0.1:{demo.management}"
    python, launcher = Path(sys.executable), Path(sys.executable).with_name("persia-launcher")
    status, lookup = (ROOT / "examples" / name for name in ("status.py", "lookup.py"))
    infer, manage = (ROOT / "client" / name for name in ("infer.py", "manage.py"))
    tokens = ["--token-file", token_file]
    return f"""\
embedding servers  {", ".join(servers)}
    {typed(python, status, *servers)}
    {typed(launcher, "checkpoint", "inspect", demo.directory / "checkpoint")}
    {typed(launcher, "packet", "inspect", demo.incremental_dir)}
middleware         {middleware}
    {typed(python, status, middleware)}
    {typed(python, lookup, demo.batch, middleware)}
TorchServe         127.0.0.1:{demo.inference} (inference)
    {typed(python, infer, *demo.asking(), *tokens, "--repeat", 1000, "--concurrency", 4)}
TorchServe         {management} (management)
    {typed(python, manage, "--address", management, *tokens, "list")}
    {typed(python, manage, "--address", management, *tokens, "describe", "ctr")}
files and logs     {demo.directory}"""


def typed(*command: object) -> str:
    """As one types it here: what is in the checkout by its path from the current directory."""
    return shlex.join(
        os.path.relpath(part) if isinstance(part, Path) and part.is_relative_to(ROOT) else str(part) for part in command
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--once", action="store_true", help="end when all steps are done")
    once = parser.parse_args().once
    with tempfile.TemporaryDirectory(prefix="persia-demo-") as directory:
        demo = Demo(Path(directory))
        show("writing a checkpoint, a batch and two dense models")
        try:
            demo.write()
        except KeyboardInterrupt:
            return 130
        show("starting two embedding servers, the middleware and TorchServe")
        stop = StopSignal()
        stop.serving()
        deployment = Deployment(demo.plan(), print, stop.wait_for)
        try:
            deployment.start()
            walk_through(demo, deployment, stop)
            show("all of it is up", addresses(demo, deployment.endpoints()[2]))
            if not once:
                print("\nCtrl-C stops all.", flush=True)
                while not stop.wait_for(0.2):
                    deployment.watch()
        except Interrupted:
            pass
        except PersiaError as error:
            raise SystemExit(f"demo: {error}") from None
        finally:
            deployment.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
