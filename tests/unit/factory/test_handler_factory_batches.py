"""What a handler of handler_factory does with a batch of requests."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ts.context import Context, RequestProcessor
from ts.utils.util import PredictionException

from persia.errors import PersiaError, TooLarge
from persia.handlers.factory.inputs import value_of
from persia.handlers.factory.jsonpickle_writing import write_jsonpickle
from persia.torch_deprecations import torch_deprecations_ignored
from tests.support.factory_handlers import asked, linear, started


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


def eager(model: torch.nn.Module) -> torch.nn.Module:
    return model


def traced(model: torch.nn.Module) -> torch.nn.Module:
    script: torch.nn.Module = torch.jit.trace(model, torch.zeros(1, 16))
    return script


def frozen(model: torch.nn.Module) -> torch.nn.Module:
    script: torch.nn.Module = torch.jit.freeze(traced(model))
    return script


def traced_part(model: torch.nn.Module) -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Sequential(traced(model)), torch.nn.ReLU())


@pytest.mark.parametrize("form", [eager, traced, frozen, traced_part])
def test_the_answer_of_a_quantized_model_is_exactly_the_same_in_a_batch(
    tmp_path: Path, form: Callable[[torch.nn.Module], torch.nn.Module]
) -> None:
    def init() -> torch.nn.Module:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.Linear(32, 4))
        return form(torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}).eval())

    samples = [(np.random.default_rng(i).normal(size=16) * 10**i).tolist() for i in range(4)]
    with torch_deprecations_ignored():
        handler = started(tmp_path, init)
        assert asked(handler, *samples).values == [asked(handler, sample).values[0] for sample in samples]


def test_a_script_without_int8_takes_its_samples_together(tmp_path: Path) -> None:
    def init() -> torch.nn.Module:
        return traced(torch.nn.Linear(16, 4).eval())

    with torch_deprecations_ignored():
        assert started(tmp_path, init).together


def saved(tensor: torch.Tensor) -> bytes:
    written = io.BytesIO()
    torch.save(tensor, written)
    return written.getvalue()


def compressed(archive: bytes) -> bytes:
    """The same zip, deflated, as anybody can pack it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as before, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as after:
        for name in before.namelist():
            after.writestr(name, before.read(name))
    return packed.getvalue()


def test_a_saved_tensor_that_needs_too_much_memory_is_refused(tmp_path: Path) -> None:
    handler = started(tmp_path, torch.nn.Identity, lambda x: x, len)
    assert asked(handler, saved(torch.ones(3)), compressed(saved(torch.ones(4)))).values == [3, 4]
    for body in (saved(torch.ones(1).expand(30_000)), compressed(saved(torch.zeros(30_000))), saved(torch.zeros(30_000))):
        with pytest.raises(TooLarge, match="arrays of at most 100000 bytes in a request"):
            value_of({"body": body}, 100_000)
    seen: list[Any] = []
    handler = started(tmp_path, torch.nn.Identity, seen.append)
    with pytest.raises(PredictionException, match=f"arrays of at most {256 << 20} bytes in a request") as caught:
        asked(handler, saved(torch.ones(1).expand(1 << 30)))
    assert caught.value.error_code == 413 and not seen


def test_a_zip_that_is_broken_is_refused(tmp_path: Path) -> None:
    whole = saved(torch.ones(3))
    for body in (whole[:100], whole[:-10], whole.replace(b"PK\x01\x02", b"PK\x01\x09")):
        with pytest.raises(PredictionException, match=r"expected a tensor as torch\.save writes it") as caught:
            asked(started(tmp_path, torch.nn.Identity), body)
        assert caught.value.error_code == 400


def test_an_output_without_a_batch_dimension_is_refused_with_its_shape(tmp_path: Path) -> None:
    class Sum(torch.nn.Module):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            return batch.sum()

    with pytest.raises(PredictionException, match=r"outputs begin with the batch dimension, 1 now, got shape \(\)") as caught:
        asked(started(tmp_path, Sum), [1.0])
    assert caught.value.error_code == 500


@pytest.mark.parametrize("value", [object(), 1j, {"py/tuple": 1}, np.array(["a"]), [Path()]])
def test_what_is_no_plain_data_cannot_be_an_answer(value: object) -> None:
    with pytest.raises(PersiaError, match="expected"):
        write_jsonpickle(value)
