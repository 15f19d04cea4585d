"""What goes into a request's `input`, and how scores come back.

    batch              a byte batch
    json               instead: the JSON form of features (persia.torchserve.json_form); over HTTP, a JSON body
    format             asked for: `json` (the default); `npy`, the bytes of a .npy file, so dtype and shape come along, and of a
                       .npz file where the model has several outputs; `npz` for one output, too; `raw`, float32 and no more
    details            `1`: what the answer was made of comes along (persia.torchserve.details)
    variant            of the rows: the name of one, or `none` (docs/variants.md); else the archive's settings choose
    request_id         what the caller calls this request, where answers are put aside for labels (docs/drift.md)
    deadline_unix_ms   when the caller stops waiting, in milliseconds since 1970 by its own clock, as decimal digits

Handlers that know only `batch` answer JSON; a client takes what comes.
"""

from __future__ import annotations

import functools
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from persia.errors import DeadlineExceeded, PersiaError

__all__ = [
    "BATCH",
    "BODY",
    "CONTENT_TYPE",
    "DEADLINE",
    "DETAILS",
    "FORMAT",
    "JSON",
    "JSON_FORM",
    "NPY",
    "NPZ",
    "RAW",
    "REQUEST_ID",
    "SCORES",
    "VARIANT",
    "Scores",
    "decode_scores",
    "encode_named_scores",
    "encode_scores",
]

BATCH = "batch"
JSON_FORM = "json"
BODY = "body"  # as which TorchServe passes on the body of an HTTP request
CONTENT_TYPE = "content_type"  # of a body over gRPC, to a handler of text models
FORMAT = "format"
DETAILS = "details"
DEADLINE = "deadline_unix_ms"
REQUEST_ID = "request_id"
VARIANT = "variant"
JSON = b"json"
NPY = b"npy"
NPZ = b"npz"
RAW = b"raw"

SCORES = "scores"  # the name of a lone output in an .npz file

# An array; where the model has several outputs, a dict of arrays. The caller knows its model, and need not ask which.
Scores: TypeAlias = Any

_NPY_MAGIC = b"\x93NUMPY"
_NPZ_MAGIC = b"PK\x03\x04"
_ZIP_MOMENT = (1980, 1, 1, 0, 0, 0)  # zip's first: nobody needs to know when an answer was made


def encode_scores(scores: npt.NDArray[Any]) -> bytes:
    """Returns the array as a little-endian .npy file. Never pickles: raises ValueError for an array of objects."""
    if scores.dtype.hasobject:
        raise ValueError(f"expected an array of numbers, got {scores.dtype}")
    array = np.asarray(scores, scores.dtype.newbyteorder("<"), order="C")
    return _npy_header(array.dtype, array.shape) + array.tobytes()


@functools.lru_cache(maxsize=256)  # numpy takes longer for it than for all else, and answers have few shapes
def _npy_header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    out = io.BytesIO()
    described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(out, described)
    return out.getvalue()


def encode_named_scores(scores: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """An .npz file in memory, not compressed. Unlike numpy.savez, it takes any name."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, array in scores.items():
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", _ZIP_MOMENT), encode_scores(array))
    return out.getvalue()


def decode_scores(answer: bytes) -> Scores:
    """Reads what a handler answered: an array of any shape from .npy, arrays by name from .npz, float32 from JSON numbers.

    Raises DeadlineExceeded for an empty answer, which a late request gets when it was put together with others. Raises
    PersiaError.
    """
    if not answer:
        raise DeadlineExceeded("the caller's time was over, by the handler's clock, before its request was reached")
    try:
        if answer.startswith(_NPY_MAGIC):
            return _decode_array(answer)
        if answer.startswith(_NPZ_MAGIC):
            with zipfile.ZipFile(io.BytesIO(answer)) as archive:
                return {name.removesuffix(".npy"): _decode_array(archive.read(name)) for name in archive.namelist()}
        scores = json.loads(answer)
        if isinstance(scores, dict) and all(isinstance(values, list) for values in scores.values()):
            return {name: np.asarray(values, np.float32) for name, values in scores.items()}
        if not isinstance(scores, (list, float, int)):
            raise ValueError(f"a {type(scores).__name__} is no list of scores")
        return np.asarray(scores, np.float32)
    except (ValueError, TypeError, zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError) as error:
        raise PersiaError(
            f"expected scores as JSON numbers or .npy (.npz) from the handler, got {answer[:60]!r}: {error}"
        ) from None


def _decode_array(data: bytes) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    return array
