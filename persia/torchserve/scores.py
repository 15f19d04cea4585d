"""What goes into a request's `input`, and how scores come back.

    batch              a byte batch
    format             asked for: `json` (the default); `npy`, the bytes of a .npy file, so dtype and shape come along; `raw`,
                       float32 and no more
    deadline_unix_ms   when the caller stops waiting, in milliseconds since 1970 by its own clock, as decimal digits

Handlers that know only `batch` answer JSON; a client takes what comes.
"""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import numpy.typing as npt

from persia.errors import DeadlineExceeded, PersiaError

__all__ = ["BATCH", "DEADLINE", "FORMAT", "JSON", "NPY", "RAW", "decode_scores", "encode_scores"]

BATCH = "batch"
FORMAT = "format"
DEADLINE = "deadline_unix_ms"
JSON = b"json"
NPY = b"npy"
RAW = b"raw"

_NPY_MAGIC = b"\x93NUMPY"


def encode_scores(scores: npt.NDArray[Any]) -> bytes:
    """A .npy file in memory, little-endian. Never pickles."""
    out = io.BytesIO()
    np.lib.format.write_array(out, np.asarray(scores, scores.dtype.newbyteorder("<"), order="C"), allow_pickle=False)
    return out.getvalue()


def decode_scores(answer: bytes) -> npt.NDArray[Any]:
    """The array that a handler answered: of any shape from .npy, float32 from JSON numbers.

    Raises DeadlineExceeded for an empty one, which a request gets that was late among others; PersiaError.
    """
    if not answer:
        raise DeadlineExceeded("the caller's time was over, by the handler's clock, before its request was reached")
    try:
        if answer.startswith(_NPY_MAGIC):
            array: npt.NDArray[Any] = np.lib.format.read_array(io.BytesIO(answer), allow_pickle=False)
            return array
        scores = json.loads(answer)
        if not isinstance(scores, (list, float, int)):
            raise ValueError(f"a {type(scores).__name__} is none")
        return np.asarray(scores, np.float32)
    except (ValueError, TypeError) as error:
        raise PersiaError(f"expected scores as JSON numbers or .npy from the handler, got {answer[:60]!r}: {error}") from None
