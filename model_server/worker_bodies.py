"""The values that handlers get of requests, and the bytes of what they answer, as TorchServe decodes and encodes them."""

from __future__ import annotations

import io
import json
import logging
import sys
from typing import Any

from persia import _core

from .worker_messages import Failure

__all__ = ["body_of", "decode", "indented_json"]

log = logging.getLogger(__name__)

_LEAVES = frozenset((float, int, str, bool, type(None)))


def decode(content_type: str, value: bytearray, decodes: bool) -> Any:
    """The value of an input as handlers get it: JSON and text decoded, unless they cannot be; anything else as its bytes."""
    if not decodes:
        return value
    try:
        if content_type == "application/json":
            return json.loads(value.decode("utf-8"))
        if content_type.startswith("text"):
            return value.decode("utf-8")
    except (ValueError, RecursionError):
        log.warning("an input of type %s could not be decoded: the handler gets its bytes", content_type, exc_info=True)
    return value


def body_of(answer: Any) -> Any:
    """The bytes of an answer, as TorchServe encodes what handlers return. Raises Failure for what it does not encode."""
    if isinstance(answer, (bytes, bytearray)):
        return answer
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(answer, torch.Tensor):
        saved = io.BytesIO()
        torch.save(answer, saved)
        return saved.getbuffer()
    try:
        return answer.encode("utf-8") if isinstance(answer, str) else indented_json(answer)
    except (TypeError, ValueError, RecursionError):
        log.warning("an answer of type %s cannot be sent", type(answer).__name__, exc_info=True)
        raise Failure(503, "Unsupported model output data type.") from None


def indented_json(value: Any) -> bytes:
    """As json.dumps(value, indent=2), for which Python's json has no C code: flat values are written by other means."""
    if type(value) is list and (lines := _core.json_lines(value)) is not None:
        return lines
    leaves = value if type(value) is list else value.values() if type(value) is dict else ()
    if not leaves or not _LEAVES.issuperset(map(type, leaves)):
        return json.dumps(value, indent=2).encode("utf-8")
    lines_of_text = json.dumps(value, separators=(",\n  ", ": "))
    return f"{lines_of_text[0]}\n  {lines_of_text[1:-1]}\n{lines_of_text[-1]}".encode()
