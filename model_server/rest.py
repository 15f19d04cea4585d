"""TorchServe's REST API for what is no prediction: management and health. Threads here take requests from a line."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from persia._core.inference import Exchange, ExchangeQueue

from .exchanges import ExchangeThreads
from .keys import Keys
from .management import Done, Management
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

    def __init__(
        self, management: Management, line: ExchangeQueue, manages: bool, keys: Keys | None = None, threads: int = 4
    ) -> None:
        """manages: whether models may be managed here, or only asked for their health. keys: those that may be renewed."""
        self._management = management
        self._manages = manages
        self._keys = keys
        self._threads = ExchangeThreads("rest", line, self._take, threads)

    def close(self) -> None:
        """Takes no more."""
        self._threads.close()

    def _take(self, exchange: Exchange) -> None:
        try:
            status, answer = self._answer(exchange)
        except Refusal as refusal:
            status, answer = refusal.status, {"code": refusal.status, "type": refusal.kind, "message": str(refusal)}
        except Exception:
            log.exception("internal error of %s %s", exchange.method, exchange.path)
            status, answer = 500, {"code": 500, "type": "InternalServerException", "message": "see the server's log"}
        end = "\n" if isinstance(answer, dict) and ("code" in answer or "status" in answer) else ""
        text = "\n" if answer is None else json.dumps(answer, indent=2, ensure_ascii=False) + end
        exchange.respond(status, [_JSON, *_STANDING], text.encode(), close=status >= 400)

    def _answer(self, exchange: Exchange) -> tuple[int, Any]:
        """The status, and what is sent as JSON; None: an empty line. Raises Refusal."""
        match exchange.method, exchange.segments:
            case _, ["ping"]:
                healthy = self._management.registry.is_ready()
                return (200, {"status": "Healthy"}) if healthy else (500, {"status": "Unhealthy"})
            case _, []:
                raise NoSuchMethod(_NO_SUCH_METHOD)
            case _ if not self._manages:
                raise NoSuchPath(_NO_SUCH_PATH)
            case _, ["token"] if self._keys is not None:
                self._keys.renew(dict(reversed(exchange.query)).get("type"))
                return 200, None
            case "GET", ["v1", "models", name]:
                described = self._management.described(name, None)
                return 200, {"name": name, "ready": any(worker["status"] == "READY" for worker in described[0]["workers"])}
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
