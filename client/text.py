"""Answers of a text model on TorchServe, over gRPC and over HTTP: what the caller sends is text, or what JSON can say."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any, NoReturn
from urllib.parse import quote

from persia.errors import (
    AccessDenied,
    ConfigError,
    DeadlineExceeded,
    InvalidInput,
    NotFound,
    PersiaError,
    TooLarge,
    Unavailable,
)
from persia.torchserve.scores import BODY, CONTENT_TYPE
from persia.torchserve.tokens import Tokens

from .grpc_calls import DEFAULT_TIMEOUT, BlockingCalls, checked_timeout, seconds_of_call

__all__ = ["DEFAULT_HTTP_ADDRESS", "HttpTextClient", "TextClient"]

DEFAULT_HTTP_ADDRESS = "127.0.0.1:8080"

# What TorchServe says over HTTP, as errors of ours.
_ERRORS: dict[int, type[PersiaError]] = {
    400: InvalidInput,
    401: AccessDenied,
    403: AccessDenied,
    404: NotFound,
    405: ConfigError,
    413: TooLarge,
    503: Unavailable,
    504: DeadlineExceeded,
    507: TooLarge,
}


class TextClient(BlockingCalls):
    """Over gRPC, as persia.client.predict.Client. Safe for use by many threads, which share one connection."""

    def predict(self, request: Any, timeout: float | None = None) -> str:
        """The answer, as the handler wrote it. Raises the errors of Client.predict."""
        seconds = seconds_of_call(self._timeout, timeout)
        return self._prediction(self._message(_input(request)), seconds).decode(errors="replace")


class HttpTextClient:
    """Over HTTP. Safe for use by many threads; each call has a connection of its own."""

    def __init__(
        self,
        model: str,
        address: str = DEFAULT_HTTP_ADDRESS,
        *,
        version: str | None = None,
        token: str | None = None,
        token_file: str | os.PathLike[str] | None = None,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        """As TextClient has them; address: `host:port` of TorchServe's inference over HTTP."""
        path = "/".join(quote(part, safe="") for part in (model, *([version] if version else [])))
        self._url = f"http://{address}/predictions/{path}"
        self._tokens, self._timeout = Tokens(token, token_file), checked_timeout(timeout)

    def predict(self, request: Any, timeout: float | None = None) -> str:
        """As TextClient.predict."""
        seconds = seconds_of_call(self._timeout, timeout)
        body, kind = _body(request)
        headers = {"Content-Type": kind, **dict(self._tokens.metadata("inference"))}
        try:
            with urllib.request.urlopen(urllib.request.Request(self._url, body, headers), timeout=seconds) as response:
                answer: str = response.read().decode(errors="replace")
                return answer
        except urllib.error.HTTPError as error:
            with error:
                _refused(error.code, error.read())
        except TimeoutError as error:
            raise DeadlineExceeded(f"no answer of {self._url} within {seconds} seconds") from error
        except (OSError, HTTPException) as error:
            if isinstance(getattr(error, "reason", None), TimeoutError):
                raise DeadlineExceeded(f"no answer of {self._url} within {seconds} seconds") from error
            raise Unavailable(f"expected an answer of {self._url}: {error}") from error

    def close(self) -> None:
        """There is nothing to close: it is here for whoever closes clients."""


def _input(request: Any) -> dict[str, bytes]:
    """GRPC has no content type, by which a handler tells JSON from a text: it goes beside the body."""
    body, content_type = _body(request)
    return {BODY: body} if isinstance(request, (str, bytes)) else {BODY: body, CONTENT_TYPE: content_type.encode()}


def _body(request: Any) -> tuple[bytes, str]:
    """And its content type. Text is sent as it is; what is neither text nor bytes as JSON."""
    if isinstance(request, bytes):
        return request, "application/octet-stream"
    if isinstance(request, str):
        return request.encode(), "text/plain; charset=utf-8"
    try:
        return json.dumps(request, allow_nan=False).encode(), "application/json"
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"expected text, bytes, or what JSON can say, got {type(request).__name__}: {error}") from error


def _refused(code: int, body: bytes) -> NoReturn:
    """Raises what TorchServe's error is."""
    try:
        message = str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        message = body[:200].decode(errors="replace")
    if code == 503 and message == "Prediction failed":  # of a handler that raised: no other try would mend it
        raise PersiaError(f"the handler failed ({message}): its traceback is in the server's log (model_log.log)")
    raise _ERRORS.get(code, PersiaError)(message)
