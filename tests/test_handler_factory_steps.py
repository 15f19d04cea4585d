"""What a handler of handler_factory does before its first request, and with each batch, without a TorchServe."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from ts.context import Context, RequestProcessor
from ts.utils.util import PredictionException

from handlers.factory.handler import FactoryHandler, handler_factory
from handlers.factory.machine import device_of, limit_gpu_memory
from persia.errors import ConfigError, InvalidInput, PersiaError, TooLarge


def linear() -> torch.nn.Module:
    torch.manual_seed(3)
    return torch.nn.Linear(2, 3)


def started(directory: Path, init: Callable[..., Any] = linear, *functions: Any, **options: Any) -> FactoryHandler:
    """config, checkpoint, gpu: of the archive; the others are init's."""
    config, checkpoint, gpu = (options.pop(key, None) for key in ("config", "checkpoint", "gpu"))
    handler = handler_factory(init, *functions, **options)()
    manifest = {"model": {"serializedFile": checkpoint} if checkpoint else {}}
    handler.initialize(Context("m", str(directory), manifest, 1, gpu, "1", model_yaml_config=config))
    return handler


class Answers(NamedTuple):
    values: list[Any]
    statuses: list[int]


def asked(handler: FactoryHandler, *samples: Any, **headers: str) -> Answers:
    """What callers get who send these samples together: JSON, without the form around it."""
    context = Context("m", "", {}, len(samples), None, "1")
    context.request_processor = [RequestProcessor({"Accept": "application/json", **headers}) for _ in samples]
    bodies = [{"data": sample if isinstance(sample, bytes) else json.dumps(sample).encode()} for sample in samples]
    answers = handler.handle(bodies, context)
    statuses = [context.get_response_status(i)[0] or 200 for i in range(len(samples))]
    parsed = [json.loads(answer) for answer in answers]
    return Answers([answer.get("output", answer.get("message")) for answer in parsed], statuses)


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
from handlers.factory.machine import limit_memory
from handlers.factory.failures import failure_of
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


def test_an_answer_is_in_jsonpickles_text_unless_json_is_asked_for(tmp_path: Path) -> None:
    handler = started(tmp_path, linear, lambda x: x, lambda row: (len(row), {"a": 1.5}))
    context = Context("m", "", {}, 1, None, "1")
    context.request_processor = [RequestProcessor({"Accept": "*/*"})]
    (answer,) = handler.handle([{"data": bytearray(b"[1.0, 2.0]")}], context)
    assert answer == '{\n  "output": "{\\"py/tuple\\": [3, {\\"a\\": 1.5}]}"\n}'
    assert asked(handler, [1.0, 2.0]).values == [[3, {"a": 1.5}]]
    handler = started(tmp_path, linear, config={"system": {"answers": "json"}})
    (answer,) = handler.handle([{"data": bytearray(b"[1.0, 2.0]")}], context)
    assert len(json.loads(answer)["output"]) == 3


