"""Statuses of TorchServe and of the model server as errors of ours."""

from __future__ import annotations

import grpc
import pytest

from persia.errors import AccessDenied, Unavailable
from persia.torchserve.status import torchserve_error


class Ended(grpc.RpcError):
    """A call that ended with this status."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        self._code, self._details = code, details

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details


@pytest.mark.parametrize(
    ("details", "words"),
    [
        ("Worker died.", "the worker died with the request: it crashed, was killed, took longer than responseTimeout"),
        (
            "Worker died: it sent a reply while it had no request",
            "the worker was ended with the request, and another one is started: it sent a reply while it had no request",
        ),
    ],
)
def test_who_loses_a_worker_may_try_again(details: str, words: str) -> None:
    error = torchserve_error(Ended(grpc.StatusCode.INTERNAL, details), 100, 0.0)
    assert isinstance(error, Unavailable) and str(error).startswith(words)


@pytest.mark.parametrize(
    ("details", "words"),
    [
        (
            "Token Authorization failed. Token either incorrect, expired, or not provided correctly",
            "the server refused the token",
        ),
        ("Model API disabled", "the server was started without its model API"),
    ],
)
def test_a_refusal_names_no_server_that_may_not_run(details: str, words: str) -> None:
    """The model server answers with TorchServe's words."""
    error = torchserve_error(Ended(grpc.StatusCode.PERMISSION_DENIED, details), 100, 0.0)
    assert isinstance(error, AccessDenied) and str(error).startswith(words)
