"""From a plain PyTorch model to scores, and through all that happens to a model afterwards. Each step is a function.

usage: python examples/from_pytorch/walk.py [DIRECTORY]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from model import COUNTRIES, DEVICES, HISTORY, ITEMS, USERS, Model, Samples, make_samples, train
from serving import Caller, Scores, Up, difference, wait_until

from persia.batch import PersiaBatch
from persia.client.predict import Client
from persia.export import Export, Feature, from_torch

# Scores are served from embeddings in f16, so they differ from the model's own in the fourth digit or later.
CLOSE = 2e-3

# The raw id of each row. Tags need none: theirs are the numbers of the rows.
ROW_IDS: dict[str, Any] = {"user": USERS, "item": np.array([0, *ITEMS]), "country": COUNTRIES, "device": DEVICES}


def features(model: Model) -> dict[str, Feature]:
    """The id features in the order in which the dense half takes them."""
    mapping = {
        "user": Feature("tables.user", ids=ROW_IDS["user"]),
        "item": Feature("tables.item", ids=ROW_IDS["item"]),
        "country": Feature("tables.country", ids=ROW_IDS["country"]),
        "tags": Feature("tables.tags"),
        "history": Feature("tables.item", length=HISTORY, keep="last"),
    }
    if model.with_device:
        mapping["device"] = Feature("tables.device", ids=ROW_IDS["device"])
    return mapping


def export(model: Model, out: Path, version: str) -> Export:
    """Everything that serves the model, proved by a sample of 64."""
    samples = make_samples(64, seed=77)
    mapping = features(model)
    return from_torch(
        model,
        mapping,
        out,
        sample={name: samples.ids()[name] for name in mapping},
        dense={"numbers": samples.numbers},
        inputs=samples.inputs(),
        dense_half="dense",
        name="ctr",
        version=version,
        shards=2,
    )


def check(exported: Export) -> str:
    """What `persia-launcher check` says about the files before they are served."""
    command = [sys.executable, "-m", "persia.launcher", "check", "--sample", str(exported.sample)]
    command += ["--global-config", str(exported.global_config), "--embedding-config", str(exported.embedding_config)]
    command += ["--model-store", str(exported.model_store)]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(f"persia-launcher check ended with {run.returncode}:\n{run.stdout}{run.stderr}")
    return run.stdout.strip()


def request(model: Model, samples: Samples) -> PersiaBatch:
    """What a caller sends: raw ids by name, and dense numbers."""
    ids = {name: samples.ids()[name] for name in features(model)}
    return PersiaBatch.from_dict(ids, {"numbers": samples.numbers})


def own_scores(model: Model, samples: Samples) -> Scores:
    with torch.no_grad():
        scores: Scores = model(**samples.inputs()).numpy()
    return scores


def serve_equal(client: Client, model: Model, samples: Samples) -> float:
    """Waits until the scores that are served are the model's own; returns how far they are apart."""
    batch, own = request(model, samples), own_scores(model, samples)
    wait_until(lambda: difference(client.predict(batch), own) < CLOSE)
    return difference(client.predict(batch), own)


def train_online(model: Model, exported: Export) -> int:
    """Trains the tables a bit more, and hands the changed rows to whatever serves them; returns how many."""
    before = {name: rows.clone() for name, rows in rows_of(model).items()}
    train(model, steps=30, seed=3, tables_only=True)
    count = 0
    with exported.dumper() as dumper:
        for name, rows in rows_of(model).items():
            changed = (rows != before[name]).any(1).nonzero().squeeze(1).numpy()
            ids = np.asarray(ROW_IDS.get(name, range(len(rows))))
            dumper.commit_feature(name, ids[changed], rows[changed].numpy())
            count += len(changed)
    return count


def rows_of(model: Model) -> dict[str, torch.Tensor]:
    """The tables' rows, by the name of the table."""
    return {name: table.get_parameter("weight").detach() for name, table in model.tables.items()}


def forget(model: Model, exported: Export, user: int) -> None:
    """A user asks to be forgotten: the row goes from what is served, and from the model that is trained on."""
    with exported.dumper() as dumper:
        dumper.delete_feature("user", [user])
    rows_of(model)["user"][np.searchsorted(USERS, user)] = 0


def main() -> None:
    directory = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="from-pytorch-"))
    model = Model()
    show("a model is trained", f"loss {train(model, steps=150, seed=1):.3f}")
    first = export(model, directory / "first", "1.0")
    show(f"it is exported to {first.directory}", str(first.proof))
    show("persia-launcher check", check(first))

    samples = make_samples(200, seed=99)
    with Up(first, directory / "state-1") as blue:
        client = blue.wait_ready().client()
        show("it is served, with the model's own scores", f"largest difference {serve_equal(client, model, samples):.1e}")

        before = own_scores(model, samples)
        rows = train_online(model, first)
        apart = serve_equal(client, model, samples)
        moved = difference(own_scores(model, samples), before)
        show(f"{rows} rows were trained further, and are served", f"scores moved by up to {moved:.2f}; difference {apart:.1e}")

        forget(model, first, samples.user[0])
        apart = serve_equal(client, model, samples)
        show(f"user {samples.user[0]} was forgotten: zeros in place of the row", f"largest difference {apart:.1e}")

        newer = Model(with_device=True)
        train(newer, steps=150, seed=2)
        second = export(newer, directory / "second", "2.0")
        show("a second version knows the device, too", str(second.proof))
        with Caller(client, request(model, samples)) as caller, Up(second, directory / "state-2") as green:
            moved_to = green.wait_ready().client()
            apart = serve_equal(moved_to, newer, samples)
            caller.move(moved_to, request(newer, samples))
            blue.stop()
            caller.stop()
        show("callers moved to it while they asked", f"{caller.answers} answers, {len(caller.errors)} errors; {apart:.1e}")


def show(step: str, text: str) -> None:
    print(f"\n== {step}\n{text}", flush=True)


if __name__ == "__main__":
    main()
