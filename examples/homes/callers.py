"""Callers of a home: over HTTP with a connection each that stays open, or over gRPC."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc

from persia.torchserve.schema import new_message, open_channel, predictions_call

__all__ = ["FORM", "Call", "grpc_call", "http_call", "requests_a_second"]

PATH = "/predictions/text"
SECONDS = 60.0

# A text, and the form of the answer -> the status (200 where it was answered), and the answer.
Call = Callable[[str, str], tuple[int, Any]]
FORM = "scores"


def http_call(port: int) -> Call:
    """Over a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)

    def call(text: str, form: str) -> tuple[int, Any]:
        body = json.dumps({"text": text, "format": form})
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        try:
            connection.request("POST", PATH, body, headers)
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException):
            connection.close()  # the next call opens it anew
            raise
        return response.status, json.loads(answer) if response.status == 200 else answer.decode()

    return call


def grpc_call(port: int) -> Call:
    """Over a channel of its own."""
    predictions = predictions_call(open_channel(f"127.0.0.1:{port}"))

    def call(text: str, form: str) -> tuple[int, Any]:
        fields = {"text": text.encode(), "format": form.encode()}
        try:
            response = predictions(new_message("PredictionsRequest", model_name="text", input=fields), timeout=SECONDS)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                return 400, error.details()
            raise ConnectionError(error.details()) from error
        return 200, json.loads(response.prediction)

    return call


def requests_a_second(open_call: Callable[[], Call], text: str, callers: int, seconds: float) -> float:
    """Of so many callers, each of which asks again as soon as it is answered."""
    counts = [0] * callers
    calls = [open_call() for _ in range(callers)]
    end = time.monotonic() + seconds

    def ask(which: int) -> None:
        while time.monotonic() < end:
            status, answer = calls[which](text, FORM)
            if status != 200:
                raise RuntimeError(f"expected an answer, got {status}: {answer}")
            counts[which] += 1

    threads = [threading.Thread(target=ask, args=(which,)) for which in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds
