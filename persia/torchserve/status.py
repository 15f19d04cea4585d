"""TorchServe's statuses as errors that say what happened.

Its codes mislead: a model that is not there is INTERNAL, a bug in a handler UNAVAILABLE, a request that is too large CANCELLED,
a version that is there already UNKNOWN without a word. Whoever retries on such codes retries the wrong ones.
"""

from __future__ import annotations

import re
import time

import grpc

from persia.errors import AccessDenied, DeadlineExceeded, InvalidInput, NotFound, PersiaError, TooLarge, Unavailable
from persia.rpc.status import error_of

__all__ = ["torchserve_error"]

# How much earlier than we TorchServe may find that a deadline has passed.
CLOCK_SECONDS = 0.01
_HANDLER_FAULTS = ("Prediction failed", "Invalid model predict output", "number of batch response mismatched")


def torchserve_error(error: grpc.RpcError, request_bytes: int, end: float, encrypts: bool = False) -> PersiaError:
    """The error of ours that stands for what a call to TorchServe ended with.

    request_bytes: the size of the request. end: the call's deadline by time.monotonic(). encrypts: the client speaks TLS.
    """
    code, text = error.code(), _text(error.details() or "")
    # A call that TorchServe finds late before gRPC here does ends as one that is too large: with a reset stream.
    reset = code == grpc.StatusCode.CANCELLED and "RST_STREAM" in text
    if code == grpc.StatusCode.DEADLINE_EXCEEDED or (reset and time.monotonic() > end - CLOCK_SECONDS):
        return DeadlineExceeded(f"no answer within the deadline (the work may still run): {text}")
    if code == grpc.StatusCode.PERMISSION_DENIED:
        return AccessDenied(_denied(text))
    if re.search(r"Model not found|Model version: .* does not exist|^Model with .* not (found|registered)", text):
        return NotFound(text)
    if code == grpc.StatusCode.UNIMPLEMENTED:
        return InvalidInput(f"expected another service at this address; inference and management have a port each ({text})")
    if reset:
        return TooLarge(f"expected a request of at most TorchServe's max_request_size, got {request_bytes} bytes")
    if text.startswith("Worker died: "):  # the model server knows why
        return Unavailable(f"the worker was ended with the request, and another one is started: {text[len('Worker died: ') :]}")
    if text == "Worker died.":  # INTERNAL, or RESOURCE_EXHAUSTED if the system killed it
        return Unavailable(
            "the worker died with the request: it crashed, was killed, took longer than responseTimeout, or its answer was "
            "larger than max_response_size; TorchServe starts another (model_log.log may say why)"
        )
    if code == grpc.StatusCode.INTERNAL:
        return _internal(text)
    if code == grpc.StatusCode.UNAVAILABLE and (text in _HANDLER_FAULTS or text.startswith("Unsupported model output")):
        return PersiaError(f"the handler failed ({text}): its traceback is in the server's log (model_log.log)")
    if code == grpc.StatusCode.UNKNOWN and not text:
        return PersiaError("TorchServe failed without a reason (its ts_log.log may have one)")
    return error_of(code.name, text + _about_tls(text, encrypts) if code == grpc.StatusCode.UNAVAILABLE else text)


def _about_tls(text: str, encrypts: bool) -> str:
    """What an end of the connection may mean: gRPC says neither that TLS is missing, nor that it is too much."""
    if encrypts and "WRONG_VERSION_NUMBER" in text:
        return ": the server does not speak TLS, and the client does, as it was given a `ca`"
    if not encrypts and re.search(r"Socket closed|Connection reset by peer|Broken pipe", text):
        return (
            " (the server has ended, or it speaks TLS, which this client does not: give it a `ca`, with --ca or in the section "
            "`security`)"
        )
    return ""


def _text(details: str) -> str:
    """Without the Java class that TorchServe puts on a last line."""
    return re.sub(r"\n[\w.$]*(Exception|Error)(\.\(\))?\s*$", "", details).strip()


def _denied(text: str) -> str:
    if "Model API disabled" in text:
        return "the server was started without its model API: it neither registers nor unregisters models"
    return (
        "the server refused the token, or was sent none: expected the current one of this very service (inference or "
        "management), from the key file that the `ready` line of TorchServe or of the model server names"
    )


def _internal(text: str) -> PersiaError:
    if "has no worker to serve" in text:
        return Unavailable(f"no worker took the request: the model's queue is full, or it has no worker ({text})")
    if text == "Out of resources":
        return TooLarge("the handler ran out of memory")
    return InvalidInput(text) if text.startswith("Parameter ") else PersiaError(text)
