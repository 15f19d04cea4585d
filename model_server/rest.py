"""TorchServe's REST API for what is no prediction: management and health. Threads here take requests from a line."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from typing import Any

from persia._core.inference import Exchange, ExchangeQueue

from .management import Done, Management
from .open_inference.rest_api import answer_rest
from .open_inference.served import ServedModels
from .refusals import BadRequest, Refusal
from .registry import Registration

__all__ = ["RestManagement"]

log = logging.getLogger(__name__)

_JSON = ("content-type", "application/json")
_STANDING = [
    ("Pragma", "no-cache"),
    ("Cache-Control", "no-cache; no-store, must-revalidate, private"),
    ("Expires", "Thu, 01 Jan 1970 00:00:00 UTC"),
]
_NO_SUCH_PATH = "Requested resource is not found, please refer to API document."
_NO_SUCH_METHOD = "Requested method is not allowed, please refer to API document."


class NoSuchPath(Refusal):
    """Nothing is there."""

    status, kind = 404, "ResourceNotFoundException"


class NoSuchMethod(Refusal):
    """It is there for other methods."""

    status, kind = 405, "MethodNotAllowedException"


class RestManagement:
    """Answers what stands in a line, in threads of its own."""

    def __init__(self, management: Management, line: ExchangeQueue, manages: bool, threads: int = 4) -> None:
        """manages: whether models may be managed here, or only asked for their health."""
        self._management = management
        self._open_inference = ServedModels(management.registry)
        self._line = line
        self._manages = manages
        self._threads = [threading.Thread(target=self._run, name=f"rest-{i}", daemon=True) for i in range(threads)]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Takes no more."""
        self._line.close()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._line.closed:
            exchange = self._line.next(1.0)
            if exchange is None:
                continue
            try:
                status, answer = self._answer(exchange)
            except Refusal as refusal:
                status, answer = refusal.status, {"code": refusal.status, "type": refusal.kind, "message": str(refusal)}
            except Exception:
                log.exception("internal error of %s %s", exchange.method, exchange.path)
                status, answer = 500, {"code": 500, "type": "InternalServerException", "message": "see the server's log"}
            end = "\n" if isinstance(answer, dict) and ("code" in answer or "status" in answer) else ""
            body = (json.dumps(answer, indent=2, ensure_ascii=False) + end).encode()
            exchange.respond(status, [_JSON, *_STANDING], body, close=status >= 400)

    def _answer(self, exchange: Exchange) -> tuple[int, Any]:
        """The status, and what is sent as JSON. Raises Refusal."""
        match exchange.method, exchange.segments:
            case _, ["ping"]:
                healthy = self._management.registry.is_ready()
                return (200, {"status": "Healthy"}) if healthy else (500, {"status": "Unhealthy"})
            case _, []:
                raise NoSuchMethod(_NO_SUCH_METHOD)
            case method, ["v2", *rest]:
                return answer_rest(self._open_inference, method, rest)
            case "GET", ["v1", "models"]:
                return 200, {"models": self._management.registry.names()}
            case "GET", ["v1", "models", name]:
                return 200, {"name": name, "ready": self._open_inference.is_model_ready(name, None)}
            case _ if not self._manages:
                raise NoSuchPath(_NO_SUCH_PATH)
            case method, ["models"]:
                return self._models(exchange, method)
            case "PUT", ["models", name, version, "set-default"]:
                return _said(self._management.set_default(name, version))
            case method, ["models", name, *rest] if len(rest) <= 1:
                return self._model(exchange, method, name, rest[0] if rest else None)
            case _:
                raise NoSuchPath(_NO_SUCH_PATH)

    def _models(self, exchange: Exchange, method: str) -> tuple[int, Any]:
        query = dict(reversed(exchange.query))
        if method == "GET":
            return 200, self._management.listed(_integer(query, "limit", 100), _integer(query, "next_page_token", 0))
        if method != "POST" or not self._management.api_enabled:
            raise NoSuchMethod(_NO_SUCH_METHOD)
        parameters = _parameters(exchange, query)
        url = parameters.get("url")
        if url is None:
            raise BadRequest("Parameter url is required.")
        wanted = Registration(
            url=url,
            model_name=parameters.get("model_name") or None,
            handler=parameters.get("handler") or None,
            runtime=parameters.get("runtime") or None,
            **{
                key: _integer(parameters, key, None)
                for key in ("batch_size", "max_batch_delay", "initial_workers", "response_timeout", "startup_timeout")
            },
        )
        return _said(self._management.register(wanted, _boolean(parameters, "synchronous", True)))

    def _model(self, exchange: Exchange, method: str, name: str, version: str | None) -> tuple[int, Any]:
        query = dict(reversed(exchange.query))
        if method == "GET":
            return 200, self._management.described(name, version)
        if method == "PUT":
            least, most = _integer(query, "min_worker", 1), _integer(query, "max_worker", None)
            chosen = version or query.get("model_version")
            return _said(self._management.scale(name, chosen, least, most, _boolean(query, "synchronous", False)))
        if method != "DELETE" or not self._management.api_enabled:
            raise NoSuchMethod(_NO_SUCH_METHOD)
        return _said(self._management.unregister(name, version))


def _said(done: Done) -> tuple[int, Any]:
    return done.status, {"status": done.sentence}


def _parameters(exchange: Exchange, query: Mapping[str, str]) -> Mapping[str, str]:
    """Those of the query, or of a JSON body."""
    types = [value for name, value in exchange.headers if name.lower() == "content-type"]
    if not exchange.body or not any(kind.startswith("application/json") for kind in types):
        return query
    try:
        body = json.loads(exchange.body)
    except ValueError as error:
        raise BadRequest(f"expected a body of JSON, got one that is none: {error}") from error
    if not isinstance(body, dict):
        raise BadRequest(f"expected a JSON object of parameters, got {type(body).__name__}")
    return {**query, **{key: _as_text(value) for key, value in body.items()}}


def _as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _integer(parameters: Mapping[str, str], key: str, default: Any) -> Any:
    """TorchServe takes what is no number for its default."""
    try:
        return int(parameters[key])
    except (KeyError, ValueError):
        return default


def _boolean(parameters: Mapping[str, str], key: str, default: bool) -> bool:
    value = parameters.get(key)
    return default if value is None or value == "" else value.lower() == "true"
