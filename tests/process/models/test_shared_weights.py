"""Weights that stay in the model's file: processes that load it share their memory, and the model answers as before."""

from __future__ import annotations

import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from persia.dense.loading import load_dense
from persia.dense.named.loading import load_named
from persia.handlers.tensor_handler import TensorHandler
from persia.open_inference.declared import Declared
from persia.shared_weights import share_weights

pytestmark = [
    pytest.mark.whole_way,
    pytest.mark.filterwarnings("ignore:.torch.jit.*is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:No complete tensor found in the group:UserWarning"),  # of the transposed one
]
SIDE = 256
WEIGHT = SIDE * SIDE * 4  # bytes


class Layers(torch.nn.Module):
    """Of two large weights one is tied, one of half floats is transposed, and the biases are small."""

    table: torch.Tensor

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.second, self.third = (torch.nn.Linear(SIDE, SIDE) for _ in range(3))
        self.third.weight = self.first.weight
        self.register_buffer("table", torch.rand(SIDE, SIDE, dtype=torch.float16).t())

    def forward(self, dense: list[torch.Tensor], embeddings: list[torch.Tensor]) -> torch.Tensor:
        first: torch.Tensor = self.first(dense[0])
        last: torch.Tensor = self.third(self.second(first)) @ self.table.float()
        return last + embeddings[0]


INPUT: tuple[list[torch.Tensor], list[torch.Tensor]] = ([torch.ones(2, SIDE)], [torch.ones(2, 1)])


@pytest.fixture
def scripted(tmp_path: Path) -> Path:
    write(tmp_path / "model.pt", seed=0)
    return tmp_path / "model.pt"


def write(path: Path, seed: int) -> None:
    traced: torch.jit.ScriptModule = torch.jit.trace(Layers(seed), INPUT)
    traced.save(str(path))


def is_mapped(path: Path) -> bool:
    return f" {path}" in Path("/proc/self/maps").read_text()


def test_large_weights_are_pages_of_the_file_and_answers_stay(scripted: Path) -> None:
    own = load_dense(scripted)
    assert not is_mapped(scripted)
    shared = load_dense(scripted, shared=True)
    assert is_mapped(scripted)
    with torch.inference_mode():
        assert torch.equal(own(*INPUT), shared(*INPUT))
        scripted.unlink()
        assert torch.equal(own(*INPUT), shared(*INPUT))


def test_those_of_an_exported_graph_too(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    torch.export.save(torch.export.export(Layers().eval(), INPUT), path)
    own, shared = load_dense(path), load_dense(path, shared=True)
    assert is_mapped(path)
    named = load_named(path, torch.device("cpu"), Declared(), shared=True)
    assert own.module is not None and named.module is not None
    assert all(map(torch.equal, named.module.parameters(), own.module.parameters()))
    with torch.inference_mode():
        assert torch.equal(own(*INPUT), shared(*INPUT))


def test_a_worker_without_a_handler_of_its_own_shares_them(scripted: Path) -> None:
    handler = TensorHandler()
    model = {"modelName": "layers", "serializedFile": scripted.name, "modelVersion": "1.0"}
    handler.initialize(
        SimpleNamespace(manifest={"model": model}, system_properties={"model_dir": str(scripted.parent)}, model_name="layers")
    )
    assert is_mapped(scripted)


def test_what_is_written_to_a_weight_stays_out_of_the_file(scripted: Path) -> None:
    before, module = scripted.read_bytes(), torch.jit.load(str(scripted))
    assert share_weights(module, scripted) == 2 * WEIGHT
    with torch.no_grad():
        module.second.weight.zero_()
    assert scripted.read_bytes() == before
    assert not module.second.weight.any() and module.first.weight.any()


class Counting(torch.nn.Module):
    """Two tensors are equal at first, and one is a part of a third one; it writes to all of them."""

    counts: torch.Tensor
    sums: torch.Tensor
    whole: torch.Tensor
    part: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("counts", "sums", "whole"):
            self.register_buffer(name, torch.zeros(SIDE, SIDE))
        self.register_buffer("part", self.whole[:8])

    def forward(self, value: torch.Tensor) -> tuple[torch.Tensor, ...]:
        for tensor, more in ((self.counts, torch.ones(1)), (self.sums, value), (self.whole, 2 * value)):
            tensor.add_(more)
        return self.counts.max(), self.sums.max(), self.whole.max(), self.part.max()


def test_tensors_that_a_model_writes_to_stay_apart_and_their_parts_with_them(tmp_path: Path) -> None:
    model, path = Counting(), tmp_path / "model.pt"
    traced: torch.jit.ScriptModule = torch.jit.trace(model, (torch.tensor(5.0),), check_trace=False)
    for tensor in model.buffers():
        tensor.zero_()  # the trace has run once
    traced.save(str(path))
    module = torch.jit.load(str(path))
    assert share_weights(module, path) > 0
    for answers in ([1, 5, 10, 10], [2, 10, 20, 20]):
        assert [float(number) for number in module(torch.tensor(5.0))] == answers


def test_a_file_with_other_bytes_gives_nothing(scripted: Path, tmp_path: Path) -> None:
    write(tmp_path / "other.pt", seed=1)
    module = torch.jit.load(str(scripted))
    weights = {name: weight.clone() for name, weight in module.state_dict().items()}
    assert share_weights(module, tmp_path / "other.pt") == 0
    assert all(torch.equal(weight, weights[name]) for name, weight in module.state_dict().items())


def test_a_directory_that_is_served_in_place_stays_its_owners(scripted: Path, tmp_path: Path) -> None:
    (tmp_path / "unpacked").symlink_to(tmp_path, target_is_directory=True)
    load_dense(tmp_path / "unpacked" / scripted.name, shared=True)
    assert not is_mapped(scripted)


def test_files_without_plain_tensors_are_left_alone(scripted: Path, tmp_path: Path) -> None:
    module = torch.jit.load(str(scripted))
    with zipfile.ZipFile(scripted) as before, zipfile.ZipFile(tmp_path / "small.pt", "w", zipfile.ZIP_DEFLATED) as after:
        for name in before.namelist():
            after.writestr(name, before.read(name))
    (tmp_path / "text").write_text("no archive")
    (tmp_path / "empty").touch()
    for name in ("small.pt", "text", "empty"):
        assert share_weights(module, tmp_path / name) == 0
    assert share_weights(None, scripted) == share_weights(torch.nn.ReLU(), scripted) == 0
