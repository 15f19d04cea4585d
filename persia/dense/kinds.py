"""Which kind of model a file holds. That is told by what is in the file, as any name may stand on any kind."""

from __future__ import annotations

import zipfile
from enum import Enum
from pathlib import Path

from persia.errors import InvalidInput

from .onnx_file import is_onnx

__all__ = ["Kind", "kind_of"]


class Kind(Enum):
    """Each with its name for messages."""

    TORCHSCRIPT = "TorchScript"
    EXPORTED = "torch.export"
    COMPILED = "AOTInductor"
    ONNX = "ONNX"


_EXPECTED = "expected a dense model as TorchScript, torch.export, AOTInductor or ONNX"
_SAVE_CODE_TOO = (
    "save it as torch.jit.script(model).save('dense.pt') does, or as torch.export.save(torch.export.export(...), 'dense.pt2') "
    "(docs/dense-models.md)"
)
_LEGACY_PICKLE = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # how torch.save began before it wrote zip files


def kind_of(path: Path) -> Kind:
    """Raises InvalidInput for a file that holds no model that could be called, which says what to do; OSError."""
    with path.open("rb") as file:
        start = file.read(len(_LEGACY_PICKLE))
    if zipfile.is_zipfile(path):
        return _kind_of_zip(path)
    if start == _LEGACY_PICKLE or start[:1] == b"\x80":
        raise InvalidInput(f"{_EXPECTED}, got {path}: {_pickled(path)}")
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size:
        raise InvalidInput(f"{_EXPECTED}, got {path}: {_only_weights('safetensors')}")
    if is_onnx(path):
        return Kind.ONNX
    raise InvalidInput(f"{_EXPECTED}, got {path}, which is no zip file, no pickle and no ONNX")


def _kind_of_zip(path: Path) -> Kind:
    try:
        with zipfile.ZipFile(path) as opened:
            # All of torch's archives have one directory at the top, except for the first ones of torch.export.
            names = {name.partition("/")[2] or name for name in opened.namelist()}
    except zipfile.BadZipFile as error:
        raise InvalidInput(f"{_EXPECTED}, got {path}, which is a damaged zip file: {error}") from error
    if any(name.startswith("data/aotinductor/") for name in names):
        return Kind.COMPILED
    if "serialized_exported_program.json" in names or any(name.startswith("models/") for name in names):
        return Kind.EXPORTED
    if "constants.pkl" in names or any(name.startswith("code/") for name in names):
        return Kind.TORCHSCRIPT
    if "data.pkl" in names:
        raise InvalidInput(f"{_EXPECTED}, got {path}: {_pickled(path)}")
    raise InvalidInput(f"{_EXPECTED}, got {path}, which is a zip file of something else")


def _pickled(path: Path) -> str:
    """What to say of a file of torch.save: it has weights alone, or objects whose classes would have to be imported."""
    import torch

    try:
        torch.load(path, map_location="meta", weights_only=True)
    except Exception:  # whatever a damaged or hostile pickle leads to
        return f"a pickled module, which needs the source of its class wherever it is loaded: {_SAVE_CODE_TOO}"
    return _only_weights("a state_dict")


def _only_weights(what: str) -> str:
    return f"weights alone ({what}), without the code that uses them: load them into their module, and {_SAVE_CODE_TOO}"
