"""What a handler of handler_factory does before its first request."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from ts.context import Context

from persia.errors import ConfigError, InvalidInput, PersiaError
from persia.handlers.factory.handler import handler_factory
from persia.handlers.factory.machine import device_of, limit_gpu_memory
from tests.support.factory_handlers import linear, started


def test_the_class_is_of_the_module_that_asks_for_it() -> None:
    assert handler_factory(linear).__module__ == __name__


def test_the_steps_come_in_order_with_their_arguments(tmp_path: Path) -> None:
    steps: list[Any] = []

    def init(*args: Any, **kwargs: Any) -> torch.nn.Module:
        steps.append((args, kwargs))
        return linear()

    handler = handler_factory(init, abs, abs, lambda: steps.append("install"), lambda: steps.append("unpack"), 1, a=2)()
    handler.initialize(Context("m", str(tmp_path), {"model": {}}, 1, None, "1"))
    assert steps == ["install", "unpack", ((1,), {"a": 2})]
    assert torch.get_num_threads() == 1 and not handler.model.training


@pytest.mark.parametrize("step", ["install_packages", "unpack_dependencies"])
def test_a_step_that_fails_is_named(tmp_path: Path, step: str) -> None:
    def fail() -> None:
        raise OSError("no such place")

    with pytest.raises(PersiaError, match=f"^{step} failed: OSError: no such place$"):
        started(tmp_path, **{step: fail})


def test_a_model_has_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"expected init_function to return a torch\.nn\.Module, got int"):
        started(tmp_path, lambda: 7)
    with pytest.raises(PersiaError, match="init_function failed: ZeroDivisionError"):
        started(tmp_path, lambda: 1 // 0)


def test_weights_come_from_a_state_dict_or_safetensors_or_init_function(tmp_path: Path) -> None:
    weights = {name: value + 1 for name, value in linear().state_dict().items()}
    torch.save(weights, tmp_path / "a.pth")
    save_file(weights, tmp_path / "b.pth")
    (tmp_path / "c.pth").touch()
    for name, want in (("a.pth", weights), ("b.pth", weights), ("c.pth", linear().state_dict()), (None, linear().state_dict())):
        found = started(tmp_path, checkpoint=name).model.state_dict()
        assert all(torch.equal(found[key], want[key]) for key in want)


class Runs:
    """What would run if its pickle was loaded."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("here"),)


CHECKPOINTS = {
    "whole": (linear(), r"expected a state_dict in x\.pth, got a whole model, .*torch\.save\(model\.state_dict\(\), path\)"),
    "tensor": (torch.ones(1), r"expected a state_dict in x\.pth, got Tensor"),
    "code": ({"weight": Runs()}, "expected a state_dict"),
    "keys": ({"weight": torch.ones(3, 2), "bais": torch.ones(3)}, "of Linear: there is no bias; the model has no bais"),
    "shape": ({"weight": torch.ones(3, 3), "bias": torch.ones(3)}, "of Linear: .*size mismatch for weight"),
}


@pytest.mark.parametrize(("content", "message"), CHECKPOINTS.values(), ids=list(CHECKPOINTS))
def test_a_checkpoint_that_is_not_the_models_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: Any, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(InvalidInput, match=f"(?s){message}"):
        started(tmp_path, checkpoint="x.pth")
    assert not Path("here").exists()


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.pth").write_bytes(b"nothing of the kind")
    with pytest.raises(InvalidInput, match=r"expected a state_dict in x\.pth"):
        started(tmp_path, checkpoint="x.pth")
    (tmp_path / "x.pth").write_bytes((8).to_bytes(8, "little") + b"{broken!" + bytes(8))
    with pytest.raises(InvalidInput, match=r"expected safetensors in x\.pth"):
        started(tmp_path, checkpoint="x.pth")


SYSTEMS = [{"maxMemory": "much"}, {"maxGPUMemory": 0}, {"threads": True}, {"answers": "xml"}, {"stack": "no"}]


@pytest.mark.parametrize("system", [*SYSTEMS, 7], ids=str)
def test_a_setting_that_is_wrong_is_named(tmp_path: Path, system: Any) -> None:
    key = f".{next(iter(system))}" if isinstance(system, dict) else ""
    with pytest.raises(ConfigError, match=rf"expected .* at `\$\.system{key}`"):
        started(tmp_path, config={"system": system})


def test_without_a_gpu_the_model_runs_on_the_cpu_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = {"deviceType": "gpu", "system": {"maxGPUMemory": 500, "extra": 1}}
    handler = started(tmp_path, config=config, gpu=None)
    assert handler.device == torch.device("cpu")
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert any("runs on the CPU: its deviceType is gpu" in line for line in said)
    assert any("maxGPUMemory is 500 MB" in line for line in said)
    assert any("$.system.extra, which is not read" in line for line in said)


def test_the_memory_of_a_gpu_is_limited_by_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=2000 << 20))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *arguments: calls.append(arguments))
    device = device_of(1, "gpu")
    for megabytes in (500, 9000):
        limit_gpu_memory(megabytes, device)
    assert calls == [(0.25, torch.device("cuda:1")), (1.0, torch.device("cuda:1"))]


LIMITED = """
import torch
from persia.handlers.factory.machine import limit_memory
from persia.handlers.factory.failures import failure_of
from persia.errors import TooLarge
limit_memory(200)
kept = torch.ones(25 << 20)
try:
    torch.ones(50 << 20)
except RuntimeError as error:
    assert isinstance(failure_of(error, "the model"), TooLarge)
    print("refused", torch.ones(1 << 20).numel() + kept.numel())
"""


def test_memory_is_limited_to_what_the_model_may_use() -> None:
    run = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, check=False)
    assert run.stdout == f"refused {26 << 20}\n", run.stderr
