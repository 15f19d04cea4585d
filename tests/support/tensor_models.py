"""Models without a handler for tests, each with the same answer: `(x @ [[1], [2]]) * scale`."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import onnx
import torch

from persia.torch_deprecations import torch_deprecations_ignored
from tests.support.compiling import compile_models

WEIGHTS = [[1.0], [2.0]]


class Scaled(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(WEIGHTS))

    def forward(self, x: torch.Tensor, scale: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"y": (x @ self.weight) * scale, "rows": torch.tensor([x.shape[0]])}


class Optionals(torch.nn.Module):
    """Arguments of every kind that TorchScript may be asked with."""

    def forward(
        self, rows: list[torch.Tensor], factor: float = 2.0, bias: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        total = torch.stack(rows).sum(0)
        if bias is not None:
            total = total + bias
        return total, total * factor


def save_scripted(path: Path, module: torch.nn.Module | None = None) -> None:
    with torch_deprecations_ignored():
        torch.jit.script(module or Scaled()).save(str(path))


def save_exported(path: Path) -> None:
    torch.export.save(exported(), path)


def exported() -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch", min=1, max=1000)
    example = (torch.ones(3, 2), torch.ones(3, 1))
    return torch.export.export(Scaled(), example, dynamic_shapes={"x": {0: batch}, "scale": {0: batch}})


def save_onnx(path: Path) -> None:
    """With words, which come back, beside the numbers."""
    helper, kinds = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node("MatMul", ["x", "weight"], ["product"]),
        helper.make_node("Mul", ["product", "scale"], ["y"]),
        helper.make_node("Identity", ["words"], ["same"]),
    ]
    inputs = [
        helper.make_tensor_value_info("x", kinds.FLOAT, ["batch", 2]),
        helper.make_tensor_value_info("scale", kinds.FLOAT, ["batch", 1]),
        helper.make_tensor_value_info("words", kinds.STRING, [None]),
    ]
    outputs = [
        helper.make_tensor_value_info("y", kinds.FLOAT, ["batch", 1]),
        helper.make_tensor_value_info("same", kinds.STRING, [None]),
    ]
    weight = helper.make_tensor("weight", kinds.FLOAT, [2, 1], [1.0, 2.0])
    graph = helper.make_graph(nodes, "scaled", inputs, outputs, [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))


def save_compiled(path: Path) -> None:
    """By AOTInductor, for any number of rows."""
    lines = ["from tests.support.tensor_models import exported"]
    lines += [f"torch._inductor.aoti_compile_and_package(exported(), package_path={str(path)!r})"]
    compile_models(path.parent, "\n".join(lines))


def save_bf16_onnx(path: Path) -> None:
    """`y = 2 * x`, both of BF16, with the product in FP32."""
    helper, kinds = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node("Cast", ["x"], ["wide"], to=kinds.FLOAT),
        helper.make_node("Add", ["wide", "wide"], ["sum"]),
        helper.make_node("Cast", ["sum"], ["y"], to=kinds.BFLOAT16),
    ]
    x, y = (helper.make_tensor_value_info(name, kinds.BFLOAT16, ["batch", 2]) for name in "xy")
    graph = helper.make_graph(nodes, "doubled", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))


def make_bare_mar(store: Path, name: str, model: Path, config: str = "") -> str:
    """An archive with a serialized file and without a handler. Returns its name."""
    manifest = {"modelName": name, "modelVersion": "1.0", "serializedFile": model.name, "configFile": "model-config.yaml"}
    with zipfile.ZipFile(store / f"{name}.mar", "w") as archive:
        archive.write(model, model.name)
        archive.writestr("model-config.yaml", config)
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps({"runtime": "python", "model": manifest}))
    return f"{name}.mar"
