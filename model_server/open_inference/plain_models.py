"""Models without an archive: a file of TorchScript, torch.export, AOTInductor or ONNX, as it was saved."""

from __future__ import annotations

import json
from pathlib import Path

from persia.dense.onnx_file import weight_files
from persia.errors import InvalidInput
from persia.system.regular import open_regular

__all__ = ["TENSOR_HANDLER", "is_plain_model", "lay_out"]

TENSOR_HANDLER = "persia.handlers.tensor_handler"  # of models that bring none
_SUFFIXES = (".pt", ".pth", ".pt2", ".onnx")


def is_plain_model(path: Path) -> bool:
    """By its name alone: what is in it is looked at when a worker loads it."""
    return path.suffix in _SUFFIXES and path.is_file()


def lay_out(path: Path, directory: Path) -> None:
    """Makes the directory an archive of the model, with links to its files. Raises CorruptFile, InvalidInput, OSError."""
    files = [path, *(_beside(path, name) for name in (weight_files(path) if path.suffix == ".onnx" else ()))]
    for file in files:
        (directory / file.name).symlink_to(file.resolve())
    manifest = {"runtime": "python", "model": {"modelName": path.stem, "serializedFile": path.name}}
    (directory / "MAR-INF").mkdir()
    (directory / "MAR-INF" / "MANIFEST.json").write_text(json.dumps(manifest))


def _beside(path: Path, name: str) -> Path:
    """A file with weights. One that is missing is the worker's to tell. Raises InvalidInput."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise InvalidInput(f"expected files of weights beside the model, got {name!r}")
    file = path.parent / name
    if file.exists():
        open_regular(file).close()
    return file
