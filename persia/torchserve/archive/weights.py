"""Files with weights that a model needs beside its own file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

from persia.dense.onnx_file import weight_files
from persia.errors import InvalidInput

__all__ = ["weights_to_pack"]


def weights_to_pack(model: Path, extra_files: Sequence[Path]) -> Iterator[Path]:
    """Those beside an ONNX model that it needs, and that are not among the extra files. Raises InvalidInput, OSError."""
    packed = {path.name for path in extra_files}
    for name in weight_files(model):
        path = model.with_name(name) if name == PurePath(name).name else None  # an archive has no directories
        if path is None or not path.is_file():
            raise InvalidInput(f"expected the weights of {model} in a file beside it, which it names {name}: found none")
        if name not in packed:
            yield path
