"""Models with a signature for tests, packed by `persia-launcher archive`; byte batches in another order; calls over HTTP."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from click.testing import CliRunner

from persia.batch import IDTypeFeature, NonIDTypeFeature, PersiaBatch
from persia.signature import Signature, read_signature
from persia.torchserve.archive.command import archive
from persia.torchserve.archive.contents import open_archive
from tests.support.reference import Batch
from tests.support.servers import PATIENCE
from tests.support.torchserves import MIX, TorchServeRun

CONFIG = MIX / "embedding_config.yml"


class Two(torch.nn.Module):
    """Its outputs tell in which order it got what; the first is NaN where the first dense number is."""

    def forward(self, dense: list[torch.Tensor], embeddings: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        pooled, raw, stacked = embeddings[0].float(), embeddings[1].float(), embeddings[2].float()
        return {"first": dense[0][:, 0], "parts": torch.stack([pooled.sum(1), raw.sum([1, 2]), stacked.sum(1)], 1)}


def rebuilt(
    data: bytes, order: Sequence[str] | None = None, dense: Sequence[NonIDTypeFeature] | None = None, **rename: str
) -> bytes:
    """A byte batch with its features in another order or under other names, or with other dense tensors."""
    batch = Batch.read(data)
    assert batch.features is not None
    features = {feature.name: feature for feature in batch.features}
    made = [
        IDTypeFeature(rename.get(name, name), [np.array(ids, np.uint64) for ids in features[name].samples()])
        for name in (order if order is not None else features)
    ]
    kept = [NonIDTypeFeature(array, name) for name, array in batch.dense] if dense is None else dense
    return PersiaBatch(made, kept, requires_grad=False).to_bytes()


def pack(store: Path, name: str, model: Path, sample: Path, *options: str, **settings: Any) -> str:
    """The name of a new archive in the store. settings: of model-config.yaml."""
    config = store.with_name(f"{name}.yml")
    config.write_text(yaml.safe_dump(settings))
    arguments = ["--model", model, "--name", name, "--out", store, "--sample", sample, "--config", config, *options]
    run = CliRunner().invoke(archive, [*map(str, arguments), "--embedding-config", str(CONFIG)], catch_exceptions=False)
    assert run.exit_code == 0, run.output
    return f"{name}-1.0.mar"


def signature_of_archive(path: Path) -> Signature | None:
    """None: the archive has none."""
    signature = open_archive(path).signature
    return None if signature is None else read_signature(signature)


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


def post(
    run: TorchServeRun, model: str, body: bytes | dict[str, Any], kind: str = "application/json", **headers: str
) -> Answer:
    """What TorchServe answers over HTTP, whatever the status. Names of headers come back in lower case."""
    port = run.said(r"inference over HTTP on port (\d+)")[1]
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/predictions/{model}", data, {"Content-Type": kind, **named})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            return Answer(response.status, {name.lower(): value for name, value in response.headers.items()}, response.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, {name.lower(): value for name, value in error.headers.items()}, error.read())