class Recorder(torch.nn.Module):
    """Remembers how large the batches were."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def forward(self, *args: torch.Tensor, **kwargs: torch.Tensor) -> Any:
        tensors = [*args, *kwargs.values()]
        self.batches.append(len(tensors[0]))
        if (tensors[0] == 13).any():
            raise RuntimeError("thirteen")
        sums = [tensor.reshape(len(tensor), -1).sum(1) for tensor in tensors]
        return {"sums": sums, "pair": (torch.stack(sums, 1), None), **{key: value for key, value in kwargs.items()}}


def test_samples_go_to_the_model_by_their_shapes_and_come_back_in_order(tmp_path: Path) -> None:
    handler = started(tmp_path, Recorder)
    pair = {"py/tuple": [[1.0], [[2.0, 3.0]]]}
    samples: list[Any] = [[1.0, 2.0], [3.0], [4.0, 5.0], pair, {"a": [6.0], "b": 7.0}, [1, 2], pair]
    values = asked(handler, *samples).values
    assert [value["sums"] for value in values] == [[3.0], [3.0], [9.0], [1.0, 5.0], [6.0, 7.0], [3], [1.0, 5.0]]
    assert values[4] == {"sums": [6.0, 7.0], "pair": [[6.0, 7.0], None], "a": [6.0], "b": 7.0}
    assert sorted(handler.model.batches) == [1, 1, 1, 2, 2]


def test_a_sample_that_the_model_cannot_take_fails_alone(tmp_path: Path) -> None:
    handler = started(tmp_path, Recorder)
    answers = asked(handler, [1.0], [13.0], [2.0])
    assert answers.statuses == [200, 400, 200]
    assert [answers.values[0]["sums"], answers.values[2]["sums"]] == [[1.0], [2.0]]
    assert answers.values[1] == "the model failed for this request: RuntimeError: thirteen"
    with pytest.raises(PredictionException, match="thirteen") as caught:
        asked(handler, [13.0])
    assert caught.value.error_code == 400


def failing(sample: Any) -> Any:
    """Fails for some samples, as a user's code may."""
    failures = {
        1.0: ValueError("too small"),
        2.0: PredictionException("not for you", 403),
        3.0: NameError("a misspelt name"),
        4.0: MemoryError(),
        5.0: TooLarge("of our own"),
        6.0: ValueError("\ud800"),
        7.0: PredictionException("busy", 503),
        8.0: PredictionException("a teapot", 418),
    }
    first = float(torch.as_tensor(sample).flatten()[0])
    if first in failures:
        raise failures[first]
    return sample


@pytest.mark.parametrize("function", ["preprocess_function", "postprocess_function"])
def test_an_error_of_a_users_function_is_its_requests_own(tmp_path: Path, function: str) -> None:
    handler = started(tmp_path, torch.nn.Identity, **{function: failing})
    answers = asked(handler, *([float(i)] for i in range(10)))
    of_value = 400 if function == "preprocess_function" else 500
    assert answers.statuses == [200, of_value, 403, 500, 413, 413, of_value, 503, 400, 200]
    assert answers.values[1] == f"{function} failed for this request: ValueError: too small"
    assert answers.values[2] == "not for you" and answers.values[9] == [9.0]
    assert answers.values[6].endswith(r"ValueError: \ud800")  # TorchServe could not send it as it is


def test_a_users_function_may_change_what_it_gets(tmp_path: Path) -> None:
    handler = started(tmp_path, torch.nn.Identity, lambda x: x, lambda row: row.mul_(2))
    assert asked(handler, [1.0], [2.0]).values == [[2.0], [4.0]]


def test_what_callers_put_into_one_another_ends_no_worker(tmp_path: Path) -> None:
    handler = started(tmp_path, torch.nn.Identity)
    for depth in (50, 300, 600, 900, 5000):
        deep = b'{"py/tuple": [' * depth + b'"x"' + b"]}" * depth
        assert asked(handler, deep, [1.0]).values[1] == [1.0]


def test_an_answer_does_not_depend_on_its_neighbours(tmp_path: Path) -> None:
    def init() -> torch.nn.Module:
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.LayerNorm(32), torch.nn.Linear(32, 4))

    samples = np.random.default_rng(1).normal(size=(12, 16)).tolist()
    handler = started(tmp_path, init)
    together = asked(handler, *samples).values
    for sample, answer in zip(samples, together, strict=True):
        np.testing.assert_allclose(asked(handler, sample).values[0], answer, atol=1e-6)


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated", "ignore:torch.quantize_per_tensor, ")
def test_the_answer_of_a_quantized_model_is_exactly_the_same_in_a_batch(tmp_path: Path) -> None:
    def init() -> torch.nn.Module:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.Linear(32, 4))
        quantized: torch.nn.Module = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear})
        return quantized

    samples = [(np.random.default_rng(i).normal(size=16) * 10**i).tolist() for i in range(4)]
    handler = started(tmp_path, init)
    assert asked(handler, *samples).values == [asked(handler, sample).values[0] for sample in samples]


def test_an_output_without_a_batch_dimension_is_refused_with_its_shape(tmp_path: Path) -> None:
    class Sum(torch.nn.Module):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            return batch.sum()

    with pytest.raises(PredictionException, match=r"outputs begin with the batch dimension, 1 now, got shape \(\)") as caught:
        asked(started(tmp_path, Sum), [1.0])
    assert caught.value.error_code == 500
