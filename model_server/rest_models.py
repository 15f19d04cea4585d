"""`/models` of TorchServe's management over REST, and `/models/NAME/traffic`, which is ours."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

from persia._core.inference import Exchange

from .management import ALL_VERSIONS, Done, Management
from .refusals import BadRequest, NoSuchMethod
from .registration import Registration

__all__ = ["RestModels"]

NO_SUCH_METHOD = "Requested method is not allowed, please refer to API document."


class RestModels:
    """Each method answers one resource: the status, and what is sent as JSON. Raises Refusal."""

    def __init__(self, management: Management) -> None:
        self._management = management

    def models(self, exchange: Exchange) -> tuple[int, Any]:
        """`/models`."""
        query = dict(reversed(exchange.query))
        if exchange.method == "GET":
            return 200, self._management.listed(_integer(query, "limit", 100), _integer(query, "next_page_token", 0))
        if exchange.method != "POST" or not self._management.api_enabled:
            raise NoSuchMethod(NO_SUCH_METHOD)
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
        return _answer_of(self._management.register(wanted, _boolean(parameters, "synchronous", True)))

    def model(self, exchange: Exchange, name: str, version: str | None) -> tuple[int, Any]:
        """`/models/NAME` and `/models/NAME/VERSION`."""
        query = dict(reversed(exchange.query))
        if exchange.method == "GET":
            if _boolean(query, "customized", False) and version != ALL_VERSIONS:
                return 200, self._management.customized(name, version, exchange.headers)
            return 200, self._management.described(name, version)
        if exchange.method == "PUT":
            least, most = _integer(query, "min_worker", 1), _integer(query, "max_worker", None)
            chosen = version or query.get("model_version")
            return _answer_of(self._management.scale(name, chosen, least, most, _boolean(query, "synchronous", False)))
        if exchange.method != "DELETE" or not self._management.api_enabled:
            raise NoSuchMethod(NO_SUCH_METHOD)
        return _answer_of(self._management.unregister(name, version))

    def set_default(self, exchange: Exchange, name: str, version: str) -> tuple[int, Any]:
        """`/models/NAME/VERSION/set-default`."""
        if exchange.method != "PUT":
            raise NoSuchMethod(NO_SUCH_METHOD)
        return _answer_of(self._management.set_default(name, version))

    def traffic(self, exchange: Exchange, name: str) -> tuple[int, Any]:
        """`/models/NAME/traffic`."""
        match exchange.method:
            case "GET":
                return 200, self._management.traffic(name)
            case "PUT":
                query = dict(reversed(exchange.query))
                # Whatever type the body says it has. JSON's null takes away, as an empty text does.
                asked = _with_body(exchange.body, query, null="") if exchange.body else query
                if not asked:
                    raise BadRequest("expected weights or a shadow, as parameters or JSON, got neither: DELETE takes them away")
                return 200, self._management.change_traffic(name, asked)
            case "DELETE":
                return 200, self._management.end_traffic(name)
            case _:
                raise NoSuchMethod(NO_SUCH_METHOD)


def _answer_of(done: Done) -> tuple[int, Any]:
    return done.status, {"status": done.sentence}


def _parameters(exchange: Exchange, query: Mapping[str, str]) -> Mapping[str, str]:
    """Those of the query, or of a JSON body, which may be as loose as TorchServe's reader takes it: with single quotes, say."""
    types = [value for name, value in exchange.headers if name.lower() == "content-type"]
    if not exchange.body or not any(kind.startswith("application/json") for kind in types):
        return query
    return _with_body(exchange.body, query)


def _with_body(body: bytes, query: Mapping[str, str], null: str | None = None) -> Mapping[str, str]:
    """null: what JSON's null stands for; None: it is left out."""
    try:
        parameters = _loose_json(body.decode())
    except (ValueError, yaml.YAMLError) as error:
        raise BadRequest(f"expected a body of JSON, got one that is none: {error}") from error
    except RecursionError as error:
        raise BadRequest("expected a body of JSON, got one that is nested too deep") from error
    if not isinstance(parameters, dict):
        raise BadRequest(f"expected a JSON object of parameters, got {type(parameters).__name__}")
    given = {str(key): null if value is None else _as_text(str(key), value) for key, value in parameters.items()}
    return {**query, **{key: value for key, value in given.items() if value is not None}}


def _loose_json(text: str) -> Any:
    """Raises ValueError, yaml.YAMLError, RecursionError."""
    try:
        return json.loads(text)
    except ValueError:
        return yaml.safe_load(text)


def _as_text(key: str, value: Any) -> str:
    """As the query would have it: a mapping is `key:value` with commas. Raises BadRequest."""
    if isinstance(value, dict):
        return ",".join(f"{name}:{_as_text(key, one)}" for name, one in value.items() if not isinstance(one, dict))
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, int, float)):
        return json.dumps(value)
    raise BadRequest(f"expected a text or a number for {key}, got {type(value).__name__}")


def _integer(parameters: Mapping[str, str], key: str, default: Any) -> Any:
    """TorchServe takes what is no number for its default."""
    try:
        return int(parameters[key])
    except (KeyError, ValueError):
        return default


def _boolean(parameters: Mapping[str, str], key: str, default: bool) -> bool:
    value = parameters.get(key)
    return default if value is None or value == "" else value.lower() == "true"
