"""What TorchServe hands over for a request, as the value that its caller encoded."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from persia.errors import InvalidInput

from .allowance import MAX_BYTES, check_array_bytes
from .jsonpickle_reading import read_json_value, read_jsonpickle

__all__ = ["value_of"]

_FIELD = "data"
_BODY = "body"
_NPY = b"\x93NUMPY"
_TORCH = b"PK\x03\x04"  # torch.save writes a zip


def value_of(request: Mapping[str, Any], most_bytes: int = MAX_BYTES) -> Any:
    """The value in the form field `data`, or in the body.

    Both may be text as jsonpickle writes it, JSON, an .npy file, or a tensor as torch.save writes it.

    Raises InvalidInput; TooLarge for arrays of more bytes than `most_bytes`.
    """
    given = request.get(_FIELD, request.get(_BODY))
    if isinstance(given, dict) and given.keys() == {_FIELD}:
        given = given[_FIELD]
    if given is None or given in (b"", ""):
        fields = ", ".join(repr(str(name)[:40]) for name in request if name != _BODY)
        raise InvalidInput(
            f"expected a form field named data, or a body, got {f'the fields {fields}' if fields else 'nothing'}"
        )
    if isinstance(given, (bytes, bytearray)):
        return _value_of_bytes(bytes(given), most_bytes)
    return read_jsonpickle(given, most_bytes) if isinstance(given, str) else read_json_value(given, most_bytes)


def _value_of_bytes(given: bytes, most_bytes: int) -> Any:
    if given.startswith(_NPY):
        try:
            return np.load(io.BytesIO(given), allow_pickle=False)
        except (ValueError, EOFError, SyntaxError) as error:
            raise InvalidInput(f"expected an .npy file with an array of numbers: {error}") from error
    if given.startswith(_TORCH):
        return _tensor_of(given, most_bytes)
    return read_jsonpickle(given, most_bytes)


def _tensor_of(given: bytes, most_bytes: int) -> torch.Tensor:
    if torch.torch_version.TorchVersion(torch.__version__) < "2.6":
        # Until then, weights_only could be got round.
        raise InvalidInput(
            f"expected JSON or .npy: torch {torch.__version__} cannot safely read what torch.save wrote, 2.6 can"
        )
    check_array_bytes(_unpacked_size(given), most_bytes)
    try:
        tensor = torch.load(io.BytesIO(given), map_location="cpu", weights_only=True)
    except Exception as error:  # of all kinds, from the zip, the pickle and the tensor
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InvalidInput(f"expected a tensor as torch.save writes it: {first}") from error
    if not isinstance(tensor, torch.Tensor):
        raise InvalidInput(f"expected a tensor as torch.save writes it, got {type(tensor).__name__}")
    # One number can stand for many, in a tensor that was expanded.
    check_array_bytes(tensor.numel() * tensor.element_size(), most_bytes)
    return tensor.detach()


def _unpacked_size(given: bytes) -> int:
    """Of the files in a zip. torch.save does not compress them, and torch.load reads compressed ones."""
    try:
        with zipfile.ZipFile(io.BytesIO(given)) as archive:
            return sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, ValueError, LookupError, NotImplementedError, struct.error) as error:
        raise InvalidInput(f"expected a tensor as torch.save writes it: {error}") from error
